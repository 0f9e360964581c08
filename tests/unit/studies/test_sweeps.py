"""Sweeps of any scenario: what is put on which axis, means over seeds, the plan, and an interrupt in the middle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest

from cellfree_sim.cli import main
from cellfree_sim.results.figures import style
from cellfree_sim.scenario import expand, read_scenario
from cellfree_sim.scenario.describe import section_keys
from cellfree_sim.scenario.labels import LONGEST, axis_label
from cellfree_sim.studies.points import Outcome
from cellfree_sim.studies.results import Results
from cellfree_sim.studies.runner import run_tasks, tasks_of
from cellfree_sim.studies.sweeps.figure import draw, x_key
from cellfree_sim.studies.sweeps.measured import Metric, keys_of, means, metrics_of
from cellfree_sim.studies.sweeps.text import rows

UPLINK = """\
name: heard
downlink: {algorithm: none}
network: {sbs: {count: 2, antennas: {rows: 2, columns: 2}}, users: {count: 4, antennas: 1}}
channel: {model: rayleigh, cache: false}
uplink:
  snr_db: [-2]
  bursts: 3
  slots: 4
  realisations: 3
  users_per_group: 4
  services: [{name: alone, detector: lmmse, cooperation: local}, {name: all, detector: lmmse, cooperation: centralized}]
