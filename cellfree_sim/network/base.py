"""What the extension points of the network look like: a layout of stations, a layout of users, a backhaul topology."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellfree_sim.registry import Named

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

Place = tuple[float, float, float]


@dataclass(frozen=True)
class Link:
    """A backhaul link between two stations; what is None is the scenario's `backhaul.capacity_bps` or `latency_s`."""

    a: str
    b: str
    capacity_bps: float | None = None
    latency_s: float | None = None


class SiteLayout(Named):
    """Where small base stations stand. Registered in `SITE_LAYOUTS`."""

    @abstractmethod
    def places(self, count: int, area_m: tuple[float, float], rng: np.random.Generator) -> NDArray[np.float64]:
        """Ground positions of `count` stations in metres, float64 [count, 2], inside [0, width] x [0, depth].

        Raises `ScenarioError` where so many stations do not fit.
        """


class UserLayout(Named):
    """Where users appear. Registered in `USER_LAYOUTS`."""

    @abstractmethod
    def draw(
        self,
        realisations: int,
        users: int,
        area_m: tuple[float, float],
        rng: np.random.Generator,
        fixed_rng: np.random.Generator,
    ) -> NDArray[np.float64]:
        """Ground positions in metres, float64 [realisations, users, 2], inside [0, width] x [0, depth].

        `rng` is the stream of the drops of one split; `fixed_rng` starts anew in the same state at each call of a run,
        for what all splits share (the places of hotspots). The first drops do not depend on how many are drawn.
        """


class Topology(Named):
    """Which stations are linked. Registered in `TOPOLOGIES`."""

    @abstractmethod
    def connect(self, mbs: str, places: Mapping[str, Place]) -> list[Link]:
        """Undirected links between the stations of `places` (name -> x, y, z in metres; `mbs` is one of them).

        The small base stations come in their stacking order. Raises `ScenarioError` where the options do not fit the
        stations; `build_network` checks names, loops, duplicates and that every station can be reached.
        """

    def attach(
        self, mbs: str, places: Mapping[str, Place], links: Sequence[tuple[str, str]], newcomer: str
    ) -> list[Link]:
        """Links of a station that joins later, those that exist stay; by default one, to the nearest station.

        `places` holds the stations that it may link to, `mbs` among them, in stacking order, and `newcomer` itself;
        `links` all that exist, to stations that have left or are cut off too. Each link returned has `newcomer` at one
        end, and the list is not empty.
        """
        return [Link(nearest(places, newcomer, [name for name in places if name != newcomer]), newcomer)]


def nearest(places: Mapping[str, Place], station: str, among: Iterable[str]) -> str:
    """The one of `among` nearest to `station` in three dimensions, the first of equals."""
    return min(among, key=lambda name: math.dist(places[name], places[station]))
