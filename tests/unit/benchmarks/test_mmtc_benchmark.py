"""The benchmarks of massive access: what they compare, and that both sides decide alike."""

from __future__ import annotations

import pytest

from cellfree_sim import benchmarks
from cellfree_sim.benchmarks import mmtc, mmtc_errors
from cellfree_sim.detection import list_detectors
from cellfree_sim.detection.mmtc.large import large_frame
from cellfree_sim.detection.plain_mmtc import PLAIN_MMTC


def test_they_are_found_and_errors_are_measured_by_name_only():
    assert {"mmtc", "mmtc-errors"} <= set(benchmarks.list_benchmarks())
    assert mmtc_errors.ON_REQUEST and not getattr(mmtc, "ON_REQUEST", False)
    named = {entry.name for entry in mmtc.ENTRIES} | {name for name, *_ in mmtc_errors.DETECTORS} - {"genie"}
    assert named <= set(list_detectors("mmtc"))
    assert {entry.name for entry in mmtc.ENTRIES if entry.plain is not None} == set(PLAIN_MMTC)


def test_both_sides_decide_alike(monkeypatch):
    monkeypatch.setattr(mmtc, "FRAMES", 4)
    monkeypatch.setattr(mmtc, "PLAIN_FRAMES", 2)
    entry = next(entry for entry in mmtc.ENTRIES if entry.name == "amp-section")
    row = mmtc._row(entry, 1)
    assert row["ratio"] == pytest.approx(row["value"] / row["other"]) and row["batch"] == 4
    assert row["ser"] == row["other_ser"] < 0.02


def test_a_large_frame_is_measured():
    row = large_frame(200, "dft")
    assert row["value"] > 0 and row["ser"] < 0.05 and 0.05 < row["memory_gib"] < 8 and row["iterations"] > 3


def test_errors_are_summed_over_sets_of_pilots():
    rates = mmtc_errors.measured("all-zero", {}, {"pilot_length": 20}, (1, 2), 10)
    assert rates.frames == 20 and rates.ser.trials == 2000 and rates.missed.value == 1
    assert mmtc_errors.measured("genie", {}, {"pilot_length": 20}, (1,), 10).ser.value < 0.03
