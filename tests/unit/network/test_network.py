"""The network graph made from a scenario."""

from __future__ import annotations

import itertools
import json
import math

import networkx as nx
import numpy as np
import pytest

from cellfree_sim.errors import UserError
from cellfree_sim.network import build_network, draw_users
from cellfree_sim.scenario.extensions import TOPOLOGIES


def test_nodes_carry_what_the_scenario_says(small_scenario):
    scenario = small_scenario(
        **{
            "network.mbs": {"position_m": [10, 20], "height_m": 30, "mec_flop_per_s": 5e12},
            "network.sbs": {
                "positions_m": [[1, 2], [3, 4]],
                "names": ["north", "south"],
                "height_m": 9,
                "power_dbm": 33,
            },
            "network.users.antennas": 3,
        }
    )
    network = build_network(scenario)
    assert network.mbs == "mbs" and network.stations == ["north", "south"] == scenario.station_names
    assert network.position("mbs") == (10, 20, 30) and network.position("south") == (3, 4, 9)
    assert network.graph.nodes["mbs"]["mec_flop_per_s"] == 5e12 and "power_dbm" not in network.graph.nodes["mbs"]
    south = network.graph.nodes["south"]
    assert (south["kind"], south["antennas"], south["power_dbm"], south["mec_flop_per_s"]) == ("sbs", 4, 33, 1e11)
    assert network.graph.nodes["user-3"]["antennas"] == 3 and network.graph.degree("user-3") == 0
    assert network.distance_m("mbs", "south") == pytest.approx(math.sqrt(7**2 + 16**2 + 21**2))


def test_defaults_are_a_grid_and_a_star_around_the_centre(small_scenario):
    network = build_network(small_scenario())
    assert network.position("mbs") == (50, 50, 25)
    assert [network.position(name)[:2] for name in network.stations] == [(25, 25), (75, 25), (25, 75)]
    assert network.links() == [("mbs", "sbs-0"), ("mbs", "sbs-1"), ("mbs", "sbs-2")]
    assert network.path("sbs-2", "sbs-0") == ("sbs-2", "mbs", "sbs-0") and network.path("mbs", "mbs") == ("mbs",)


def test_users_stand_where_the_first_test_realisation_has_them(small_scenario):
    scenario = small_scenario()
    network = build_network(scenario)
    places = [network.position(f"user-{index}") for index in range(4)]
    assert np.array_equal(places, draw_users(scenario, "test").positions_m[0])


def test_a_network_repeats_itself_and_random_stations_follow_the_seed(small_scenario):
    one, same, other = (
        build_network(small_scenario(seed=seed, **{"network.sbs.layout": "random"})).to_json() for seed in (3, 3, 4)
    )
    assert one == same and one != other


def test_json_reads_back_as_the_same_graph(small_scenario):
    network = build_network(small_scenario(**{"backhaul.topology": "mesh"}))
    data = json.loads(json.dumps(network.to_json()))
    assert nx.utils.graphs_equal(nx.node_link_graph(data, edges="links"), network.graph)


def test_the_nearest_station_is_found_on_the_ground_or_in_space(small_scenario):
    network = build_network(small_scenario())
    assert network.nearest_station((70, 30)) == "sbs-1"
    assert network.nearest_station((70, 30), exclude=["sbs-1"]) == "sbs-0"
    assert network.nearest_station((50, 50, 1.5)) == "sbs-0", "the first of equals"
    with pytest.raises(UserError, match="no small base station is left"):
        network.nearest_station((0, 0), exclude=network.stations)


def test_questions_about_unknown_names_get_one_clear_line(small_scenario):
    network = build_network(small_scenario())
    for ask, message in (
        (lambda: network.path("mbs", "nobody"), "there is no station 'nobody'; there are mbs, sbs-0"),
        (lambda: network.path("user-0", "mbs"), "there is no station 'user-0'"),
        (lambda: network.position("nobody"), "there is no station or user 'nobody'"),
        (lambda: network.latency_s("sbs-0", "sbs-1"), "there is no link between 'sbs-0' and 'sbs-1'"),
    ):
        with pytest.raises(UserError, match=message):
            ask()


@pytest.mark.parametrize("name", [name for name in TOPOLOGIES.names() if name != "edges"])
def test_every_topology_reaches_every_station(small_scenario, name):
    network = build_network(small_scenario(**{"backhaul.topology": name, "network.sbs.count": 7}))
    for station in network.stations:
        path = network.path(station, network.mbs)
        assert path[0] == station and path[-1] == "mbs"
        assert all(network.latency_s(a, b) == 0.5e-3 for a, b in itertools.pairwise(path))
