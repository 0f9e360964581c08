"""What `cellfree bench` runs: speed as ratios, both sides measured in turns in one run.

A benchmark is a module of this package with ``run(quick: bool) -> list[dict]``. Each row has `benchmark`, `case`,
`value`, `unit`, and where there is something to compare with, `ratio` and `against`. Wall times of a busy machine
vary; ratios of turns taken within seconds of each other vary less, and medians over turns are reported. One that takes
many minutes says ``ON_REQUEST = True``, and is run only by name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Any

from cellfree_sim.errors import UserError

Row = dict[str, Any]


def list_benchmarks() -> list[str]:
    """Names of all benchmarks, in alphabetical order."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def run_benchmarks(names: Sequence[str], *, quick: bool = False) -> list[Row]:
    """Run the benchmarks called `names`, one after another; without names, all that are not on request only.

    Raises:
        UserError: there is no benchmark of that name.
    """
    known = list_benchmarks()
    for name in names:
        if name not in known:
            raise UserError(f"benchmark '{name}' is unknown; there are {', '.join(known)}")
    rows: list[Row] = []
    for name in names or known:
        module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
        if not names and getattr(module, "ON_REQUEST", False):
            continue
        rows += [{"benchmark": name, **row} for row in module.run(quick)]
    return rows
