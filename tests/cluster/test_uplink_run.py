"""A whole run with training and uplink side by side on Ray equals the run in one process, whoever dies meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agents import Simulation
from cellfree_sim.results.analysis import RunData
from cellfree_sim.results.observer import Quiet

UPLINK = {
    "bursts": 40,
    "snr_db": [4.0, 10.0],
    "slots": 3,
    "realisations": 4,
    "services": [{"name": "fused", "detector": "lmmse", "cooperation": "soft_fusion"}],
    "events": [
        {"at_burst": 11, "swap_detector": {"service": "fused", "detector": "mf"}},
        {"at_burst": 25, "fail_service": {"service": "fused", "station": "sbs-1"}},
    ],
}


def result_of(scenario: Any, engine: str, out: Path) -> RunData:
    with Simulation.launch(scenario, engine=engine, out=out, observer=Quiet()) as simulation:
        simulation.advance()
        return simulation.result()


def services_of(result: RunData) -> str:
    """What the summary says of the services, without what a wall clock measured."""
    services = [{k: v for k, v in each.items() if k != "processes"} for each in result.summary["uplink"]["services"]]
    return json.dumps(services, sort_keys=True)


@pytest.mark.slow
def test_training_beside_an_uplink_is_the_same_on_ray(
    cluster: Any, small_scenario: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cellfree_sim.results.report.build_report", lambda folder: None)
    settings = {"network": {"sbs": {"count": 2}, "users": {"count": 4}}, "checkpoint_every_steps": 5, "uplink": UPLINK}
    expected = result_of(small_scenario(**settings), "inline", tmp_path / "inline")
    found = result_of(small_scenario(**settings, events=[{"at_step": 7, "fail_sbs": "sbs-0"}]), "ray", tmp_path / "ray")
    assert [event["event"] for event in found.summary["events"]].count("restart") == 1
    pd.testing.assert_frame_equal(found.uplink, expected.uplink, check_exact=True)
    pd.testing.assert_frame_equal(
        found.metrics.drop(columns="wall_s"), expected.metrics.drop(columns="wall_s"), check_exact=True
    )
    assert services_of(found) == services_of(expected)
    books = [each.summary["backhaul"] | {"retransmissions": None} for each in (found, expected)]
    assert books[0] == books[1] and books[0]["balanced"] is True
    assert found.summary["uplink"]["services"][0]["processes"]["sbs-1"]["restarts"] >= 1
