"""Plugins and settings of the whole test suite; pytest takes them from the top-level conftest."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]

# No test depends on the machine's speed.
settings.register_profile(
    "unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")