sweep: {grid: {uplink.power.max_dbm: [23, -60]}, seeds: [1, 2]}
"""


def swept(text: str, folder: Path) -> Results:
    """All points of a scenario, run in this process."""
    file = folder / "sweep.yaml"
    file.write_text(text)
    tasks = tasks_of(expand(read_scenario(file)), folder / "points")
    return Results("mine", "full", tasks, [run_tasks([task])[0] for task in tasks])


def drawn(results: Results) -> matplotlib.figure.Figure:
    with style.journal():
        figure = draw(results)
        assert figure is not None
        figure.draw_without_rendering()
    return figure


def names_in_legend(figure: matplotlib.figure.Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_means_of_a_sweep_that_trains_are_those_of_its_table(tiny_results: Results) -> None:
    assert keys_of(tiny_results) == ["network.users.count"]
    metrics = {metric.column: metric for metric in metrics_of(tiny_results)}
    assert next(iter(metrics)) == "sum_rate" and "training_bytes" in metrics
    found = means(tiny_results, metrics["sum_rate"])
    assert set(found["label"]) == {"learned", "bare", "GSA-ZF"}  # no case changes the reference: it is one line
    table = tiny_results.table
    for _, row in found.iterrows():
        here = table[
            (table["case"] == row["case"])
            & (table["algorithm"] == row["algorithm"])
            & (table["network.users.count"] == row["network.users.count"])
        ]
        assert row["mean"] == pytest.approx(here["sum_rate"].mean()) and row["seeds"] == 2
        between = np.abs(np.diff(here["sum_rate"]))[0] / 2  # of two values: their standard error
        within = np.hypot(*here["sum_rate_error"]) / 2
        assert row["error"] == pytest.approx(max(between, within))


def test_a_reference_is_one_line_for_all_cases_only_where_none_changes_it(
    tiny_results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tiny_results.table
    again = table[table["algorithm"] == "gsa-zf"].assign(case="bare")  # as if both cases had run it
    both = pd.concat([table, again], ignore_index=True)
    monkeypatch.setattr(Results, "table", property(lambda self: both))
    cases = [line[0] for line in rows(tiny_results) if line[2] == "gsa-zf"]
    assert cases == ["all"] * again["network.users.count"].nunique()
    changed = (both["algorithm"] == "gsa-zf") & (both["case"] == "bare")
    both.loc[changed, "min_rate_satisfied"] = 0.125  # as with another r_min
    found = means(tiny_results, Metric("min_rate_satisfied", "users"))
    own = found[(found["algorithm"] == "gsa-zf") & (found["case"] == "bare")]
    assert len(own) == len(cases) and (own["mean"] == 0.125).all() and set(own["label"]) == {"bare, GSA-ZF"}
    assert {line[0] for line in rows(tiny_results) if line[2] == "gsa-zf"} == {"learned", "bare"}


def test_its_figure_has_the_swept_key_along_x_and_a_panel_for_each_metric(tiny_results: Results) -> None:
    figure = drawn(tiny_results)
    bottom = figure.axes[-1]
    assert bottom.get_xlabel() == "Number I of users"
    assert [axes.get_ylabel() for axes in figure.axes] == [metric.label for metric in metrics_of(tiny_results)][:3]
    assert sorted(names_in_legend(figure)) == ["GSA-ZF", "bare", "learned"]
    assert figure._suptitle is not None  # type: ignore[attr-defined]
    assert figure._suptitle.get_text() == "tiny: means over 2 seeds, two standard errors"  # type: ignore[attr-defined]


def test_services_have_error_rates_on_a_log_axis_and_bounds_where_no_error_was_seen(tmp_path: Path) -> None:
    results = swept(UPLINK, tmp_path)
    assert [metric.column for metric in metrics_of(results)] == ["ser", "bytes_per_slot"]
    figure = drawn(results)
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[-1].get_xlabel() == "Largest transmit power of a user (dBm)"
    assert names_in_legend(figure) == ["alone", "all"]
    table = rows(results)
    assert table[0] == ["max_dbm", "algorithm", "SER", "bytes per slot"]
    ser = {(line[0], line[1]): float(line[2].split()[0]) for line in table[1:]}
    assert ser["-60", "all"] > 0.5 > ser["23", "all"]  # nothing is left of the signal at the lower power
    assert all(Outcome.read(each.folder) == each.outcome for each in results.ended)  # and so they are not run again
    local = means(results, metrics_of(results)[1])
    assert (local[local["algorithm"] == "alone"]["mean"] == 0).all()  # who decides alone sends nothing


def test_where_no_error_was_seen_the_bound_is_that_of_all_seeds_together(tiny_results: Results) -> None:
    metric = Metric("ser", "symbol error rate", log=True)
    results = Results(tiny_results.name, "full", [], [])
    results.ended = [each for each in tiny_results.ended if each.point.case == "learned"]
    frame = pd.DataFrame(
        {
            "case": "learned",
            "network.users.count": [each.point.at["network.users.count"] for each in results.ended],
            "seed": [each.point.seed for each in results.ended],
            "algorithm": "ep",
            "learned": False,
            "ser": 0.0,
            "ser_error": 0.001,
            "ser_high": 0.004,
        }
    )
    results.__dict__["table"] = frame
    found = means(results, metric)
    assert (found["high"] == 0.002).all() and len(found) == 2
    figure = drawn(results)
    (bound,) = figure.axes[0].lines
    assert list(bound.get_ydata()) == [0.002, 0.002]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"a": [1, 2, 3], "b": [1, 1, 2]}, "a"),
        ({"b": ["x", "y", "z"], "snr_db": [1.0, 2.0, 3.0]}, "snr_db"),
        ({"a": [1, 2, 2], "snr_db": [1.0, 2.0, 3.0]}, "a"),
        ({"b": ["x", "y", "z"], "c": [True, False, True]}, None),
    ],
)
def test_the_x_axis_is_the_numeric_key_with_most_values(columns: dict[str, Any], expected: str | None) -> None:
    assert x_key(pd.DataFrame(columns), list(columns)) == expected


def test_without_a_number_every_line_is_a_row_of_names(tiny_results: Results) -> None:
    results = Results(tiny_results.name, "full", [], [])
    results.ended = [each for each in tiny_results.ended if each.point.at["network.users.count"] == 3]
    figure = drawn(results)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["learned", "GSA-ZF", "bare"]
    assert [axes.get_xlabel() for axes in figure.axes] == [metric.label for metric in metrics_of(results)][:3]


def test_every_key_makes_a_label() -> None:
    labels = {key: axis_label(key) for key in section_keys()}
    assert all(label and label[0] == label[0].upper() for label in labels.values())
    assert max(len(label.partition(" (")[0]) for label in labels.values()) <= LONGEST + 30
    assert labels["backhaul.capacity_bps"] == "Capacity of each link and direction (bit/s)"
    assert labels["uplink.activity.probability"] == "Probability that a user sends in a burst"


def test_the_plan_of_a_sweep_says_what_is_done_and_writes_nothing(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["sweep", str(tiny), "--dry-run", "--out", str(out), "--seeds", "1"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].split() == ["case", "users", "seed", "folder", "so", "far"]
    assert text.splitlines()[-1] == "4 points, 4 to run"
    assert not out.exists()
    tasks = tasks_of(expand(read_scenario(tiny), seeds=[1]), out / "points")
    run_tasks(tasks[:1])
    assert main(["sweep", str(tiny), "--dry-run", "--out", str(out), "--seeds", "1"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[1].endswith(f"{tasks[0].folder.name}  done")
    assert text.splitlines()[-1] == "4 points, 3 to run"


def test_an_interrupt_tells_what_is_done_and_the_next_call_goes_on(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def until_the_third(tasks: Any, **_: Any) -> Any:
        for task in tasks:
            begun.append(task.folder.name)
            if len(begun) == 3:
                raise KeyboardInterrupt("the same command goes on")
            run_tasks([task])
        return [run_tasks([task])[0] for task in tasks]

    monkeypatch.setattr("cellfree_sim.studies.reproduce.run_tasks", until_the_third)
    words = ["sweep", str(tiny), "--out", str(tmp_path), "--seeds", "1", "--quiet"]
    assert main(words) == 130
    out, err = capsys.readouterr()
    assert "interrupted; 2 of 4 points are done; the same command goes on" in err
    assert "2 points not done:" in out and out.splitlines()[1].split()[:3] == ["learned", "3", "dmtssl"]
    assert (tmp_path / "tiny" / "full" / "tiny.png").exists()
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "not done" not in out and err == ""
    assert len(pd.read_csv(tmp_path / "tiny" / "full" / "table.csv")) == 6
