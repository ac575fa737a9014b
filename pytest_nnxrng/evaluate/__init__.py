"""Chosen elements of a model that is never built: its jaxpr evaluated lazily, from the end.

In: a `Trace` and the places of the wanted elements. Out: the leaves' spots, or why there are none.
May import leaf, golden and trace.
"""
