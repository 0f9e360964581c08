"""cellfree-sim: a distributed simulator of cell-free radio networks with mobile edge computing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cellfree_sim.results.loading import load_results as load_results
    from cellfree_sim.scenario import Scenario as Scenario
    from cellfree_sim.scenario import load_scenario as load_scenario

_HOME = {"Scenario": "scenario", "load_results": "results.loading", "load_scenario": "scenario"}
__all__ = ["Scenario", "__version__", "load_results", "load_scenario"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
