"""What a run leaves behind: its folder, checkpoints, figures and report, and what it shows while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellfree_sim.results.checkpoints import Checkpoint as Checkpoint
    from cellfree_sim.results.checkpoints import Checkpoints as Checkpoints
    from cellfree_sim.results.observer import Observer as Observer
    from cellfree_sim.results.observer import create_observer as create_observer
    from cellfree_sim.results.report import build_report as build_report
    from cellfree_sim.results.run_folder import RunFolder as RunFolder
    from cellfree_sim.results.state import pack_state as pack_state
    from cellfree_sim.results.state import unpack_state as unpack_state

_HOME = {
    "Checkpoint": "checkpoints",
    "Checkpoints": "checkpoints",
    "Observer": "observer",
    "RunFolder": "run_folder",
    "build_report": "report",
    "create_observer": "observer",
    "pack_state": "state",
    "unpack_state": "state",
}
__all__ = [
    "Checkpoint",
    "Checkpoints",
    "Observer",
    "RunFolder",
    "build_report",
    "create_observer",
    "pack_state",
    "unpack_state",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
