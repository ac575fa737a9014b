"""The golden on disk: its name, its format, its values, whose it is, and what becomes of it.

In: leaves, and the identity of a test. Out: a `Golden`, files, or a `GoldenError` that names the
way out. No JAX. May import run and leaf.
"""
