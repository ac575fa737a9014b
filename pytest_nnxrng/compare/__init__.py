"""Two sets of leaves -> the differences between them, and whether each is rounding.

In: the golden's leaves, the run's, a `Tolerance`. Out: a `Comparison`; nothing is raised for a
mismatch, no file is read but through a leaf. May import run and leaf.
"""
