"""``python -m pytest_nnxrng``: the command ``nnxrng``."""

from __future__ import annotations

import sys

from pytest_nnxrng.command.entry import main

if __name__ == "__main__":
    sys.exit(main())
