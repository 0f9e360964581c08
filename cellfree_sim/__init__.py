"""cellfree-sim: a distributed simulator of cell-free radio networks with mobile edge computing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cellfree_sim.scenario import Scenario as Scenario
    from cellfree_sim.scenario import load_scenario as load_scenario

__all__ = ["Scenario", "__version__", "load_scenario"]


def __getattr__(name: str) -> Any:
    if name in ("Scenario", "load_scenario"):
        from cellfree_sim import scenario

        return getattr(scenario, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
