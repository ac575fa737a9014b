"""The one wing that knows how NNX holds state.

In: any NNX value or pytree, the arguments of a build. Out: `Flat`, the Rngs among arguments, copies
of them. A release of Flax should touch this wing alone. May import run, leaf and device.
"""
