"""What goes wrong before any test: a class of its own, since every layer raises it."""


class BadSetting(ValueError):
    """An option, ini value or marker that cannot be used; the message says how to mend it."""


class MissingDevice(BadSetting):
    """A device that was named, and is not here."""
