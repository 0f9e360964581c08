"""Runs of a tiny network whose events happen within a few rounds, on the inline engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from agents import Simulation
from cellfree_sim.results.checkpoints import Checkpoints
from cellfree_sim.results.observer import Quiet
from cellfree_sim.results.state import unpack_state
from cellfree_sim.scenario.schema import Scenario


class Played(NamedTuple):
    """A run that went to its end: its tables, and the states of all stations as they were saved last."""

    summary: dict[str, Any]
    metrics: pd.DataFrame
    frames: pd.DataFrame
    rates: pd.DataFrame
    packed: dict[str, bytes]
    log: str

    def state(self, station: str) -> dict[str, Any]:
        """What a station knew at the end."""
        state: dict[str, Any] = unpack_state(self.packed[station])
        return state

    def training(self) -> pd.DataFrame:
        """Metrics of the training rounds, by step."""
        return self.metrics[self.metrics.phase == "training"].set_index("step")


PLAYED: dict[str, Played] = {}


@pytest.fixture
def tiny(small_scenario: Callable[..., Scenario]) -> Callable[..., Scenario]:
    """Factory of scenarios of 12 steps with 3 stations in a mesh; positional arguments are its events."""

    def make(*events: dict[str, Any], **settings: Any) -> Scenario:
        return small_scenario(
            **{
                "network.users": {"count": 3},
                "channel.realisations": {"train": 12, "validation": 4, "test": 4},
                "backhaul.topology": "mesh",
                "downlink.epochs": 4,
                "downlink.batch": 4,
                "downlink.validate_every_steps": 5,
                "downlink.references": [],
                "downlink.policy": {"name": "dense", "hidden": [8, 6]},
                "downlink.loss_scheme": "nfl-tangent",
                "checkpoint_every_steps": 4,
                "events": list(events),
                **settings,
            }
        )

    return make


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Simulation]:
    """Launch a scenario in a folder of its own; without the report's figures, which take longer than the run."""
    monkeypatch.setattr("cellfree_sim.results.report.build_report", lambda folder: None)

    def start(scenario: Scenario, name: str = "run") -> Simulation:
        return Simulation.launch(scenario, engine="inline", out=tmp_path / name, observer=Quiet())

    return start


@pytest.fixture
def finish() -> Callable[[Simulation], Played]:
    """Train to the end, measure, close."""

    def end(simulation: Simulation) -> Played:
        with simulation:
            simulation.advance()
            result = simulation.result()
        saved = Checkpoints(result.folder / "checkpoints").latest()
        assert saved is not None
        tables = (result.metrics, result.backhaul, result.rates)
        return Played(result.summary, *tables, saved.parts, (result.folder / "run.log").read_text())

    return end


@pytest.fixture
def play(launch: Callable[..., Simulation], finish: Callable[[Simulation], Played]) -> Callable[..., Played]:
    """Launch a scenario and go to its end; once for each scenario of all these tests, since equal ones end alike."""

    def run(scenario: Scenario, name: str = "run") -> Played:
        key = scenario.model_dump_json()
        if key not in PLAYED:
            PLAYED[key] = finish(launch(scenario, name))
        return PLAYED[key]

    return run


@pytest.fixture
def assert_equal() -> Callable[[Played, Played], None]:
    """Equal parameters, optimisers, clocks, metrics, rates, frames, books and events: bit for bit.

    Wall times, restarts and refusals, and what was sent again because of them, are left out.
    """

    def check(left: Played, right: Played) -> None:
        assert left.packed.keys() == right.packed.keys()
        for name in left.packed:
            assert left.packed[name] == right.packed[name], name
        for table, order in (("metrics", []), ("rates", []), ("frames", ["sender", "sequence", "attempt"])):
            one, other = (getattr(played, table).drop(columns="wall_s", errors="ignore") for played in (left, right))
            if order:
                one, other = (each.sort_values(order, ignore_index=True) for each in (one, other))
            pd.testing.assert_frame_equal(one, other, check_exact=True)
        assert _lasting(left.summary["events"]) == _lasting(right.summary["events"])
        assert _timeless(left.summary) == _timeless(right.summary)
        books = [played.summary["backhaul"] | {"retransmissions": None} for played in (left, right)]
        assert books[0] == books[1]
        assert books[0]["balanced"] is True

    return check


def _lasting(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] != "restart" and "refused" not in event]


def _timeless(summary: dict[str, Any]) -> list[dict[str, Any]]:
    injections = summary.get("downlink", {}).get("injection", [])
    return [{key: value for key, value in each.items() if key != "seconds"} for each in injections]
