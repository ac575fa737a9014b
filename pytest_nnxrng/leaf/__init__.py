"""One leaf: an array of a value, its dtype, name, digest, statistics, sketch, spots and placement.

In: arrays in host memory, or slabs of them. Out: `Leaf`, and `Flat`, the leaves of one value.
Numpy, no JAX. May import run.
"""
