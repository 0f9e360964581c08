"""A tree of stations below the macro base station."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cellfree_sim.network.base import Link, Place, Topology, nearest
from cellfree_sim.scenario.extensions import TOPOLOGIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@TOPOLOGIES.register
class Tree(Topology):
    """Stations join in the order of their distance from the macro base station, the root.

    Each links to the nearest station already in the tree that has fewer than `branching` children. Ties go to the
    station that comes first. ``branching: 1`` is a chain.

    >>> links = Tree(branching=1).connect("mbs", {"mbs": (0, 0, 0), "far": (9, 0, 0), "near": (1, 0, 0)})
    >>> [(link.a, link.b) for link in links]
    [('mbs', 'near'), ('near', 'far')]
    """

    name: Literal["tree"] = "tree"
    branching: int = Field(2, ge=1, le=1000, description="most children of a station, the macro base station included")

    def connect(self, mbs: str, places: Mapping[str, Place]) -> list[Link]:
        """The links, from the root outwards; see the class."""
        children = {mbs: 0}
        links = []
        joining = [station for station in places if station != mbs]
        for station in sorted(joining, key=lambda name: math.dist(places[name], places[mbs])):
            free = [parent for parent, count in children.items() if count < self.branching]
            parent = nearest(places, station, free)
            links.append(Link(parent, station))
            children[parent] += 1
            children[station] = 0
        return links

    def attach(
        self, mbs: str, places: Mapping[str, Place], links: Sequence[tuple[str, str]], newcomer: str
    ) -> list[Link]:
        """A link to the nearest station with fewer than `branching` children; where none has, to the nearest one.

        (None has where those that could take a child have left or are cut off.)
        """
        ends = Counter(name for link in links for name in link)
        parents = [name for name in places if name != newcomer]
        free = [name for name in parents if ends[name] - (name != mbs) < self.branching]
        return [Link(nearest(places, newcomer, free or parents), newcomer)]
