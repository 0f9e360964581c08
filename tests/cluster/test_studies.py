"""Points of a sweep as Ray tasks: the same numbers as in one process; a point whose process dies is a row."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cellfree_sim.errors import ResourceShortError
from cellfree_sim.results import RunFolder
from cellfree_sim.scenario import Point, expand, read_scenario
from cellfree_sim.studies.runner import run_tasks, tasks_of

TINY = """\
network: {sbs: {count: 2, antennas: {rows: 1, columns: 2}}, users: {count: 3}}
radio: {subcarriers: 2, noise_dbm: -60}
channel: {model: rayleigh, realisations: {train: 20, validation: 4, test: 12}, cache: false}
downlink: {epochs: 2, batch: 10, policy: {name: set, width: 8, layers: 1}, references: [gsa-zf]}
sweep: {cases: {nfl: {downlink.loss_scheme: nfl}, ours: {}}, seeds: [1, 2]}
"""


@pytest.fixture
def points(tmp_path: Path) -> list[Point]:
    """Four points."""
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return expand(read_scenario(file))


def test_points_side_by_side_give_what_they_give_alone(cluster: Any, points: list[Point], tmp_path: Path) -> None:
    together, alone = (tasks_of(points, tmp_path / name) for name in ("together", "alone"))
    told = []
    assert [outcome.status for outcome in run_tasks(together, tell=told.append)] == ["done"] * 4
    assert sorted(progress.done for progress in told) == [1, 2, 3, 4]
    assert [run_tasks([task])[0].status for task in alone] == ["done"] * 4
    for one, other in zip(together, alone, strict=True):
        assert RunFolder(one.folder).rates().equals(RunFolder(other.folder).rates())
    assert not list((tmp_path / "together").glob(".mark-*"))


def test_points_that_no_node_can_hold_are_refused(cluster: Any, points: list[Point], tmp_path: Path) -> None:
    few = [replace(point, scenario=asking(point.scenario, cpus=1000.0)) for point in points]
    with pytest.raises(
        ResourceShortError, match=r"point nfl, seed 1: no node has what it asks for .*CPUs 1000, GPUs 0"
    ):
        run_tasks(tasks_of(few, tmp_path / "large"))
    assert not list((tmp_path / "large").iterdir())


def asking(scenario: Any, **share: float) -> Any:
    """The scenario with more for each small base station."""
    placement = scenario.placement
    more = placement.model_copy(update={"sbs": placement.sbs.model_copy(update=share)})
    return scenario.model_copy(update={"placement": more})


def die_once(scenario: Any) -> list[dict[str, Any]]:
    """An evaluation that takes its process along."""
    os._exit(1)


def test_a_point_whose_process_dies_is_a_row_with_its_reason(cluster: Any, points: list[Point], tmp_path: Path) -> None:
    from cellfree_sim.studies.runner import _run_on_cluster

    ended = {}
    tasks = tasks_of(points[:1], tmp_path / "dead", die_once)
    _run_on_cluster(tasks, None, lambda task, outcome: ended.update({task.point.label: outcome}))
    (outcome,) = ended.values()
    assert outcome.status == "failed" and outcome.reason.startswith("its process failed")
