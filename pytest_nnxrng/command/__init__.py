"""The command ``nnxrng``: goldens, report folders and git revisions, looked at and accepted.

In: a command line. Out: text or JSON, and an exit code. Each verb is a module with ``run``; what
needs numpy or JAX is imported inside functions. ``accept`` and ``review`` alone write goldens.
May import run, golden, compare, why, report and page.
"""
