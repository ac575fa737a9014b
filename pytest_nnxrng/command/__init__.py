"""The command ``nnxrng``: goldens, report folders and git revisions go in, text or JSON comes out.

Each verb is a module with ``run(args, screen) -> exit code``. ``accept`` and ``review`` alone write
goldens, ``git-config`` alone git's configuration. May import run, leaf, golden, compare, why and
report; what needs numpy or JAX is imported inside functions, so that the command starts at once.
"""
