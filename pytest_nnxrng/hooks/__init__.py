"""pytest's side: options, fixtures, devices as parameters, a test's end, the session's end.

In: pytest's hooks. Out: plain values for the other wings, which are imported inside functions:
pytest loads this wing at every start. May import every wing.
"""
