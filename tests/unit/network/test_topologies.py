"""Backhaul topologies, and the checks on their links."""

from __future__ import annotations

import math

import networkx as nx
import pytest

from cellfree_sim.errors import ScenarioError
from cellfree_sim.network import build_network
from cellfree_sim.network.changes import with_joining, with_link_cut, without
from cellfree_sim.scenario.extensions import TOPOLOGIES

LINE = {"mbs": (0.0, 0.0, 25.0)} | {f"sbs-{i}": (10.0 * (i + 1), 0.0, 25.0) for i in range(5)}


def pairs(name, places=LINE, **options):
    return [(link.a, link.b) for link in TOPOLOGIES.create(name, **options).connect("mbs", places)]


def test_star_links_every_station_to_the_mbs():
    assert pairs("star") == [("mbs", f"sbs-{i}") for i in range(5)]


@pytest.mark.parametrize("branching", [1, 2, 3, 5])
def test_tree_is_a_tree_that_respects_its_branching(branching):
    graph = nx.Graph(pairs("tree", branching=branching))
    assert nx.is_tree(graph) and set(graph) == set(LINE)
    children = {name: degree - (name != "mbs") for name, degree in graph.degree}
    assert max(children.values()) <= branching


def test_tree_of_one_branch_is_a_chain_outwards():
    assert pairs("tree", branching=1) == [("mbs", "sbs-0")] + [(f"sbs-{i}", f"sbs-{i + 1}") for i in range(4)]


def test_tree_prefers_the_nearest_parent():
    places = {"mbs": (0, 0, 0), "east": (10, 0, 0), "west": (-11, 0, 0), "far-west": (-20, 0, 0)}
    assert pairs("tree", places, branching=2) == [("mbs", "east"), ("mbs", "west"), ("west", "far-west")]


def test_mesh_links_each_station_to_its_nearest_ones():
    star = pairs("star")
    assert pairs("mesh", neighbours=1)[:5] == star
    # on a line the first of two equally near stations is chosen
    assert pairs("mesh", neighbours=1)[5:] == [
        ("sbs-0", "sbs-1"),
        ("sbs-1", "sbs-2"),
        ("sbs-2", "sbs-3"),
        ("sbs-3", "sbs-4"),
    ]
    assert pairs("mesh") == pairs("mesh", neighbours=2)
    assert len(pairs("mesh", neighbours=4)) == 5 + math.comb(5, 2)


def test_mesh_links_all_stations_within_range():
    mesh = [pair for pair in pairs("mesh", range_m=20.0) if "mbs" not in pair]
    assert mesh == [(f"sbs-{i}", f"sbs-{j}") for i in range(5) for j in range(i + 1, 5) if j - i <= 2]


def test_mesh_takes_one_rule_only():
    with pytest.raises(ValueError, match="neighbours or range_m, not both"):
        TOPOLOGIES.create("mesh", neighbours=2, range_m=5.0)


