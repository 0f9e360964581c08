"""kill -9 in the middle of a distributed run: the result equals that of the undisturbed run in one process."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import finish

from agents import Simulation
from cellfree_sim.engine import CONTROLLER
from cellfree_sim.results.observer import Quiet

STEPS = 120


class Killer(Quiet):
    """Kills a station's process when it hears of a step; where the stations are by then, nobody knows."""

    def __init__(self, station: str, steps: list[int]) -> None:
        self.station = station
        self.steps = steps
        self.simulation: Simulation | None = None

    def round(self, metrics: Any) -> None:
        if self.simulation and self.steps and metrics["step"] >= self.steps[0] and metrics["phase"] == "training":
            self.steps.pop(0)
            engine: Any = self.simulation._engine
            pids = {name: int(place.partition(" ")[0]) for name, place in engine.places().items()}
            os.kill({**pids, CONTROLLER: engine.controller_pid()}[self.station], signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(("station", "steps"), [("sbs-1", [19, 71]), ("mbs", [42]), (CONTROLLER, [51])])
def test_a_killed_process_changes_nothing(
    cluster: Any, small_scenario: Any, tmp_path: Path, station: str, steps: list[int]
) -> None:
    scenario = small_scenario(**{"downlink.epochs": STEPS // 2, "checkpoint_every_steps": 30})
    kills = len(steps)
    expected, expected_states = finish(
        Simulation.launch(scenario, engine="inline", out=tmp_path / "inline", observer=Quiet())
    )
    killer = Killer(station, steps)
    simulation = Simulation.launch(scenario, engine="ray", out=tmp_path / "ray", observer=killer)
    killer.simulation = simulation
    found, states = finish(simulation)

    assert steps == []
    assert [event["stations"] for event in found.summary["events"]] == [[station]] * kills
    assert states == expected_states
    for table in ("metrics", "rates"):
        left, right = (getattr(result, table).drop(columns="wall_s", errors="ignore") for result in (found, expected))
        pd.testing.assert_frame_equal(left, right, check_exact=True)
    assert found.summary["backhaul"]["balanced"] is True
    totals = [{**result.summary["backhaul"], "retransmissions": None} for result in (found, expected)]
    assert totals[0] == totals[1]
    if station != CONTROLLER:  # with which all books since the last commit are gone
        assert found.summary["backhaul"]["retransmissions"]["frames"] > 0
