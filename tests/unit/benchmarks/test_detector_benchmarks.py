"""The benchmarks of detectors: what they compare, and that both sides decide alike."""

from __future__ import annotations

import pytest

from cellfree_sim import benchmarks
from cellfree_sim.benchmarks import calibration, detectors
from cellfree_sim.detection import list_detectors
from cellfree_sim.detection.plain import PLAIN


def test_they_are_found_and_calibration_runs_by_name_only():
    assert {"calibration", "detectors"} <= set(benchmarks.list_benchmarks())
    assert calibration.ON_REQUEST and not getattr(detectors, "ON_REQUEST", False)


@pytest.mark.parametrize("contest", detectors.CONTESTS, ids=lambda contest: contest.name)
def test_all_sides_are_measured_on_the_same_slots(contest):
    small = detectors.Contest(contest.name, 20, contest.options, contest.sionna, contest.sionna_options)
    rows = detectors._rows(small, 4, 4.0, turns=1)
    against = {row.get("against") for row in rows} - {None}
    assert against == ({contest.sionna} - {""}) | ({"plain NumPy, one by one"} if contest.name in PLAIN else set())
    for row in rows:
        assert row["value"] > 0 and row["batch"] == 20 and row["unit"] == "vectors/CPU-s"
        if "other" in row:
            assert row["ratio"] == pytest.approx(row["value"] / row["other"])
            assert abs(row["ser"] - row["other_ser"]) <= 0.15


def test_every_contestant_exists():
    named = {contest.name for contest in detectors.CONTESTS} | {contest.sionna for contest in detectors.CONTESTS}
    assert named - {""} <= set(list_detectors())
    assert set(PLAIN) <= {contest.name for contest in detectors.CONTESTS}


def test_calibration_rows_hold_together():
    rows = [*calibration.against_published(4), *calibration.against_sionna(200)]
    assert {row["against"] for row in rows if "sionna" not in row["against"]} == {"published"}
    assert len({row["case"] for row in rows}) == len(rows)
    for row in rows:
        assert row["value"] == pytest.approx(row["ratio"] * row["expected"])
    sionna = [row for row in rows if "sionna" in row["against"]]
    assert len(sionna) == 3 and all(abs(row["z"]) < 3 for row in sionna)
