"""A build or a call -> its jaxpr -> draws, initializers, fingerprints, and chosen elements.

In: a constructor with its arguments, or a call. Out: a `Build`, a `Trace`; of a model that is never
built the spots, its jaxpr evaluated lazily from the end. A release of JAX should touch this wing
alone. May import leaf, golden and nnx.
"""
