"""The run as a whole: what the user set, what happened in it, word of what takes long.

In: options and ini values, rows of checks. Out: `Settings`, `Outcomes`, lines on the terminal.
Standard library alone. May import no other wing.
"""
