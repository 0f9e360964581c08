"""One policy for all stations: averages against NumPy, frames against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cellfree_sim.backhaul.ledger import Books
from cellfree_sim.downlink.sharing import average, parts_of
from cellfree_sim.errors import RunFailedError
from cellfree_sim.inline import InlineEngine
from cellfree_sim.scenario.schema import Scenario

Make = Callable[..., Scenario]
DENSE = {"downlink.policy": {"name": "dense", "hidden": [8, 6]}, "downlink.loss_scheme": "nfl-tangent"}
SET = {"downlink.policy": {"name": "set", "width": 8, "layers": 1}}


def trained(scenario: Scenario, steps: int) -> InlineEngine:
    engine = InlineEngine(scenario)
    engine.start(lambda *_: None)
    if steps:
        engine.advance(steps, lambda _: None)
    return engine


def models(engine: InlineEngine) -> dict[str, dict[str, Any]]:
    return {
        name: {key: value.numpy().copy() for key, value in station.state()["policy"].items()}
        for name, station in engine.stations.items()
    }


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("settings", [DENSE, SET], ids=["dense", "set"])
def test_the_average_is_the_mean_of_what_stations_learn_alone(small_scenario: Make, settings: dict[str, Any]) -> None:
    """Three steps without an average, then the mean by hand; batch statistics with it, moments of Adam without."""
    apart = trained(small_scenario(**settings, **{"downlink.sharing": {"every_steps": 100}}), 3)
    together = trained(small_scenario(**settings, **{"downlink.sharing": {"every_steps": 3}}), 3)
    alone, shared = models(apart), models(together)
    names = list(alone)
    assert not equal(alone[names[0]], alone[names[1]])
    for key in alone[names[0]]:
        stack = np.stack([alone[name][key] for name in names])
        by_hand = stack.astype(np.float64).mean(0).astype(stack.dtype)
        for name in names:
            np.testing.assert_array_equal(shared[name][key], by_hand)
    assert any(key.endswith("running_var") for key in shared[names[0]]) == (settings is DENSE)
    for name in names:
        one, other = (engine.stations[name].state()["optimiser"]["state"] for engine in (apart, together))
        assert all(np.array_equal(one[i]["exp_avg"], other[i]["exp_avg"]) for i in one)


def test_all_start_alike_and_end_alike(small_scenario: Make) -> None:
    """Twenty steps: averages after 7, 14, and the last; between them the models differ."""
    scenario = small_scenario(**SET, **{"downlink.sharing": {"every_steps": 7}})
    engine = trained(scenario, 0)
    for until, alike in ((0, True), (6, False), (7, True), (8, False), (14, True), (19, False), (20, True)):
        if until:
            assert engine.advance(until, lambda _: None) == until
        first, *others = models(engine).values()
        assert all(equal(first, other) for other in others) == alike
    phases = [row["phase"] for row in engine.coordinator.drain_metrics()]
    assert "sharing" not in phases
    own = models(trained(small_scenario(**SET), 0))
    assert not equal(own["sbs-0"], own["sbs-1"])


def test_models_cross_the_backhaul(small_scenario: Make) -> None:
    """Every model goes up and comes down in each of the three averages, as long as its parameters and its names take;
    the books balance, and the simulated clock shows the time.
    """
    books, clocks = [], []
    for sharing in (None, {"every_steps": 7}):
        settings = {"downlink.sharing": sharing, "backhaul.precision": "float16", "backhaul.capacity_bps": 1e9}
        engine = trained(small_scenario(**SET, **settings), 20)
        book = Books()
        for ledger in engine.drain_ledgers():
            book.feed(ledger)
        books.append(book)
        clocks.append(engine.coordinator.now_s)
        state = engine.stations["sbs-0"].state()["policy"]
    plain, shared = books
    assert shared.balanced
    assert "sharing" not in plain.by_phase
    assert shared.by_phase["sharing"] == shared.by_kind["model_transfer"]
    assert {k: v for k, v in shared.by_phase.items() if k != "sharing"} == plain.by_phase
    numbers = sum(tensor.numel() for tensor in state.values())
    overhead = sum(len(name) + 40 for name in state) + 200
    assert 4 * numbers < shared.by_phase["sharing"] / (3 * 3 * 2) < 4 * numbers + overhead
    wire_s = shared.by_phase["sharing"] / 3 * 8 / 1e9  # the links of a star work side by side
    latency_s = 3 * 2 * 0.5e-3
    assert clocks[1] - clocks[0] == pytest.approx(wire_s + latency_s, rel=0.05)


def test_the_time_of_an_average_is_in_the_row_of_the_next_step(small_scenario: Make) -> None:
    rows = {}
    for every in (100, 4):
        engine = trained(small_scenario(**SET, **{"downlink.sharing": {"every_steps": every}}), 0)
        found: list[dict[str, Any]] = []
        engine.advance(6, found.extend)
        rows[every] = {row["step"]: row for row in found if row["phase"] == "training"}
    parts = ("compute_s", "queue_s", "transfer_s")
    for every in rows:
        for step in range(2, 7):
            passed_s = rows[every][step]["simulated_s"] - rows[every][step - 1]["simulated_s"]
            assert sum(rows[every][step][part] for part in parts) == pytest.approx(passed_s)
    told = {"wall_s": 0, "activity": None}  # no part of what is recorded
    assert rows[4][4] | told == rows[100][4] | told
    assert rows[4][5]["transfer_s"] > 1.5 * rows[100][5]["transfer_s"]


def test_a_model_goes_in_as_many_frames_as_their_limit_asks_for(small_scenario: Make) -> None:
    settings = {**DENSE, "downlink.policy": {"name": "dense", "hidden": [60, 60]}, "downlink.batch": 2}
    settings["downlink.sharing"] = {"every_steps": 3}
    limit = 4 * 60 * 160 + 3000
    one, other = (
        trained(small_scenario(**settings, **{"backhaul.max_frame_bytes": size}), 3) for size in (2**28, limit)
    )
    assert all(equal(a, b) for a, b in zip(models(one).values(), models(other).values(), strict=True))
    frames = []
    for engine in (one, other):
        book = Books()
        for ledger in engine.drain_ledgers():
            book.feed(ledger)
        assert book.balanced
        frames.append(book.frames)
    assert frames[1] > frames[0]


def test_parts_hold_all_and_keep_their_size() -> None:
    model = {f"a{i}": np.full(size, i, np.float32) for i, size in enumerate((3, 50, 1, 60, 60))}
    parts = list(parts_of(model, 4 * 60 + 2 + 64, "sbs-0", 500))
    assert [list(part) for part in parts] == [["a0"], ["a1"], ["a2"], ["a3"], ["a4"]]
    assert [list(part) for part in parts_of(model, 10_000, "sbs-0", 12_000)] == [list(model)]
    with pytest.raises(RunFailedError, match=r"^sbs-0: a3 of the policy takes 306 bytes, more than a frame of [^\n]*$"):
        list(parts_of(model, 305, "sbs-0", 500))


def test_means_keep_types_and_values() -> None:
    one = {"w": np.float32([1e8, 3]), "n": np.array(7), "e": np.zeros((0, 2), np.float32)}
    other = {"w": np.float32([1, 4]), "n": np.array(7), "e": np.zeros((0, 2), np.float32)}
    mean = average([one, other])
    np.testing.assert_array_equal(mean["w"], np.float32([50_000_000.5, 3.5]))
    assert mean["n"] == 7 and {key: array.dtype for key, array in mean.items()} == {k: a.dtype for k, a in one.items()}
    assert equal(average([one, one, one]), one)
