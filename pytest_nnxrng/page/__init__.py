"""A run as one page of HTML, without a request: changes as cards, checks as a table, key maps.

In: a run's checks, and the goldens that they name. Out: ``index.html``. Markup is a tree, so that a
text can never be markup; the script and the style are files in ``assets``, taken in as they are.
May import run, leaf, golden, compare, why and report.
"""
