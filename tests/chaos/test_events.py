"""A network in which everything happens, distributed and with failures, equals one in one process without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import finish

from agents import Simulation
from cellfree_sim.results.observer import Quiet

CHANGES = [
    {"at_step": 0, "slow_link": {"between": ["sbs-0", "mbs"], "capacity_bps": 1e6}},
    {"at_step": 5, "inject_sbs": {"position_m": [75, 75]}},
    {"at_step": 7, "cut_link": ["mbs", "sbs-1"]},
    {"at_step": 15, "restore_link": ["mbs", "sbs-1"]},
    {"at_step": 20, "inject_sbs": {"position_m": [10, 90], "after": "execute", "transfer": "farthest"}},
    {"at_step": 25, "remove_sbs": "sbs-0"},
]
FAILURES = [
    {"at_step": 5, "fail_sbs": {"station": "sbs-3", "barrier": "after"}},  # the one that was injected just before
    {"at_step": 9, "fail_sbs": {"station": "sbs-1", "barrier": "during"}},
    {"at_step": 20, "fail_mbs": "before"},
    {"at_step": 30, "fail_mbs": "after"},
]


@pytest.mark.slow
def test_failures_change_nothing_in_a_network_that_changes(cluster: Any, small_scenario: Any, tmp_path: Path) -> None:
    settings = {
        "downlink.epochs": 20,
        "downlink.loss_scheme": "nfl",
        "downlink.policy": {"name": "dense", "hidden": [16, 16]},
        "backhaul.topology": "mesh",
        "checkpoint_every_steps": 8,
    }
    calm, disturbed = (small_scenario(**settings, events=events) for events in (CHANGES, CHANGES + FAILURES))
    expected, expected_states = finish(
        Simulation.launch(calm, engine="inline", out=tmp_path / "inline", observer=Quiet())
    )
    found, states = finish(Simulation.launch(disturbed, engine="ray", out=tmp_path / "ray", observer=Quiet()))

    assert states == expected_states
    assert sorted(states) == ["mbs", "sbs-1", "sbs-2", "sbs-3", "sbs-4"]
    for table in ("metrics", "rates"):
        left, right = (getattr(result, table).drop(columns="wall_s", errors="ignore") for result in (found, expected))
        pd.testing.assert_frame_equal(left, right, check_exact=True)
    restarts = [event["stations"] for event in found.summary["events"] if event["event"] == "restart"]
    assert restarts == [["sbs-3"], ["sbs-1"], ["mbs"], ["mbs"]]
    books = [result.summary["backhaul"] for result in (found, expected)]
    assert [each["balanced"] for each in books] == [True, True]
    assert {**books[0], "retransmissions": None} == {**books[1], "retransmissions": None}
    assert books[0]["dropped"]["frames"] > 0  # what was under way on the link that was cut
    injections = [pd.DataFrame(result.summary["downlink"]["injection"]) for result in (found, expected)]
    pd.testing.assert_frame_equal(*(table.drop(columns="seconds") for table in injections), check_exact=True)
