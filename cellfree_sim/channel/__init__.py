"""Channel realisations between stations and users: models behind one protocol, seeded, kept in a cache on disk.

NumPy is imported when first used, Sionna and torch when a model that needs them generates, so that the registry of
models stays cheap to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellfree_sim.channel.base import ChannelModel as ChannelModel
    from cellfree_sim.channel.base import ChannelRequest as ChannelRequest
    from cellfree_sim.channel.station import check_channels as check_channels
    from cellfree_sim.channel.station import outside_notes as outside_notes
    from cellfree_sim.channel.station import station_channels as station_channels

__all__ = ["ChannelModel", "ChannelRequest", "check_channels", "outside_notes", "station_channels"]

_HOMES = {
    **dict.fromkeys(("ChannelModel", "ChannelRequest"), "base"),
    **dict.fromkeys(("check_channels", "outside_notes", "station_channels"), "station"),
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
