"""Attacks on goldens: whatever happens to a run, each golden is wholly old or wholly new.

`scenarios` changes goldens, `operations` counts what it does to files and lets one of these fail,
`power` knows what a power cut may leave. `attack` tries each at every operation, in forks of one
small process that imports no JAX. ``python -m tests.faults`` attacks whole runs of pytest.
"""
