"""A star with direct links between small base stations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from cellfree_sim.network.base import Link, Place, Topology
from cellfree_sim.scenario.extensions import TOPOLOGIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@TOPOLOGIES.register
class Mesh(Topology):
    """The links of a star, and links between near small base stations.

    Either each station links to its `neighbours` nearest ones (2 by default; a link that both ends choose exists
    once), or all pairs within `range_m` link. Distances are in three dimensions; ties go to the station that comes
    first.
    """

    name: Literal["mesh"] = "mesh"
    neighbours: int | None = Field(None, ge=1, le=1000, description="nearest stations to which each one links")
    range_m: float | None = Field(None, gt=0, le=1e7, description="instead of neighbours: link all pairs this near")

    @model_validator(mode="before")
    @classmethod
    def _two_neighbours_by_default(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("neighbours") is None and data.get("range_m") is None:
            return {**data, "neighbours": 2}
        return data

    @model_validator(mode="after")
    def _one_rule(self) -> Mesh:
        if self.neighbours is not None and self.range_m is not None:
            raise ValueError("give neighbours or range_m, not both")
        return self

    def connect(self, mbs: str, places: Mapping[str, Place]) -> list[Link]:
        """The links of the star, then those of the mesh in stacking order; see the class."""
        stations = [station for station in places if station != mbs]
        order = {station: index for index, station in enumerate(stations)}
        chosen = [(station, other) for station in stations for other in self._near(places, station, stations)]
        pairs = sorted({(min(order[a], order[b]), max(order[a], order[b])) for a, b in chosen})
        return [Link(mbs, station) for station in stations] + [Link(stations[a], stations[b]) for a, b in pairs]

    def attach(
        self, mbs: str, places: Mapping[str, Place], links: Sequence[tuple[str, str]], newcomer: str
    ) -> list[Link]:
        """The newcomer's link to the macro base station, and those that it chooses by the rule."""
        stations = [station for station in places if station != mbs]
        return [Link(mbs, newcomer)] + [Link(other, newcomer) for other in self._near(places, newcomer, stations)]

    def _near(self, places: Mapping[str, Place], station: str, stations: Sequence[str]) -> list[str]:
        """The small base stations to which one of them links."""
        gaps = {other: math.dist(places[station], places[other]) for other in stations if other != station}
        if self.range_m is not None:
            return [other for other, gap in gaps.items() if gap <= self.range_m]
        return sorted(gaps, key=gaps.__getitem__)[: self.neighbours]
