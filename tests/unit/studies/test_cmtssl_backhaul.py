"""The backhaul study: times over other links against runs over those links, and what its verdicts are made of."""

from __future__ import annotations

import pytest

from agents import Simulation
from cellfree_sim.results.observer import Quiet
from cellfree_sim.studies.cmtssl.backhaul import training_seconds

JOINING_BYTES = 400


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"backhaul.cache_channels": True, "backhaul.precision": "int8"},
        {"downlink.feedback": "global_outputs"},
        {"downlink.algorithm": "cmtssl"},
    ],
    ids=["gradient", "cached", "outputs", "cmtssl"],
)
def test_times_over_other_links_are_those_of_runs_over_them(small_scenario, tmp_path, settings):
    """Exact but for the frames with which a station joins."""
    ran = {}
    for capacity in (2e6, 1e9):
        scenario = small_scenario(
            **{
                "channel.realisations": {"train": 40, "validation": 4, "test": 4},
                "backhaul.capacity_bps": capacity,
                "downlink": {"epochs": 3, "batch": 20, "references": [], "policy": {"name": "set", "width": 8}},
                **settings,
            }
        )
        with Simulation.launch(scenario, engine="inline", out=tmp_path / f"{capacity:g}", observer=Quiet()) as run:
            run.advance()
            result = run.result(report=False)
        ran[capacity] = result.summary, result.backhaul
    (slow, frames), (fast, _) = ran[2e6], ran[1e9]
    assert slow["simulated_seconds"] > 3 * fast["simulated_seconds"]
    assert training_seconds(slow, frames, 2e6, 2e6) == slow["simulated_seconds"]
    found = training_seconds(slow, frames, 2e6, 1e9)
    assert found == pytest.approx(fast["simulated_seconds"], abs=8 * JOINING_BYTES / 2e6)
