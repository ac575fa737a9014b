"""Why a golden no longer matches: differences + derivations + environments -> causes.

In: a golden, what was obtained, their comparison. Out: `Cause`s; ``unknown`` rather than a wrong
one. May import run, leaf, device, golden, compare, nnx and trace.
"""
