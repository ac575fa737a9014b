"""Plugins of the whole test suite; pytest takes them from the top-level conftest alone."""

pytest_plugins = ["pytester"]
