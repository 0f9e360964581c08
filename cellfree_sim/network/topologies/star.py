"""Each station linked to the macro base station."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cellfree_sim.network.base import Link, Place, Topology
from cellfree_sim.scenario.extensions import TOPOLOGIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@TOPOLOGIES.register
class Star(Topology):
    """One link from each small base station to the macro base station."""

    name: Literal["star"] = "star"

    def connect(self, mbs: str, places: Mapping[str, Place]) -> list[Link]:
        """The links; see the class."""
        return [Link(mbs, station) for station in places if station != mbs]

    def attach(
        self, mbs: str, places: Mapping[str, Place], links: Sequence[tuple[str, str]], newcomer: str
    ) -> list[Link]:
        """The newcomer's own link to the macro base station."""
        return [Link(mbs, newcomer)]
