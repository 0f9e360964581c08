"""From a scenario to the network graph, with the checks that need all stations at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import networkx as nx

from cellfree_sim import seeds
from cellfree_sim.errors import ScenarioError
from cellfree_sim.network.graph import Network
from cellfree_sim.network.users import draw_users
from cellfree_sim.scenario.parts import MBS_NAME

if TYPE_CHECKING:
    from cellfree_sim.network.base import Link, Place
    from cellfree_sim.network.graph import Status
    from cellfree_sim.scenario.schema import Scenario


def build_network(scenario: Scenario) -> Network:
    """The network of a scenario: stations where the layout puts them, users, and checked backhaul links.

    Raises `ScenarioError` for a layout that does not fit, a link to an unknown station, to itself or given twice, and
    for a station that no path reaches.
    """
    places = _station_places(scenario)
    graph = nx.Graph()
    _add_stations(graph, scenario, places)
    _add_users(graph, scenario)
    links = scenario.backhaul.topology.connect(MBS_NAME, places)
    _check_links(links, places)
    for link in links:
        add_link(graph, scenario, link)
    _check_reachable(graph, places)
    return Network(graph)


def add_link(graph: nx.Graph, scenario: Scenario, link: Link) -> None:
    """Add a backhaul link that is up; what it leaves open is the scenario's."""
    capacity = scenario.backhaul.capacity_bps if link.capacity_bps is None else link.capacity_bps
    latency = scenario.backhaul.latency_s if link.latency_s is None else link.latency_s
    graph.add_edge(link.a, link.b, kind="backhaul", up=True, capacity_bps=capacity, latency_s=latency)


def add_sbs(
    graph: nx.Graph,
    scenario: Scenario,
    name: str,
    place: Place,
    *,
    status: Status,
    learns: bool,
    azimuth_deg: float | None = None,
) -> None:
    """Add a small base station without links; `azimuth_deg` None: its antennas look where the scenario's do."""
    x, y, z = place
    sbs = scenario.network.sbs
    own = {
        "antennas": sbs.antennas.count,
        "azimuth_deg": float(sbs.antennas.azimuth_deg if azimuth_deg is None else azimuth_deg),
        "mec_flop_per_s": sbs.mec_flop_per_s,
        "power_dbm": sbs.power_dbm,
    }
    graph.add_node(name, kind="sbs", x_m=x, y_m=y, z_m=z, **own, status=status, learns=learns)


def _station_places(scenario: Scenario) -> dict[str, Place]:
    """Places of the macro base station and the small ones, in stacking order."""
    network = scenario.network
    x, y = network.mbs.position_m or (network.area_m[0] / 2, network.area_m[1] / 2)
    places: dict[str, Place] = {MBS_NAME: (float(x), float(y), network.mbs.height_m)}
    ground = network.sbs.positions_m
    if ground is None:
        rng = seeds.generator(scenario.seed, "sites")
        ground = network.sbs.layout.places(network.sbs.count, network.area_m, rng).tolist()
    for name, (x, y) in zip(scenario.station_names, ground, strict=True):
        places[name] = (float(x), float(y), network.sbs.height_m)
    return places


def _add_stations(graph: nx.Graph, scenario: Scenario, places: dict[str, Place]) -> None:
    azimuths_deg = dict(zip(scenario.station_names, scenario.network.sbs.azimuths_deg or [], strict=False))
    for name, place in places.items():
        if name == MBS_NAME:
            x, y, z = place
            flop_per_s = scenario.network.mbs.mec_flop_per_s
            graph.add_node(name, kind="mbs", x_m=x, y_m=y, z_m=z, antennas=0, mec_flop_per_s=flop_per_s)
        else:
            azimuth_deg = azimuths_deg.get(name)
            add_sbs(graph, scenario, name, place, status="active", learns=True, azimuth_deg=azimuth_deg)


def _add_users(graph: nx.Graph, scenario: Scenario) -> None:
    """Users as nodes without links, where the first test realisation has them."""
    first = draw_users(scenario, "test", realisations=1)
    for index, (x, y, z) in enumerate(first.positions_m[0].tolist()):
        graph.add_node(f"user-{index}", kind="user", x_m=x, y_m=y, z_m=z, antennas=scenario.network.users.antennas)


def _check_links(links: list[Link], places: dict[str, Place]) -> None:
    seen: dict[frozenset[str], int] = {}
    for index, link in enumerate(links):
        where = f"backhaul.topology: link {index} [{link.a}, {link.b}]"
        for name in (link.a, link.b):
            if name not in places:
                raise ScenarioError(f"{where} names no station '{name}'; there are {_listed(list(places))}")
        if link.a == link.b:
            raise ScenarioError(f"{where} leads from a station to itself; a link needs two stations")
        first = seen.setdefault(frozenset((link.a, link.b)), index)
        if first != index:
            raise ScenarioError(f"{where} repeats link {first}; give each link once")


def _check_reachable(graph: nx.Graph, places: dict[str, Place]) -> None:
    reached = nx.node_connected_component(graph, MBS_NAME)
    missing = [name for name in places if name not in reached]
    if missing:
        raise ScenarioError(
            f"backhaul.topology: no path of links from {MBS_NAME} to {_listed(missing)}; "
            f"every station must be reachable"
        )


def _listed(names: list[str]) -> str:
    """Names for one line of text: at most eight of them."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
