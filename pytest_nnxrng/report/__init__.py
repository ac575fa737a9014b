"""Data -> text and JSON. Nothing is decided here.

In: comparisons, causes, outcomes. Out: the text of a failure, the summary, ``report.json``.
May import run, leaf, golden, compare and why.
"""
