"""Any sequence of changes leaves a network that holds together, against networkx's own view of the graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from cellfree_sim.errors import UserError
from cellfree_sim.network import Network, build_network
from cellfree_sim.network import changes as change
from cellfree_sim.scenario import Scenario

TOPOLOGIES: list[Any] = ["star", "mesh", {"name": "tree", "branching": 1}]
NAMES = st.sampled_from(["mbs", "sbs-0", "sbs-1", "sbs-2", "sbs-3", "nobody"])
PLACE = st.tuples(st.integers(-1, 4), st.integers(-1, 4)).map(lambda place: [25.0 * place[0], 25.0 * place[1]])
PAIR = st.tuples(NAMES, NAMES)
EVENTS = st.lists(
    st.one_of(
        st.builds(lambda place: {"inject_sbs": {"position_m": place}}, PLACE),
        st.builds(lambda name: {"remove_sbs": name}, NAMES),
        st.builds(lambda name: {"fail_sbs": name}, NAMES),
        st.builds(lambda pair: {"cut_link": pair}, PAIR),
        st.builds(lambda pair: {"slow_link": {"between": pair, "latency_s": 0.5}}, PAIR),
        st.builds(lambda pair: {"restore_link": pair}, PAIR),
    ),
    max_size=12,
)


def check_whole(network: Network) -> None:
    up = nx.Graph()
    up.add_nodes_from([network.mbs, *network.sites])
    up.add_edges_from(edge for edge in network.graph.edges if network.graph.edges[edge]["up"])
    reached = nx.node_connected_component(up, network.mbs)
    assert network.stations and set(network.stations) <= set(network.members) <= set(network.sites)
    for name in network.sites:
        status = network.status(name)
        assert status in ("active", "isolated", "removed")
        assert status == "removed" or (status == "active") == (name in reached)
        assert (name in network.stations) == (status == "active")
    for a, b in itertools.permutations([network.mbs, *network.sites], 2):
        assert network.reaches(a, b) == nx.has_path(up, a, b)
        if network.reaches(a, b):
            assert len(network.path(a, b)) == len(nx.shortest_path(up, a, b))
    assert Network.from_json(network.to_json()).to_json() == network.to_json()


def attempt(change: Callable[[], Network]) -> tuple[Network | None, str]:
    """What `change` gives, and the text of its refusal."""
    try:
        return change(), ""
    except UserError as error:
        return None, str(error)


@given(topology=st.sampled_from(TOPOLOGIES), events=EVENTS)
def test_any_sequence_of_events(topology: Any, events: list[dict[str, Any]]) -> None:
    scenario = Scenario.model_validate(
        {
            "channel": {"model": "rayleigh"},
            "backhaul": {"topology": topology},
            "events": [{"at_step": 0, **event} for event in events],
        }
    )
    network = build_network(scenario)
    refused = 0
    for event in scenario.events:
        before, stations = network.to_json(), list(network.sites)
        changed, refusal = attempt(partial(change.with_event, scenario, network, event))
        assert "\n" not in refusal
        changed, refused = changed or network, refused + bool(refusal)
        assert network.to_json() == before
        assert changed.sites[: len(stations)] == stations, "a station keeps its place in the stack"
        check_whole(changed)
        network = changed
    if not refused:
        change.check_events(scenario, build_network(scenario))
