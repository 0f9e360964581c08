"""A run with a real uplink, in one process: whatever disturbs it, its bursts, books and error rates are the same."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agents import Simulation
from cellfree_sim.results.analysis import RunData
from cellfree_sim.results.observer import Quiet

UPLINK = {
    "bursts": 24,
    "snr_db": [4.0, 10.0],
    "slots": 3,
    "realisations": 4,
    "users_per_group": 2,
    "services": [
        {"name": "near", "detector": "lmmse"},
        {"name": "fused", "detector": "lmmse", "cooperation": "soft_fusion", "precision": "float16"},
        {"name": "all", "detector": "lmmse", "cooperation": "centralized", "queue": {"batch": 2, "deadline_s": 5e-3}},
    ],
    "events": [
        {"at_burst": 9, "swap_detector": {"service": "near", "detector": "mf"}},
        {"at_burst": 13, "fail_service": {"service": "fused", "station": "sbs-1"}},
    ],
}
SERVICES = ["near", "fused", "all"]


class Interrupting(Quiet):
    """Ctrl-C once `burst` bursts are told to be over."""

    def __init__(self, burst: int) -> None:
        self.burst = burst
        self.struck = False

    def bursts(self, progress: Any) -> None:
        if progress["burst"] >= self.burst and not self.struck:
            self.struck = True
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def undisturbed(tiny: Any, launch: Any) -> Any:
    def run(**settings: Any) -> RunData:
        with launch(tiny(uplink=UPLINK, **settings), "undisturbed") as simulation:
            simulation.advance()
            result: RunData = simulation.result()
        return result

    return run


def assert_equal(left: RunData, right: RunData) -> None:
    pd.testing.assert_frame_equal(left.uplink, right.uplink, check_exact=True)
    pd.testing.assert_frame_equal(
        left.metrics.drop(columns="wall_s"), right.metrics.drop(columns="wall_s"), check_exact=True
    )
    # a station numbers its frames of a few bursts together, as they are cut by what happens to the run
    order = ["sender", "phase", "step", "kind", "receiver", "sent_s", "bytes", "attempt"]
    frames = [each.backhaul.drop(columns="sequence").sort_values(order, ignore_index=True) for each in (left, right)]
    pd.testing.assert_frame_equal(frames[0], frames[1], check_exact=True)
    summaries = [json.dumps(each.summary["uplink"], sort_keys=True) for each in (left, right)]
    assert summaries[0] == summaries[1]
    books = [each.summary["backhaul"] | {"retransmissions": None} for each in (left, right)]
    assert books[0] == books[1] and books[0]["balanced"] is True


def test_a_run_says_what_its_services_did(undisturbed: Any) -> None:
    result = undisturbed(**{"downlink.algorithm": "none"})
    table, summary = result.uplink, result.summary
    assert list(table[table.service == "all"]["burst"]) == list(range(24))
    assert [each["name"] for each in summary["uplink"]["services"]] == SERVICES
    for each in summary["uplink"]["services"]:
        own = table[table.service == each["name"]]
        for place, snr in enumerate(each["snr_db"]):
            part = own[own.snr_db == snr]
            assert each["ser"][place] == part.symbol_errors.sum() / part.symbols.sum()
            assert each["ser_low"][place] <= each["ser"][place] <= each["ser_high"][place]
        assert each["bytes"] == own.bytes.sum()
    frames = result.backhaul
    sent = frames[(frames.phase == "uplink") & (frames.link_class == "backhaul")]["bytes"].sum()
    assert sent == table["bytes"].sum() == summary["backhaul"]["uplink_bytes"]
    assert summary["backhaul"]["air_bytes"] == frames[frames.link_class == "air"]["bytes"].sum() > 0
    assert table[table.service == "near"]["bytes"].sum() == 0  # nothing crosses the backhaul
    detectors = table[table.service == "near"].set_index("burst")["detector"]
    assert set(detectors[:9]) == {"lmmse"} and set(detectors[9:]) == {"mf"}


@pytest.mark.parametrize("algorithm", ["none", "dmtssl"])
def test_interrupted_and_resumed_it_is_the_same(undisturbed: Any, tiny: Any, tmp_path: Path, algorithm: str) -> None:
    settings = {"downlink.algorithm": algorithm}
    expected = undisturbed(**settings)
    watcher = Interrupting(11)
    with (
        pytest.raises(KeyboardInterrupt),
        Simulation.launch(
            tiny(uplink=UPLINK, **settings), engine="inline", out=tmp_path / "interrupted", observer=watcher
        ) as simulation,
    ):
        simulation.advance()
    assert watcher.struck
    with Simulation.resume(tmp_path / "interrupted", observer=Quiet()) as resumed:
        resumed.advance()
        assert_equal(resumed.result(), expected)


def test_a_station_that_dies_changes_nothing(undisturbed: Any, tiny: Any, launch: Any) -> None:
    expected = undisturbed()
    with launch(tiny({"at_step": 6, "fail_sbs": "sbs-1"}, uplink=UPLINK), "disturbed") as simulation:
        simulation.advance()
        result = simulation.result()
    assert [event["event"] for event in result.summary["events"]].count("restart") == 1
    assert_equal(result, expected)
