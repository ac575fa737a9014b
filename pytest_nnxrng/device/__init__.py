"""Where tests run: ``"gpu:1"`` -> a device, what must precede JAX's start, other processes.

In: the text of ``--nnx-device``, the process environment. Out: a `jax.Device` or why it is
missing; the environment that decides numbers. May import run.
"""
