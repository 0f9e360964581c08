"""State evolution and scaling: the verdicts are those of the numbers; the law is that of a small problem, measured."""

from pathlib import Path

import pytest

from cellfree_sim.scenario import expand, find_scenario, read_scenario
from cellfree_sim.scenario.schema import Scenario
from cellfree_sim.studies import Results, find_study
from cellfree_sim.studies.dl_mampnet import evolution
from cellfree_sim.studies.points import Outcome
from cellfree_sim.studies.runner import tasks_of


def results_of(name: str, rows_of) -> Results:
    study = find_study(f"dl-mampnet/{name}")
    points = expand(read_scenario(find_scenario(study.scenario_name)), quick=True)
    outcomes = [Outcome("done", rows=tuple(rows_of(point))) for point in points]
    return Results(study.name, "quick", tasks_of(points, Path("nowhere")), outcomes)


@pytest.mark.parametrize(("off_db", "verdict"), [(0.1, "holds"), (1.0, "does not hold")])
def test_the_law_is_judged_where_there_are_many_devices(unrendered, off_db: float, verdict: str) -> None:
    def rows_of(point):
        apart = off_db if point.case == evolution.LARGE else 9.0
        names = ("algorithm", "iteration", "law_db", "amp_db", "amp_db_error")
        return [dict(zip(names, ("amp-section", k, 9.0 - k, 9.0 - k + apart, 0.05), strict=True)) for k in range(5)]

    results = results_of("state-evolution", rows_of)
    study = find_study("dl-mampnet/state-evolution")
    assert [found.verdict for found in study.judge(results)] == [verdict]
    assert len(study.draw(results).axes) == 2


def test_undamped_messages_follow_the_law_with_many_devices() -> None:
    """1000 devices of one frame set, seed 1: all iterations within 1 dB, as `test_state_evolution` holds to 0.5."""
    problem = {"devices": 1000, "pilot_length": 400, "antennas": 8, "activity": 0.1}
    link = {"family": "mmtc", "problem": problem, "frames_max": 4}
    rows = evolution.evaluate(Scenario.model_validate({"link": link}))
    assert [row["iteration"] for row in rows] == list(range(evolution.ITERATIONS))
    assert max(abs(row["amp_db"] - row["law_db"]) for row in rows[8:]) < 1
    assert rows[0]["amp_db"] > rows[-1]["amp_db"] + 10


@pytest.mark.parametrize(("seconds", "gib", "verdicts"), [(1, 0.5, ["holds"] * 2), (9, 3.0, ["does not hold"] * 2)])
def test_scaling_is_judged_by_the_largest_frame(unrendered, seconds: float, gib: float, verdicts: list[str]) -> None:
    def rows_of(point):
        part = point.scenario.link.problem.devices / 100_000
        row = {"algorithm": "amp-section, dft", "frame_ser": 1e-3}
        return [{**row, "cpu_seconds_frame": seconds * part, "memory_gib": gib * part}]

    results = results_of("scaling", rows_of)
    study = find_study("dl-mampnet/scaling")
    assert [found.verdict for found in study.judge(results)] == verdicts
    assert len(study.draw(results).axes) == 2
