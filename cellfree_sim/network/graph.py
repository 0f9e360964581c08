"""The network as a graph: stations, users, backhaul links, and the paths that frames take."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx

from cellfree_sim.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cellfree_sim.network.base import Place

Status = Literal["active", "joining", "isolated", "removed"]


class Network:
    """A networkx graph of stations and users, and what roles ask of it.

    Nodes carry ``kind`` ('mbs', 'sbs' or 'user'), ``x_m``, ``y_m``, ``z_m`` and ``antennas``; stations also
    ``mec_flop_per_s``. Small base stations also carry ``power_dbm``, ``azimuth_deg`` (where their antennas look, from
    the x axis), ``status`` (see `status`) and ``learns`` (False: it executes the model it was given). Edges are
    backhaul links and carry ``kind='backhaul'``, ``up``, ``capacity_bps`` (of each direction) and ``latency_s``, and
    where a link was slowed down what it was built with, as ``built_capacity_bps`` and ``built_latency_s``. Users are
    nodes without edges: they stand where the first test realisation has them. Stations come in stacking order, the
    macro base station first, those that joined last.

    A network does not change: `cellfree_sim.network.changes` makes new ones.

    Attributes:
        mbs: name of the macro base station.
        sites: all small base stations that ever were, in stacking order.
        members: those of them that belong to the network: active and isolated ones.
        stations: the roster, the active ones.
    """

    def __init__(self, graph: nx.Graph) -> None:
        self.graph = graph
        self.mbs: str = next(name for name, kind in graph.nodes(data="kind") if kind == "mbs")
        self.sites: list[str] = [name for name, kind in graph.nodes(data="kind") if kind == "sbs"]
        self.members = [name for name in self.sites if self.status(name) in ("active", "isolated")]
        self.stations = [name for name in self.sites if self.status(name) == "active"]
        self._order = {name: index for index, name in enumerate([self.mbs, *self.sites])}
        self._paths: dict[str, dict[str, tuple[str, ...]]] = {}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Network:
        """The network that `to_json` gave."""
        return cls(nx.node_link_graph(dict(data), edges="links"))

    def status(self, name: str) -> Status:
        """What a station is to the network.

        'active': in the roster. 'joining': being prepared. 'isolated': no path of links that are up leads to the macro
        base station; its process lives, it takes no part. 'removed': gone for good; its switch stays, so that stations
        behind it keep their path.
        """
        status: Status = self._node(name).get("status", "active")
        return status

    def learns(self, name: str) -> bool:
        """Whether a station trains with the others; False: it executes the model it was given."""
        return bool(self._node(name).get("learns", True))

    def azimuth_deg(self, name: str) -> float:
        """Boresight of a small base station's antennas in the horizontal plane, degrees from the x axis."""
        return float(self._node(name)["azimuth_deg"])

    def position(self, name: str) -> Place:
        """x, y and z of a station or user in metres."""
        node = self._node(name)
        return node["x_m"], node["y_m"], node["z_m"]

    def distance_m(self, a: str, b: str) -> float:
        """Distance in three dimensions between two nodes, in metres."""
        return math.dist(self.position(a), self.position(b))

    def path(self, a: str, b: str) -> tuple[str, ...]:
        """Stations that a frame from `a` to `b` passes over links that are up, both ends included.

        The fewest hops; among these the least latency; among these the one whose stations come first in stacking order.
        The path back is the path there, reversed. Raises `UserError` where there is none.
        """
        if not self.reaches(a, b):
            raise UserError(f"no path of links that are up leads from '{a}' to '{b}'")
        return self._paths_of(a)[b] if self._order[a] <= self._order[b] else self._paths_of(b)[a][::-1]

    def reaches(self, a: str, b: str) -> bool:
        """Whether a path of links that are up leads from station `a` to station `b`."""
        for name in (a, b):
            self._check_station(name)
        first, last = sorted((a, b), key=self._order.__getitem__)
        return last in self._paths_of(first)

    def links(self) -> list[tuple[str, str]]:
        """Backhaul links, up or down, each once, in stacking order of their ends."""
        pairs = ((a, b) if self._order[a] < self._order[b] else (b, a) for a, b in self.graph.edges)
        return sorted(pairs, key=lambda pair: (self._order[pair[0]], self._order[pair[1]]))

    def is_up(self, a: str, b: str) -> bool:
        """Whether the link between neighbours `a` and `b` carries frames."""
        return bool(self._link(a, b).get("up", True))

    def capacity_bps(self, a: str, b: str) -> float:
        """Capacity of each direction of the link between neighbours `a` and `b`, in bit/s."""
        return float(self._link(a, b)["capacity_bps"])

    def latency_s(self, a: str, b: str) -> float:
        """Propagation and switching delay of the link between neighbours `a` and `b`, in seconds."""
        return float(self._link(a, b)["latency_s"])

    def nearest_station(self, position: Sequence[float], exclude: Iterable[str] = ()) -> str:
        """The active small base station nearest to `position` (x, y or x, y, z in metres), the first one among equals.

        Eq. (22) of the CMTSSL/DMTSSL paper: the station whose model a new one takes over.
        """
        excluded = set(exclude)
        candidates = [station for station in self.stations if station not in excluded]
        if not candidates:
            raise UserError("no small base station is left to choose the nearest from")
        return min(candidates, key=lambda name: math.dist(self.position(name)[: len(position)], position))

    def to_json(self) -> dict[str, Any]:
        """The graph as networkx node-link data (keys ``nodes`` and ``links``), of JSON types only; see `from_json`."""
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
            self._check_station(a)
            self._check_station(b)
            linked = ", ".join(sorted(self.graph[a], key=self._order.__getitem__))
            raise UserError(f"there is no link between '{a}' and '{b}'; '{a}' is linked to {linked or 'none'}")
        link: dict[str, Any] = self.graph.edges[a, b]
        return link

    def _paths_of(self, source: str) -> dict[str, tuple[str, ...]]:
        if source not in self._paths:
            self._paths[source] = self._paths_from(source)
        return self._paths[source]

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
                if after not in found and self.is_up(here, after):
                    step = self.graph.edges[here, after]["latency_s"]
                    heapq.heappush(queue, (hops + 1, latency + step, (*way, self._order[after])))
        return found
