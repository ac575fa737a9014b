"""``python -m tests.fuzzing manifest|values [--seconds N]``: a coverage-guided fuzzer on a golden.

Whatever bytes lie there, the outcome is a value or a ``GoldenError`` that can be printed, in time
and memory that are bounded; values that are read are those of their digest; and no leaf that moved
is held for one that matches, as long as its digest is there. Needs atheris (``pip install
atheris``); without it, mutates at random. ``seeds`` holds what was found, and a test reads it all.
"""
