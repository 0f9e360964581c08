"""Paths of frames against the enumeration of all paths of small random graphs."""

from __future__ import annotations

import itertools

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

from cellfree_sim.network.graph import Network

LATENCIES_S = [0.0, 0.25, 0.5, 1.0]


@st.composite
def networks(draw):
    """Up to six stations: a random tree, and some further links."""
    count = draw(st.integers(2, 6))
    names = ["mbs", *(f"sbs-{index}" for index in range(count - 1))]
    graph = nx.Graph()
    for index, name in enumerate(names):
        graph.add_node(name, kind="sbs" if index else "mbs", x_m=float(index), y_m=0.0, z_m=0.0)
    tree = [(names[draw(st.integers(0, index - 1))], names[index]) for index in range(1, count)]
    further = draw(st.lists(st.sampled_from(list(itertools.combinations(names, 2)))))
    for a, b in [*tree, *further]:
        if not graph.has_edge(a, b):
            graph.add_edge(a, b, latency_s=draw(st.sampled_from(LATENCIES_S)), capacity_bps=1.0)
    return Network(graph)


def best_path(network, a, b):
    """The best of all paths from the station that comes first; sums of these latencies are exact."""
    order = {name: index for index, name in enumerate([network.mbs, *network.stations])}
    if order[a] > order[b]:
        return best_path(network, b, a)[::-1]
    others = [name for name in order if name not in (a, b)]
    found = []
    for length in range(len(others) + 1):
        for middle in itertools.permutations(others, length):
            path = (a, *middle, b)
            hops = list(itertools.pairwise(path))
            if all(network.graph.has_edge(*hop) for hop in hops):
                latency = sum(network.graph.edges[hop]["latency_s"] for hop in hops)
                found.append((len(hops), latency, [order[name] for name in path], path))
    return min(found)[-1]


@settings(max_examples=60, deadline=None)
@given(networks())
def test_paths_are_the_best_of_all_paths(network):
    names = [network.mbs, *network.stations]
    for a, b in itertools.permutations(names, 2):
        assert network.path(a, b) == best_path(network, a, b)
        assert network.path(b, a) == network.path(a, b)[::-1]


@settings(max_examples=30, deadline=None)
@given(networks())
def test_links_are_each_edge_once_in_stacking_order(network):
    order = {name: index for index, name in enumerate([network.mbs, *network.stations])}
    links = network.links()
    assert {frozenset(link) for link in links} == {frozenset(edge) for edge in network.graph.edges}
    assert len(links) == network.graph.number_of_edges()
    assert links == sorted(links, key=lambda link: (order[link[0]], order[link[1]]))
    assert all(order[a] < order[b] for a, b in links)
