"""Sweeps: which points there are, what overrides what, and where errors point to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cellfree_sim.errors import ScenarioError
from cellfree_sim.scenario import Point, dump_scenario, expand, load_scenario, read_scenario

SWEEP = """\
name: s
seed: 9
downlink: {epochs: 3}
sweep:
  cases:
    dense: {downlink.policy: dense, downlink.epochs: 4}
    set: {}
  grid: {network.sbs.count: [2, 3], radio.subcarriers: [1, 2]}
  seeds: [5, 6]
  quick:
    set: {downlink.epochs: 2, downlink.batch: 50}
    cases: {set: {downlink.learning_rate: 1e-4}}
    grid: {radio.subcarriers: [8]}
    seeds: [7]
"""


def points(tmp_path: Path, text: str = SWEEP, **options: Any) -> list[Point]:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    return expand(read_scenario(file), **options)


def test_every_case_meets_every_combination_with_every_seed_once(tmp_path: Path) -> None:
    found = points(tmp_path)
    seen = [(p.case, p.scenario.network.sbs.count, p.scenario.radio.subcarriers, p.scenario.seed) for p in found]
    wanted = [(c, b, n, s) for c in ("dense", "set") for b in (2, 3) for n in (1, 2) for s in (5, 6)]
    assert seen == wanted
    assert [p.scenario.downlink.epochs for p in found] == [4] * 8 + [3] * 8
    assert {p.scenario.downlink.policy.name for p in found[:8]} == {"dense"}
    assert all(p.scenario.sweep is None for p in found)
    assert found[0].at == {"network.sbs.count": 2, "radio.subcarriers": 1}


def test_the_quick_scale_is_set_before_the_cases_and_added_to_them(tmp_path: Path) -> None:
    found = points(tmp_path, quick=True)
    assert [(p.case, p.scenario.network.sbs.count, p.seed) for p in found] == [
        ("dense", 2, 7), ("dense", 3, 7), ("set", 2, 7), ("set", 3, 7),
    ]  # fmt: skip
    assert [p.scenario.downlink.epochs for p in found] == [4, 4, 2, 2]
    assert [p.scenario.downlink.learning_rate for p in found] == [5e-3, 5e-3, 1e-4, 1e-4]
    assert {p.scenario.downlink.batch for p in found} == {50}
    assert {p.scenario.radio.subcarriers for p in found} == {8}


def test_seeds_and_overrides_from_outside_come_last(tmp_path: Path) -> None:
    found = points(tmp_path, seeds=[1], overrides={"downlink.epochs": 1})
    assert [p.seed for p in found] == [1] * 8
    assert {p.scenario.downlink.epochs for p in found} == {1}


@pytest.mark.parametrize(
    "key", ["network", "network.sbs", "network.sbs.count", "network.sbs.count.x", "seed", "sweep.x"]
)
def test_what_the_sweep_varies_is_not_overridden(tmp_path: Path, key: str) -> None:
    with pytest.raises(ScenarioError, match=f"^--set {key}: "):
        points(tmp_path, overrides={key: 3})
    assert points(tmp_path, overrides={"network.users.count": 3})


def test_a_point_is_the_scenario_that_its_overrides_make(tmp_path: Path) -> None:
    point = points(tmp_path)[0]
    plain = tmp_path / "plain.yaml"
    plain.write_text(SWEEP.partition("sweep:")[0])
    settings = {"downlink.policy": "dense", "downlink.epochs": 4, "network.sbs.count": 2, "radio.subcarriers": 1}
    assert point.scenario == load_scenario(plain, {**settings, "seed": 5})
    assert "sweep: null" in dump_scenario(point.scenario)


def test_a_scenario_without_a_sweep_is_its_only_point(tmp_path: Path) -> None:
    (only,) = points(tmp_path, "seed: 4\n")
    assert (only.case, only.seed, dict(only.at), only.label) == ("", 4, {}, "seed 4")


def test_cases_can_be_left_out_at_quick_scale(tmp_path: Path) -> None:
    found = points(tmp_path, SWEEP.replace("    seeds: [7]", "    leave_out: [dense]"), quick=True)
    assert {p.case for p in found} == {"set"}
    assert [p.seed for p in found] == [5, 6, 5, 6]


def test_a_sweep_survives_being_written_out(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SWEEP)
    scenario = load_scenario(tmp_path / "s.yaml")
    (tmp_path / "t.yaml").write_text(dump_scenario(scenario))
    assert load_scenario(tmp_path / "t.yaml") == scenario


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("[2, 3]", "[2, 3x]", "s.yaml:8:33: network.sbs.count: found '3x'; allowed: a whole number from 1 to 1000"),
        ("policy: dense", "policy: dens", "s.yaml:6:30: downlink.policy: found 'dens'"),
        ("downlink.epochs: 4", "downlink.epoch: 4", "downlink.epoch: unknown key"),
        ("[5, 6]", "[5, 5]", "s.yaml:9:10: sweep.seeds: found [5, 5]; allowed: seeds that differ"),
        ("[5, 6]", "[]", "s.yaml:9:10: sweep.seeds: found a list of 0"),
        ("grid: {radio.sub", "grid: {radio.sup", "s.yaml:13:"),
        ("cases: {set:", "cases: {sat:", "s.yaml:12:18: sweep.quick.cases.sat: found 'sat'; allowed: dense, set"),
        ("[2, 3]", "3", "s.yaml:8:29: sweep.grid.network.sbs.count: found 3; allowed: a list of values, or a mapping"),
        ("[2, 3]", "[2, 2]", "s.yaml:8:33: sweep.grid.network.sbs.count[1]: found 2 twice; allowed: values that"),
        ("{network.sbs.count", "{seed: [1], network.sbs.count", "sweep.grid.seed: found 'seed'; allowed: sweep.seeds"),
        ("set: {}", "set: {engine: ray}", "sweep.cases.set.engine: found 'engine'"),
        ("set: {}", "set: {sweep.seeds: [1]}", "sweep.cases.set.sweep.seeds: found 'sweep'"),
        ("{downlink.epochs: 2,", "{name: x,", "sweep.quick.set.name: found 'name'"),
        ("[2, 3],", "[2, 3], network.sbs: [{count: 1}],", "sweep.grid.network.sbs: is set by 'network.sbs.count'"),
        ("cases:\n    dense", "case:\n    dense", "sweep.case: unknown key"),
    ],
)  # fmt: skip
def test_errors_name_the_place_in_the_file(tmp_path: Path, before: str, after: str, says: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        points(tmp_path, SWEEP.replace(before, after, 1), quick="quick" in says or "s.yaml:13" in says)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_many_points_are_refused_before_any_is_made(tmp_path: Path) -> None:
    text = f"sweep: {{grid: {{network.users.count: {list(range(1, 201))}, downlink.epochs: {list(range(1, 200))}}}}}"
    with pytest.raises(ScenarioError, match=r"sweep: found 39800 points; allowed: 10000"):
        points(tmp_path, text)


def test_values_may_have_names(tmp_path: Path) -> None:
    grid = "grid: {network: {narrow: {area_m: [10, 90]}, wide: {area_m: [500, 90]}}, radio.subcarriers: [1, 2]}"
    text = SWEEP.replace("grid: {network.sbs.count: [2, 3], radio.subcarriers: [1, 2]}", grid)
    found = points(tmp_path, text)
    assert len(found) == 2 * 2 * 2 * 2
    assert {(p.at["network"], p.scenario.network.area_m[0]) for p in found} == {("narrow", 10), ("wide", 500)}
    assert "network narrow, subcarriers 1, seed 5" in found[0].label
    with pytest.raises(ScenarioError, match=r"s.yaml:8:\d+: network.area_m: found \[500.0, -1.0\]"):
        points(tmp_path, text.replace("[500, 90]", "[500, -1]"))
