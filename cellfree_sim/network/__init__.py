"""Where stations and users are, and how stations are linked: one networkx graph, made from a scenario (`build`).

What happens to it while a run lasts is in `changes`.

The graph and NumPy are imported when first used, so that the registries of this package stay cheap to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellfree_sim.network.build import build_network as build_network
    from cellfree_sim.network.graph import Network as Network
    from cellfree_sim.network.users import UserDrops as UserDrops
    from cellfree_sim.network.users import draw_users as draw_users

__all__ = ["Network", "UserDrops", "build_network", "draw_users"]

_HOMES = {"Network": "graph", "UserDrops": "users", "build_network": "build", "draw_users": "users"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
