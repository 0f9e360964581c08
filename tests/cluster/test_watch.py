"""A run on Ray watched from another process, by its folder and over the cluster: what is told, and what is ordered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents import Simulation
from cellfree_sim.errors import UserError
from cellfree_sim.results.analysis import RunData
from cellfree_sim.results.observer import Quiet
from cellfree_sim.watching import watch

LIMIT_S = 60.0
UPLINK = {"bursts": 32, "snr_db": [4.0, 10.0], "slots": 3, "realisations": 4, "services": [{"detector": "lmmse"}]}


def eventually(holds: Callable[[], Any]) -> None:
    until = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < until
        threading.Event().wait(0.02)


@pytest.mark.slow
def test_a_run_is_told_of_and_ordered_about_from_outside(
    cluster: Any, small_scenario: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cellfree_sim.results.report.build_report", lambda folder: None)
    scenario = small_scenario(uplink=UPLINK)
    folder, address = tmp_path / "watched", str(cluster.address_info["gcs_address"])
    results: list[RunData] = []
    with Simulation.launch(scenario, engine="ray", out=folder, observer=Quiet()) as simulation:

        def train() -> None:
            operations = simulation._operations
            eventually(lambda: operations.take_requests() or operations.wants_boundary())
            simulation.advance()
            results.append(simulation.result())

        training = threading.Thread(target=train)
        with watch(str(folder)) as here, watch("watched", address) as there:
            training.start()
            here.pause()
            eventually(lambda: here.status().status == there.status().status == "paused")
            with pytest.raises(UserError, match="the network of a run with an uplink cannot change"):
                there.inject((40.0, 60.0))
            there.resume()
            training.join()
            simulation.close()
            eventually(lambda: not there.status().lives)
            ends = [each.status() for each in (here, there)]
            with pytest.raises(UserError, match="is not running, it is done"):
                there.pause()
    backhaul = results[0].summary["backhaul"]
    for end in ends:
        assert (end.status, end.step, end.burst) == ("done", scenario.steps, 32)
        assert end.by_kind == backhaul["by_kind"]
        assert end.bytes == backhaul["bytes"]
        for link in end.links:
            a, b = link["a"], link["b"]
            assert link["bytes"] == sum(backhaul["by_link"].get(way, 0) for way in (f"{a}>{b}", f"{b}>{a}"))
        assert list(end.curves["training"]["step"]) == list(range(1, scenario.steps + 1))
