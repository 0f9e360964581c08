"""``python -m cellfree_sim`` is the command ``cellfree``."""

from __future__ import annotations

import sys

from cellfree_sim.cli import main

if __name__ == "__main__":
    sys.exit(main())
