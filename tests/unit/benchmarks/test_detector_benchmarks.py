"""The benchmarks of detectors: what they compare, and that both sides decide alike."""

from __future__ import annotations

import math

import pytest

from cellfree_sim import benchmarks
from cellfree_sim.benchmarks import calibration, detectors
from cellfree_sim.detection import create_detector, list_detectors
from cellfree_sim.detection.plain import PLAIN
from cellfree_sim.detection.published import published


def test_they_are_found_and_calibration_runs_by_name_only():
    assert {"calibration", "detectors"} <= set(benchmarks.list_benchmarks())
    assert calibration.ON_REQUEST and not getattr(detectors, "ON_REQUEST", False)


@pytest.mark.parametrize("contest", detectors.CONTESTS, ids=lambda contest: contest.name)
def test_all_sides_are_measured_on_the_same_slots(contest):
    small = detectors.Contest(contest.name, 40, contest.options, contest.sionna, contest.sionna_options)
    rows = detectors._rows(small, 8, 0.0, turns=1)
    against = {row.get("against") for row in rows} - {None}
    assert against == ({contest.sionna} - {""}) | ({"plain NumPy, one by one"} if contest.name in PLAIN else set())
    for row in rows:
        assert row["value"] > 0 and row["batch"] == 40 and row["unit"] == "vectors/CPU-s"
        assert row["ser"] > 0.02  # there is something to decide differently
        if "other" in row:
            symbols = 8 * (10 if "plain" in row["against"] else 40)
            assert row["ratio"] == pytest.approx(row["value"] / row["other"])
            assert row["ser"] * symbols == pytest.approx(round(row["ser"] * symbols))
            alike = 0.01 if "plain" in row["against"] else 0.05  # Sionna's are not the same to the last step
            assert abs(row["ser"] - row["other_ser"]) <= alike, row


def test_every_contestant_exists():
    named = {contest.name for contest in detectors.CONTESTS} | {contest.sionna for contest in detectors.CONTESTS}
    assert named - {""} <= set(list_detectors())
    assert set(PLAIN) <= {contest.name for contest in detectors.CONTESTS}


def test_a_published_rate_has_an_error_of_its_own():
    """Hardly any beside 200 slots of ours; as much as ours, if theirs were 200 slots, too."""
    point = next(one for one in published() if one.detector == "oampnet2")
    assert point.trials == 16 * 10**7
    detector = create_detector("zf", point.problem())
    exact, measured, poor = (
        calibration._row("", detector, 9.0, 200, point.ser, "", trials=trials)
        for trials in (math.inf, point.trials, 200 * 16)
    )
    assert exact["value"] == measured["value"] and exact["z"] > measured["z"] > 0.9999 * exact["z"]
    assert poor["z"] == pytest.approx(exact["z"] / math.sqrt(2))


def test_calibration_rows_hold_together():
    rows = [*calibration.against_published(4), *calibration.against_sionna(200)]
    assert {row["against"] for row in rows if "sionna" not in row["against"]} == {"published"}
    assert len({row["case"] for row in rows}) == len(rows)
    for row in rows:
        assert row["value"] == pytest.approx(row["ratio"] * row["expected"])
    sionna = [row for row in rows if "sionna" in row["against"]]
    assert len(sionna) == 3 and all(abs(row["z"]) < 3 for row in sionna)
