"""The story of one check, from what was asked to the golden and back.

In: a value or a build, and options. Out: a `Result` kept with the test. `snapshot` is what a test
calls; the other modules are the steps. May import every wing but hooks.
"""
