"""What may happen to a network, each as a function from one network to the next; the old one stays as it is.

All raise `UserError` with one line where the change makes no sense. Stations are prepared before they are admitted:

    with_joining ──► 'joining' ── with_admitted ──► 'active' ◄── with_link_restored / with_link_cut ──► 'isolated'
                                                        └──────────────── without ──────────────┴──► 'removed'
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import ScenarioError, UserError
from cellfree_sim.network.build import add_link, add_sbs
from cellfree_sim.network.graph import Network
from cellfree_sim.scenario.events import in_order
from cellfree_sim.scenario.parts import MBS_NAME, station_name_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    import networkx as nx

    from cellfree_sim.scenario.events import Event, InjectSbs
    from cellfree_sim.scenario.schema import Scenario

CLOSEST_M = 0.01
"""Stations nearer to each other than this stand at the same place."""
_KEYS = ("name: ", "position_m: ")  # of an injection, with which errors about them begin


def with_joining(
    scenario: Scenario,
    network: Network,
    name: str | None,
    position_m: tuple[float, float],
    *,
    learns: bool,
    azimuth_deg: float | None = None,
) -> tuple[Network, str]:
    """The network with a new small base station that is being prepared, and the station's name.

    It is built as the others are, and linked as the topology of the scenario says (`Topology.attach`). Without `name`
    it is the first ``sbs-<n>`` that was never used; without `azimuth_deg` its antennas look where the scenario's do.
    Raises `UserError` for a name or a place that cannot be, and where the channel model or the algorithm has no more
    stations.

    >>> from cellfree_sim.network import build_network
    >>> from cellfree_sim.scenario import Scenario
    >>> scenario = Scenario()
    >>> network, name = with_joining(scenario, build_network(scenario), None, (75, 75), learns=True)
    >>> name, network.status(name), network.stations
    ('sbs-3', 'joining', ['sbs-0', 'sbs-1', 'sbs-2'])
    >>> with_admitted(network, name).stations
    ['sbs-0', 'sbs-1', 'sbs-2', 'sbs-3']
    """
    if name is None:
        name = next(free for n in itertools.count() if (free := f"sbs-{n}") not in network.graph)
    _check_name(network, name)
    x, y = (float(coordinate) for coordinate in position_m)
    _check_place(scenario, network, x, y)
    scenario.channel.model.check_stations(scenario, len(network.sites) + 1)
    graph = network.graph.copy()
    place = (x, y, scenario.network.sbs.height_m)
    add_sbs(graph, scenario, name, place, status="joining", learns=learns, azimuth_deg=azimuth_deg)
    grown = Network(graph)
    places = {station: grown.position(station) for station in (network.mbs, *network.stations, name)}
    for link in scenario.backhaul.topology.attach(network.mbs, places, network.links(), name):
        add_link(graph, scenario, link)
    joining = Network(graph)
    scenario.downlink.algorithm.check_roster(scenario, network, with_admitted(joining, name))
    return joining, name


def with_injection(scenario: Scenario, network: Network, name: str | None, spec: InjectSbs) -> tuple[Network, str]:
    """As `with_joining`, for what an injection asks for; `name` instead of its own."""
    learns = spec.after == "fine-tune"
    return with_joining(scenario, network, name, spec.position_m, learns=learns, azimuth_deg=spec.azimuth_deg)


def with_admitted(network: Network, name: str) -> Network:
    """The network with a joining station in its roster, or isolated where its links were cut meanwhile."""
    _check_sbs(network, name)
    if network.status(name) != "joining":
        raise UserError(f"station '{name}' is {network.status(name)}; only one that is joining can be admitted")
    graph = network.graph.copy()
    graph.nodes[name]["status"] = "active" if network.reaches(network.mbs, name) else "isolated"
    return Network(graph)


def without(network: Network, name: str) -> Network:
    """The network after a station has left for good. Its switch and links stay, and its name is never free again."""
    _check_member(network, name)
    if network.stations == [name]:
        raise UserError(f"station '{name}' is the last one that serves users; a network needs one")
    graph = network.graph.copy()
    graph.nodes[name]["status"] = "removed"
    return Network(graph)


def with_removed(scenario: Scenario, network: Network, name: str) -> Network:
    """As `without`, where the scenario's algorithm can go on without that station too."""
    changed = without(network, name)
    scenario.downlink.algorithm.check_roster(scenario, network, changed)
    return changed


def with_link_cut(network: Network, a: str, b: str) -> Network:
    """The network with a link that carries nothing; stations that lose every path are isolated."""
    if not network.is_up(a, b):
        raise UserError(f"the link between '{a}' and '{b}' is cut already")

    def cut(link: dict[str, Any]) -> None:
        link["up"] = False

    changed = _with_link(network, a, b, cut)
    if not changed.stations:
        raise UserError(f"without the link between '{a}' and '{b}' no station has a path to '{network.mbs}'")
    return changed


