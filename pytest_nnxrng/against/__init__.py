"""Goldens from elsewhere: the tests run on another revision's code, or under another interpreter.

A tree of the revision is made in a temporary folder, beside the user's repository, which is only
read. The present tests are laid over it and run there, in a process of their own whose imports
are mapped from the checkout to the tree. They write goldens, to which this run compares.
May import run.
"""
