"""The benchmark of NOMA receivers: both sides are measured on the same frames, and decide alike."""

from __future__ import annotations

import pytest

from cellfree_sim import benchmarks
from cellfree_sim.benchmarks import noma
from cellfree_sim.detection import list_detectors


def test_it_is_found_and_names_receivers_that_exist():
    assert "noma" in benchmarks.list_benchmarks()
    assert {name for setting in noma.SETTINGS for name in setting.receivers} <= set(list_detectors("noma"))


@pytest.mark.parametrize(("place", "name"), [(0, "mmse-sic"), (0, "kbest"), (1, "mpa"), (0, "mf")])
def test_rows_say_what_was_measured(place, name, monkeypatch):
    monkeypatch.setattr(noma, "PLAIN_FRAMES", {"mpa": 4})
    monkeypatch.setattr(noma, "PLAIN_DEFAULT", 64)
    row = noma._row(noma.SETTINGS[place], name, 64, turns=1)
    assert row["value"] > 0 and row["batch"] == 64 and row["unit"] == "frames/CPU-s" and 0 <= row["ser"] < 0.4
    if name != "mf":
        assert row["ratio"] == pytest.approx(row["value"] / row["other"])
        assert abs(row["ser"] - row["other_ser"]) < 0.03