def with_link_slowed(
    network: Network, a: str, b: str, capacity_bps: float | None = None, latency_s: float | None = None
) -> Network:
    """The network with another capacity (bit/s, of each direction) or latency (s) of a link; None leaves it."""
    if not network.is_up(a, b):
        raise UserError(f"the link between '{a}' and '{b}' is cut; restore it first")
    if capacity_bps is None and latency_s is None:
        raise UserError(f"the link between '{a}' and '{b}': found neither capacity_bps nor latency_s")
    if capacity_bps is not None and not 0 < capacity_bps < math.inf:
        raise UserError(f"the link between '{a}' and '{b}': found capacity_bps {capacity_bps:g}; allowed: above 0")
    if latency_s is not None and not 0 <= latency_s < math.inf:
        raise UserError(f"the link between '{a}' and '{b}': found latency_s {latency_s:g}; allowed: at least 0")

    def slow(link: dict[str, Any]) -> None:
        for key, value in (("capacity_bps", capacity_bps), ("latency_s", latency_s)):
            if value is not None:
                link.setdefault(f"built_{key}", link[key])
                link[key] = float(value)

    return _with_link(network, a, b, slow)


def with_link_restored(network: Network, a: str, b: str) -> Network:
    """The network with a link that is again as it was built; stations that regain a path are active."""

    def restore(link: dict[str, Any]) -> None:
        built = {key: link.pop(f"built_{key}") for key in ("capacity_bps", "latency_s") if f"built_{key}" in link}
        if link.get("up", True) and not built:
            raise UserError(f"the link between '{a}' and '{b}' is neither cut nor slowed down")
        link.update(built, up=True)

    return _with_link(network, a, b, restore)


def with_event(scenario: Scenario, network: Network, event: Event) -> Network:
    """The network after an event, once the station of an injection is admitted. A failure leaves it as it was."""
    detail = event.detail
    match event.action:
        case "inject_sbs":
            return with_admitted(*with_injection(scenario, network, detail.name, detail))
        case "remove_sbs":
            return with_removed(scenario, network, detail)
        case "fail_sbs":
            _check_member(network, detail.station)
        case "cut_link":
            changed = with_link_cut(network, *detail)
            scenario.downlink.algorithm.check_roster(scenario, network, changed)
            return changed
        case "slow_link":
            a, b = detail.between
            return with_link_slowed(network, a, b, capacity_bps=detail.capacity_bps, latency_s=detail.latency_s)
        case "restore_link":
            return with_link_restored(network, *detail)
    return network


def check_events(scenario: Scenario, network: Network) -> None:
    """Let all events of a scenario happen to its `network`, in order; `ScenarioError` names the one that cannot."""
    for index, event in in_order(scenario.events):
        try:
            network = with_event(scenario, network, event)
        except UserError as error:
            key = "." if str(error).startswith(_KEYS) else ": "
            raise ScenarioError(f"events[{index}].{event.action}{key}{error}") from None


def _with_link(network: Network, a: str, b: str, change: Callable[[dict[str, Any]], None]) -> Network:
    """The network with one link changed; then stations with a path to the MBS are active, those without isolated."""
    graph: nx.Graph = network.graph.copy()
    network.is_up(a, b)
    change(graph.edges[a, b])
    changed = Network(graph)
    for name in changed.members:
        graph.nodes[name]["status"] = "active" if changed.reaches(changed.mbs, name) else "isolated"
    return Network(graph)


def _check_name(network: Network, name: str) -> None:
    problem = station_name_problem(name)
    if problem is not None:
        raise UserError(f"name: {problem}")
    if name in network.graph:
        found = f"found '{name}', which is {network.status(name)}"
        raise UserError(f"name: {found}; allowed: a name that no station of this network ever had")


def _check_place(scenario: Scenario, network: Network, x: float, y: float) -> None:
    width, depth = scenario.network.area_m
    if not (0 <= x <= width and 0 <= y <= depth):
        allowed = f"x in [0, {width:g}], y in [0, {depth:g}] (network.area_m)"
        raise UserError(f"position_m: found [{x:g}, {y:g}]; allowed: {allowed}")
    for station in network.sites:
        there = network.position(station)[:2]
        if network.status(station) != "removed" and math.dist(there, (x, y)) < CLOSEST_M:
            raise UserError(
                f"position_m: found [{x:g}, {y:g}], where station '{station}' stands; allowed: a free place"
            )


def _check_sbs(network: Network, name: str) -> None:
    if name == MBS_NAME:
        raise UserError(f"'{name}' is the macro base station; allowed: a small one, {', '.join(network.members)}")
    if name not in network.sites:
        raise UserError(f"there is no station '{name}'; there are {', '.join(network.members)}")


def _check_member(network: Network, name: str) -> None:
    _check_sbs(network, name)
    if name not in network.members:
        raise UserError(f"station '{name}' is {network.status(name)}; allowed: {', '.join(network.members)}")