def test_edges_set_their_own_capacity_and_latency(small_scenario):
    links = [
        ["mbs", "sbs-0"],
        {"between": ["sbs-0", "sbs-1"], "capacity_bps": 1e6},
        {"between": ["sbs-1", "sbs-2"], "latency_s": 0.25},
    ]
    scenario = small_scenario(
        **{
            "backhaul.topology": {"name": "edges", "links": links},
            "backhaul.capacity_bps": 5e9,
            "backhaul.latency_s": 1e-3,
        }
    )
    network = build_network(scenario)
    assert network.links() == [("mbs", "sbs-0"), ("sbs-0", "sbs-1"), ("sbs-1", "sbs-2")]
    assert [network.capacity_bps(*link) for link in network.links()] == [5e9, 1e6, 5e9]
    assert [network.latency_s(b, a) for a, b in network.links()] == [1e-3, 1e-3, 0.25]
    assert network.path("sbs-2", "mbs") == ("sbs-2", "sbs-1", "sbs-0", "mbs")


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ([["mbs", "sbs-9"]], r"link 0 \[mbs, sbs-9\] names no station 'sbs-9'; there are mbs, sbs-0"),
        ([["mbs", "user-0"]], r"names no station 'user-0'"),
        ([["mbs", "sbs-0"], ["sbs-1", "sbs-1"]], r"link 1 \[sbs-1, sbs-1\] leads from a station to itself"),
        ([["mbs", "sbs-0"], ["sbs-0", "mbs"]], r"link 1 \[sbs-0, mbs\] repeats link 0"),
        ([["mbs", "sbs-0"], ["sbs-1", "sbs-2"]], r"no path of links from mbs to sbs-1, sbs-2"),
    ],
)
def test_edges_that_make_no_network_are_refused_by_name(small_scenario, links, message):
    scenario = small_scenario(**{"backhaul.topology": {"name": "edges", "links": links}})
    with pytest.raises(ScenarioError, match=f"^backhaul.topology: .*{message}") as caught:
        build_network(scenario)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "links", [[], [["mbs"]], [["mbs", "sbs-0", "sbs-1"]], [{"between": ["mbs", "sbs-0"], "latency_s": -1}], "star"]
)
def test_edges_that_are_no_links_are_refused(links):
    with pytest.raises(ValueError, match="links"):
        TOPOLOGIES.create("edges", links=links)


def attached(name, places, existing, **options):
    links = TOPOLOGIES.create(name, **options).attach("mbs", places, existing, "new")
    assert all(link.b == "new" for link in links)
    return [link.a for link in links]


def test_a_newcomer_to_a_star_links_to_the_mbs():
    assert attached("star", LINE | {"new": (55.0, 0, 25)}, pairs("star")) == ["mbs"]


def test_a_newcomer_to_a_tree_links_to_the_nearest_station_with_room():
    chain = pairs("tree", branching=1)
    assert attached("tree", LINE | {"new": (1.0, 0, 25)}, chain, branching=1) == ["sbs-4"], "only the end has room"
    assert attached("tree", LINE | {"new": (21.0, 0, 25)}, chain, branching=2) == ["sbs-1"]
    full = [*chain, ("sbs-1", "gone")]
    assert attached("tree", LINE | {"new": (21.0, 0, 25)}, full, branching=2) == ["sbs-2"], "its switch takes a slot"
    places = {"mbs": LINE["mbs"], "sbs-0": LINE["sbs-0"], "new": (9.0, 0, 25)}
    assert attached("tree", places, chain, branching=1) == ["sbs-0"], "the end of the chain has left"


def test_a_newcomer_to_a_mesh_chooses_as_the_others_did():
    places = LINE | {"new": (24.0, 0, 25)}
    assert attached("mesh", places, pairs("mesh")) == ["mbs", "sbs-1", "sbs-2"]
    assert attached("mesh", places, pairs("mesh"), range_m=16.5) == ["mbs", "sbs-0", "sbs-1", "sbs-2", "sbs-3"]
    assert attached("mesh", places, pairs("mesh"), range_m=1.0) == ["mbs"]


def test_a_newcomer_to_given_links_links_to_the_nearest_station():
    links = [["mbs", "sbs-0"]]
    assert attached("edges", LINE | {"new": (24.0, 0, 25)}, [("mbs", "sbs-0")], links=links) == ["sbs-1"]
    assert attached("edges", LINE | {"new": (-9.0, 0, 25)}, [("mbs", "sbs-0")], links=links) == ["mbs"]


@pytest.mark.parametrize("name", [name for name in TOPOLOGIES.names() if name != "edges"])
def test_a_newcomer_links_to_no_station_that_left_or_is_cut_off(small_scenario, name):
    scenario = small_scenario(**{"backhaul.topology": name})
    network = without(build_network(scenario), "sbs-2")
    for a, b in [link for link in network.links() if "sbs-1" in link]:
        network = with_link_cut(network, a, b)
    network, new = with_joining(scenario, network, None, (74, 26), learns=True)
    assert not network.graph.has_edge(new, "sbs-1") and not network.graph.has_edge(new, "sbs-2")
    assert network.reaches(new, "mbs") and network.capacity_bps(new, next(iter(network.graph[new]))) == 10e9
