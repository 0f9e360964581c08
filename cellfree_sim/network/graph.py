"""The network as a graph: stations, users, backhaul links, and the paths that frames take."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Any

import networkx as nx

from cellfree_sim.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cellfree_sim.network.base import Place


class Network:
    """A networkx graph of stations and users, and what roles ask of it.

    Nodes carry ``kind`` ('mbs', 'sbs' or 'user'), ``x_m``, ``y_m``, ``z_m`` and ``antennas``; stations also
    ``mec_flop_per_s``, small base stations also ``power_dbm``. Edges are backhaul links and carry
    ``kind='backhaul'``, ``capacity_bps`` (of each direction) and ``latency_s``. Users are nodes without edges: they
    stand where the first test realisation has them. Stations come in stacking order, the macro base station first.
    """

    def __init__(self, graph: nx.Graph) -> None:
        self.graph = graph
        self.mbs: str = next(name for name, kind in graph.nodes(data="kind") if kind == "mbs")
        self.stations: list[str] = [name for name, kind in graph.nodes(data="kind") if kind == "sbs"]
        self._order = {name: index for index, name in enumerate([self.mbs, *self.stations])}
        self._paths: dict[str, dict[str, tuple[str, ...]]] = {}

    def position(self, name: str) -> Place:
        """x, y and z of a station or user in metres."""
        node = self._node(name)
        return node["x_m"], node["y_m"], node["z_m"]

    def distance_m(self, a: str, b: str) -> float:
        """Distance in three dimensions between two nodes, in metres."""
        return math.dist(self.position(a), self.position(b))

    def path(self, a: str, b: str) -> tuple[str, ...]:
        """Stations that a frame from `a` to `b` passes, both ends included.

        The fewest hops; among these the least latency; among these the one whose stations come first in stacking order.
        The path back is the path there, reversed.
        """
        for name in (a, b):
            self._check_station(name)
        if self._order[a] > self._order[b]:
            return self.path(b, a)[::-1]
        if a not in self._paths:
            self._paths[a] = self._paths_from(a)
        return self._paths[a][b]

    def links(self) -> list[tuple[str, str]]:
        """Backhaul links, each once, in stacking order of their ends."""
        pairs = ((a, b) if self._order[a] < self._order[b] else (b, a) for a, b in self.graph.edges)
        return sorted(pairs, key=lambda pair: (self._order[pair[0]], self._order[pair[1]]))

    def capacity_bps(self, a: str, b: str) -> float:
        """Capacity of each direction of the link between neighbours `a` and `b`, in bit/s."""
        return float(self._link(a, b)["capacity_bps"])

    def latency_s(self, a: str, b: str) -> float:
        """Propagation and switching delay of the link between neighbours `a` and `b`, in seconds."""
        return float(self._link(a, b)["latency_s"])

    def nearest_station(self, position: Sequence[float], exclude: Iterable[str] = ()) -> str:
        """The small base station nearest to `position` (x, y or x, y, z in metres), the first one among equals.

        Eq. (22) of the CMTSSL/DMTSSL paper: the station whose model a new one takes over.
        """
        excluded = set(exclude)
        candidates = [station for station in self.stations if station not in excluded]
        if not candidates:
            raise UserError("no small base station is left to choose the nearest from")
        return min(candidates, key=lambda name: math.dist(self.position(name)[: len(position)], position))

    def to_json(self) -> dict[str, Any]:
        """The graph as networkx node-link data (keys ``nodes`` and ``links``), of JSON types only."""
        data: dict[str, Any] = nx.node_link_data(self.graph, edges="links")
        return data

    def _node(self, name: str) -> dict[str, Any]:
        if name not in self.graph:
            raise UserError(f"there is no station or user '{name}' in the network")
        node: dict[str, Any] = self.graph.nodes[name]
        return node

    def _check_station(self, name: str) -> None:
        if name not in self._order:
            raise UserError(f"there is no station '{name}'; there are {', '.join(self._order)}")

    def _link(self, a: str, b: str) -> dict[str, Any]:
        if not self.graph.has_edge(a, b):
            raise UserError(f"there is no link between '{a}' and '{b}'")
        link: dict[str, Any] = self.graph.edges[a, b]
        return link

    def _paths_from(self, source: str) -> dict[str, tuple[str, ...]]:
        """Dijkstra with the key (hops, latency, stations in stacking order)."""
        names = list(self._order)
        start = self._order[source]
        found: dict[str, tuple[str, ...]] = {}
        queue: list[tuple[int, float, tuple[int, ...]]] = [(0, 0.0, (start,))]
        while queue:
            hops, latency, way = heapq.heappop(queue)
            here = names[way[-1]]
            if here in found:
                continue
            found[here] = tuple(names[index] for index in way)
            for after in self.graph.neighbors(here):
                if after not in found:
                    step = self.graph.edges[here, after]["latency_s"]
                    heapq.heappush(queue, (hops + 1, latency + step, (*way, self._order[after])))
        return found
