"""What points take from a cluster, and what is said of a cluster that cannot give it."""

from __future__ import annotations

import pytest

from agents.packing import Node
from cellfree_sim.errors import ResourceShortError
from cellfree_sim.scenario import Point
from cellfree_sim.studies import runner
from cellfree_sim.studies.runner import Demand, check_demand


def node(name: str, cpus: float, gpus: float, *, free: float | None = None, alive: bool = True) -> Node:
    left = cpus if free is None else free
    return Node(id=name, name=name, cpus=cpus, gpus=gpus, free_cpus=left, free_gpus=gpus, alive=alive)


def test_a_point_takes_what_the_largest_station_takes(points: list[Point]) -> None:
    scenario = points[0].scenario
    assert Demand.of(scenario) == Demand(1.0, 0.0)
    share = scenario.placement.mbs.model_copy(update={"cpus": 3.0, "gpus": 0.5})
    placement = scenario.placement.model_copy(update={"mbs": share})
    assert Demand.of(scenario.model_copy(update={"placement": placement})) == Demand(3.0, 0.5)


def test_what_no_node_has_is_refused_and_not_waited_for(points: list[Point]) -> None:
    check_demand(points[0], Demand(2, 1), [node("a", 8, 0), node("b", 2, 1, free=0)])
    apart = [node("a", 8, 0), node("b", 1, 1), node("c", 8, 8, alive=False)]
    with pytest.raises(ResourceShortError, match=r"CPUs 2, GPUs 1; found a: CPUs 8, GPUs 0; b: CPUs 1, GPUs 1$"):
        check_demand(points[0], Demand(2, 1), apart)


def test_a_full_cluster_is_spoken_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(runner, "PATIENCE_S", 0.0)
    runner._wait_for_room([Demand(1, 0)], lambda: [node("a", 4, 0, free=0)], said.append)
    runner._wait_for_room([Demand(1, 0)], lambda: [node("a", 4, 0, free=1)], said.append)
    assert len(said) == 1 and said[0].startswith("waiting for CPUs")
