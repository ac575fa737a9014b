"""A build -> its jaxpr -> the draws and the initializer of each leaf.

In: a constructor with its arguments. Out: a `Build`, a `Trace`, fingerprints; nothing is allocated.
A release of JAX should touch this wing and `evaluate`. May import leaf and nnx.
"""
