"""What a command cannot do."""


class Trouble(Exception):
    """What ``nnxrng`` cannot do: the message says why, and the way out."""
