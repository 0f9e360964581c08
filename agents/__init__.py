"""The network as Ray actors: thin shells that own a process, a placement-group bundle and a backhaul port.

Every decision is taken by a plain object of `cellfree_sim`. Ray is imported when a distributed run starts, not before:
`Simulation` with ``engine="inline"`` works where Ray is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.simulation import Simulation as Simulation

__all__ = ["Simulation"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from agents import simulation

        return getattr(simulation, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
