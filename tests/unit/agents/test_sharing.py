"""Stations that share one policy while things happen to them: the same, bit for bit, as if nothing had happened."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import Simulation
from cellfree_sim.errors import UserError
from cellfree_sim.export import export_policy
from cellfree_sim.results.observer import Quiet

SHARING = {"downlink.sharing": {"every_steps": 5}}  # averages after steps 5, 10 and 12, the last
DUE = (5, 12)


def watch_closes(simulation: Simulation, act: Callable[[Any], None]) -> None:
    """Call `act` with each round that the MBS has closed, before the stations hear of it."""
    coordinator: Any = simulation._engine.coordinator  # type: ignore[attr-defined]
    close = coordinator.close

    def closed(exchange: Any, uploads: Any) -> Any:
        answers = close(exchange, uploads)
        act(exchange)
        return answers

    coordinator.close = closed


def policies(played: Any) -> dict[str, dict[str, Any]]:
    return {name: played.state(name)["policy"] for name in played.packed if name != "mbs"}


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("station", "barrier", "phase", "step"),
    [
        ("sbs-1", "after", "training", 12),  # with the average still to come
        ("sbs-1", "before", "training", 5),  # before its part of the average
        ("mbs", "during", "training", 12),  # with all parts of it
        ("sbs-0", "during", "training", 5),
        ("mbs", "after", "sharing", 5),  # before anybody has it
        ("sbs-2", "after", "sharing", 12),
    ],
)
def test_a_death_around_an_average_changes_nothing(
    tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any, station: str, barrier: Any, phase: str, step: int
) -> None:
    undisturbed = play(tiny(**SHARING), "undisturbed")
    simulation = launch(tiny(**SHARING), "disturbed")
    left = [step]

    def fail(exchange: Any) -> None:
        if left and exchange == (phase, left[0]):
            simulation._engine.fail(station, barrier)
            left.clear()

    watch_closes(simulation, fail)
    disturbed = finish(simulation)
    assert not left and [event["event"] for event in disturbed.summary["events"]] == ["restart"]
    assert_equal(disturbed, undisturbed)


@pytest.mark.parametrize("step", [3, *DUE])
def test_no_interruption_comes_between_a_step_and_its_average(
    tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any, tmp_path: Path, step: int
) -> None:
    undisturbed = play(tiny(**SHARING), "undisturbed")
    simulation = launch(tiny(**SHARING), "interrupted")

    def interrupt(exchange: Any) -> None:
        if exchange == ("training", step):
            signal.raise_signal(signal.SIGINT)

    watch_closes(simulation, interrupt)
    with pytest.raises(KeyboardInterrupt), simulation:
        simulation.advance()
    assert simulation.step == step
    resumed = Simulation.resume(tmp_path / "interrupted", observer=Quiet())
    if step == simulation.scenario.steps:
        with resumed:
            result = resumed.result()
        np.testing.assert_array_equal(result.rates.rate, undisturbed.rates.rate)
    else:
        assert_equal(finish(resumed), undisturbed)


def test_a_station_that_executes_follows_the_average_and_adds_nothing_to_it(tiny: Any, play: Any) -> None:
    """It joins after step 6: at the next average it gets what the other three have learned, as if it were not there.

    The others learn in another network from then on, so that their average is taken from what they sent.
    """
    event = {"at_step": 6, "inject_sbs": {"position_m": [75, 75], "transfer": "nearest", "after": "execute"}}
    played = play(tiny(event, **SHARING))
    models = policies(played)
    assert set(models) == {"sbs-0", "sbs-1", "sbs-2", "sbs-3"}
    assert all(equal(models["sbs-0"], other) for other in models.values())
    frames = played.frames[(played.frames.kind == "model_transfer") & (played.frames.phase == "sharing")]
    sent = {(row.step, row.sender, row.receiver) for row in frames.itertuples()}
    assert {(step, to) for step, sender, to in sent if sender == "mbs"} >= {(10, "sbs-3"), (12, "sbs-3")}
    assert not [1 for _, sender, _ in sent if sender == "sbs-3"]
    assert played.summary["backhaul"]["balanced"]


def test_a_station_that_trains_joins_the_average(tiny: Any, play: Any) -> None:
    events = [{"at_step": 6, "inject_sbs": {"position_m": [75, 75]}}, {"at_step": 11, "remove_sbs": "sbs-0"}]
    played = play(tiny(*events, **SHARING))
    models = policies(played)
    assert set(models) == {"sbs-1", "sbs-2", "sbs-3"}
    assert all(equal(models["sbs-1"], other) for other in models.values())
    frames = played.frames[played.frames.phase == "sharing"]
    senders = frames[frames.receiver == "mbs"].groupby("step").sender.apply(sorted).to_dict()
    assert senders == {
        5: ["sbs-0", "sbs-1", "sbs-2"],
        10: ["sbs-0", "sbs-1", "sbs-2", "sbs-3"],
        12: ["sbs-1", "sbs-2", "sbs-3"],
    }


def test_a_station_that_was_cut_off_takes_part_again(tiny: Any, play: Any) -> None:
    links = [["mbs", "sbs-0"], ["sbs-0", "sbs-1"], ["sbs-1", "sbs-2"]]
    cut = [{"at_step": 4, "cut_link": ["sbs-1", "sbs-2"]}, {"at_step": 7, "restore_link": ["sbs-1", "sbs-2"]}]
    played = play(tiny(*cut, **SHARING, **{"backhaul.topology": {"name": "edges", "links": links}}))
    models = policies(played)
    assert all(equal(models["sbs-0"], other) for other in models.values())
    up = played.frames[(played.frames.phase == "sharing") & (played.frames.receiver == "mbs")]
    assert up.groupby("step").size().to_dict() == {5: 2, 10: 3, 12: 3}
    assert played.summary["backhaul"]["balanced"]


LINE = {"backhaul.topology": {"name": "edges", "links": [["mbs", "sbs-0"], ["sbs-0", "sbs-1"], ["sbs-1", "sbs-2"]]}}
CUT = {"at_step": 4, "cut_link": ["sbs-1", "sbs-2"]}


def test_what_came_back_after_the_last_average_is_not_mixed_into_an_export(
    tiny: Any, launch: Any, finish: Any, tmp_path: Path
) -> None:
    late = {"at_step": 12, "restore_link": ["sbs-1", "sbs-2"]}
    finish(launch(tiny(CUT, late, **SHARING, **LINE), "late"))
    with pytest.raises(UserError, match=r"late: the models of sbs-0 and sbs-2 differ, as [^\n]*$"):
        export_policy(tmp_path / "late")
    played = finish(launch(tiny(CUT, **SHARING, **LINE), "cut"))
    exported = export_policy(tmp_path / "cut").networks["all"]
    models = policies(played)
    assert equal(exported, models["sbs-0"]) and equal(exported, models["sbs-1"])
    assert not equal(exported, models["sbs-2"])


def test_between_two_averages_the_mean_is_exported(tiny: Any, launch: Any, tmp_path: Path) -> None:
    with launch(tiny(**SHARING)) as simulation:
        simulation.advance(7)
        states = [station.state()["policy"] for station in simulation._engine.stations.values()]
    exported = export_policy(tmp_path / "run")
    assert exported.steps == 7 and exported.validation_sum_rate is None  # the last one was at step 5
    for key, array in exported.networks["all"].items():
        np.testing.assert_allclose(array, np.mean([state[key].numpy() for state in states], axis=0), rtol=1e-6)


def test_where_nobody_learns_any_more_the_roster_has_the_model(
    tiny: Any, launch: Any, finish: Any, tmp_path: Path
) -> None:
    join = {"at_step": 6, "inject_sbs": {"position_m": [75, 75], "after": "execute"}}
    gone = [{"at_step": 7 + index, "remove_sbs": f"sbs-{index}"} for index in range(3)]
    played = finish(launch(tiny(join, *gone, **SHARING)))
    assert equal(export_policy(tmp_path / "run").networks["all"], policies(played)["sbs-3"])


def test_a_cut_off_station_is_not_exported(tiny: Any, launch: Any, finish: Any, tmp_path: Path) -> None:
    finish(launch(tiny(CUT, **LINE)))
    exported = export_policy(tmp_path / "run")
    assert list(exported.networks) == ["sbs-0", "sbs-1"] and exported.sizes["stations"] == 2


def test_a_model_too_long_to_be_shared_is_refused_before_anything_is_learned(
    tiny: Any, launch: Any, tmp_path: Path
) -> None:
    long = {"downlink.policy": {"name": "dense", "hidden": [200, 200]}, "backhaul.max_frame_bytes": 65_536}
    with pytest.raises(UserError, match=r"^downlink.sharing: sbs-0: [^\n]* takes [^\n]* backhaul.max_frame_bytes"):
        launch(tiny(**SHARING, **long))
    assert not (tmp_path / "run").exists()
