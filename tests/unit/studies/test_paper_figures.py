"""The paper's figures on made-up rates: each is drawn, and each claim gets the verdict that the rates were made for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from cellfree_sim.results.figures import style
from cellfree_sim.scenario import expand, find_scenario, read_scenario
from cellfree_sim.studies import Number, Results, Study, Verdict, find_study
from cellfree_sim.studies.cmtssl import fig6, fig7, losses
from cellfree_sim.studies.points import Outcome
from cellfree_sim.studies.runner import tasks_of

REALISATIONS, SPREAD = 40, 0.3
OVERSHOOTING = ("linear", "negative-fraction")
REFERENCES = {"rsa-zf-literal": 2.6, "gsa-zf-literal": 6.2, "gsa-zf": 21.0, "wmmse": 25.0, "ascent": 25.5}


def made_up(study: Study, levels: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> Results:
    """Results of a study at quick scale: sum rates around `levels`, by the first part of a case's name that is there.

    Realisations of a seed are hard or easy for all alike, so that paired differences are sharper than means.
    """
    points = expand(read_scenario(find_scenario(study.scenario_name)), quick=True, seeds=[1, 2, 3])
    tasks = tasks_of(points, Path("nowhere"))
    results = Results(study.name, "quick", tasks, [Outcome("done", cpu_seconds=1.0)] * len(tasks))
    for number, each in enumerate(results.ended):
        users = each.point.scenario.network.users.count
        scheme = each.point.scenario.downlink.loss_scheme.name
        hard = np.random.default_rng(each.point.seed).normal(0, 3, REALISATIONS)
        noise = np.random.default_rng(number)
        names = {each.learned: level_of(each.point, levels)}
        names |= {reference.name: REFERENCES[reference.name] for reference in each.point.scenario.downlink.references}
        each.__dict__["rates"] = {
            name: np.repeat((level + hard + noise.normal(0, SPREAD, REALISATIONS))[:, None] / users, users, axis=1)
            for name, level in names.items()
        }
        each.__dict__["summary"] = {
            "steps": 60,
            "simulated_seconds": 1.0,
            "downlink": {
                "parameters": {"mbs": 1},
                "flops": {"mbs": 1},
                "power_violation": 9.0 if "printed" in each.point.case and scheme in OVERSHOOTING else 0.5,
                "injection": [{"transfer_bytes": 1e5}],
            },
            "backhaul": {"training_bytes": 1e9, "execution_bytes_per_realisation": 0.0},
        }

    def metrics(_: Results, line: str, place: Any) -> dict[int, pd.DataFrame]:
        last, pace = (-20.0, 12.0) if "cmtssl" in line else (-25.0, 6.0)
        steps = np.arange(60)
        curves = {seed: last * (1 - np.exp(-steps / pace)) for seed in (1, 2, 3)}
        wild = 0.5 if "cmtssl" in line else 0.1
        return {
            seed: pd.DataFrame(
                {
                    "phase": "training",
                    "step": steps + 1,
                    "joint_loss": curve + np.random.default_rng(seed).normal(0, wild, 60),
                }
            )
            for seed, curve in curves.items()
        }

    monkeypatch.setattr(Results, "metrics", metrics)
    return results


def level_of(point: Any, levels: dict[str, float]) -> float:
    scheme = point.scenario.downlink.loss_scheme.name
    for key in (f"{point.case} {scheme}", point.case, *point.case.split("-")):
        if key in levels:
            return levels[key] - 0.5 * point.at.get("network.sbs.count", 0) + 0.5 * point.at.get("radio.subcarriers", 0)
    return 10.0


def check(study: Study, results: Results, folder: Path) -> dict[str, Verdict]:
    """Draw and judge; verdicts by claim."""
    with style.journal():
        png = style.save(study.draw(results), folder, "figure")
    assert png.read_bytes().startswith(b"\x89PNG") and png.stat().st_size > 20_000
    assert (folder / "figure.pdf").read_bytes().startswith(b"%PDF")
    verdicts = list(study.judge(results))
    assert all(verdict.reason and verdict.numbers for verdict in verdicts)
    return {verdict.claim: verdict for verdict in verdicts}


def words(verdicts: dict[str, Verdict], part: str) -> list[str]:
    found = [verdict.verdict for claim, verdict in verdicts.items() if part in claim]
    assert found, part
    return found


@pytest.mark.parametrize("panel", "abc")
def test_figure_6(panel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = find_study(f"cmtssl/fig6{panel}")
    levels = {"cmtssl": 12.0, "dmtssl": 14.0, "set": 30.0}
    verdicts = check(study, made_up(study, levels, monkeypatch), tmp_path)
    assert words(verdicts, "outperform the baselines") == ["holds"]
    assert words(verdicts, "strong form") == ["does not hold"]
    assert words(verdicts, "set policy outperforms") == ["holds"]
    if panel == "a":
        assert words(verdicts, "superior to CMTSSL") == ["holds"]
        assert words(verdicts, "decreases") == ["holds"]
    if panel == "b":
        assert words(verdicts, "increase with the number of subcarriers") == ["holds"]


def test_figure_6_says_when_the_paper_is_wrong_or_nothing_is_sure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = find_study("cmtssl/fig6a")
    verdicts = check(study, made_up(study, {"cmtssl": 14.0, "dmtssl": 12.0}, monkeypatch), tmp_path)
    assert words(verdicts, "superior to CMTSSL") == ["does not hold"]
    verdicts = check(study, made_up(study, {"cmtssl": 14.0, "dmtssl": 14.0}, monkeypatch), tmp_path)
    assert words(verdicts, "superior to CMTSSL") == ["undecided"]


@pytest.mark.parametrize("panel", "abc")
def test_figure_8(panel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = find_study(f"cmtssl/fig8{panel}")
    levels = {"original": 18.0, "datl": 19.8, "retrained": 20.0, "set-datl": 26.0, "set-retrained": 30.0}
    verdicts = check(study, made_up(study, levels, monkeypatch), tmp_path)
    assert words(verdicts, "less than 5 % of the retrained DMTSSL (dense networks)") == ["holds"]
    assert words(verdicts, "less than 5 % of the retrained DMTSSL (our set") == ["does not hold"]
    assert words(verdicts, "cost of retraining") == ["holds"]


def test_table_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = find_study("cmtssl/table2")
    levels = {
        "cmtssl": 10.0,
        "dmtssl": 13.0,
        "ours-cmtssl negative-fraction": 2.0,
        "ours-dmtssl negative-fraction": 2.0,
    }
    verdicts = check(study, made_up(study, levels, monkeypatch), tmp_path)
    assert words(verdicts, "Loss Scheme 2 significantly outperforms Loss Baseline 3") == ["cannot hold"]
    assert words(verdicts, "Baseline 1 does not converge (as printed)") == ["holds"]  # of the power
    assert words(verdicts, "Baseline 1 does not converge (with our") == ["does not hold"]
    assert words(verdicts, "Baseline 2 does not converge (with our") == ["holds"]  # of the sum rate
    assert words(verdicts, "DMTSSL is superior to CMTSSL") == ["holds", "holds"]
    assert set(words(verdicts, "Scheme 1 significantly")) == {"undecided"}
    assert words(verdicts, "0.687 to 0.986") == ["does not hold"]


def failing(results: Results, cases: tuple[str, ...], scheme: str, status: str) -> None:
    """Let the runs of some cases end otherwise."""
    for index, each in enumerate(results.ended):
        if each.point.case in cases and each.point.scenario.downlink.loss_scheme.name == scheme:
            results.ended[index] = replace(each, outcome=Outcome(status, "made up"))


@pytest.mark.parametrize(
    ("scheme", "status", "word", "says"),
    [
        ("linear", "failed", "undecided", "not measured"),
        ("linear", "interrupted", "undecided", "not measured"),
        ("linear", "diverged", "holds", "CMTSSL: the loss stops being finite in 3 of 3 runs; DMTSSL: the loss"),
        ("el", "diverged", "undecided", "CMTSSL and DMTSSL: not measured"),
    ],
)
def test_table_2_judges_by_what_was_measured(
    scheme: str, status: str, word: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = find_study("cmtssl/table2")
    results = made_up(study, {"cmtssl": 10.0, "dmtssl": 13.0}, monkeypatch)
    failing(results, ("ours-cmtssl", "ours-dmtssl"), scheme, status)
    found = next(
        each for each in study.judge(results) if each.claim.startswith("Loss Baseline 1 does not converge (with")
    )
    assert found.verdict == word and says in found.reason


def test_table_2_names_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    study = find_study("cmtssl/table2")
    levels = {"cmtssl": 10.0, "dmtssl": 13.0, "ours-cmtssl linear": 2.0, "ours-dmtssl linear": 2.0}
    found = {each.claim: each.reason for each in study.judge(made_up(study, levels, monkeypatch))}
    printed, ours = (found[f"Loss Baseline 1 does not converge ({words})."] for words in losses.GROUPS.values())
    assert "the power exceeds its budget by 9 of it" in printed and "sum rate" not in printed
    assert "the sum rate is less than 50%" in ours and "power" not in ours and "finite" not in ours


def test_rates_that_are_missing_are_not_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    study = find_study("cmtssl/table2")
    results = made_up(study, {}, monkeypatch)
    for scheme in ("nfl", "el"):
        failing(results, ("printed-cmtssl", "printed-dmtssl"), scheme, "failed")
    (found,) = [each for each in study.judge(results) if "0.687 to 0.986" in each.claim]
    assert (found.verdict, found.reason) == ("undecided", "4 of 4 were not measured")


class Rates:
    """Of lines along the stations; what figure 6 asks its results for."""

    places: ClassVar = [{fig6.STATIONS: count} for count in (2, 3, 4, 6)]

    def __init__(self, lines: Mapping[str, Sequence[float]], error: float) -> None:
        self.lines, self.error = lines, error

    def difference(self, line: str, _: str, first: Any, second: Any) -> Number:
        row = self.lines[line]
        return Number("x", row[self.places.index(first)] - row[self.places.index(second)], self.error)


def test_a_fall_is_not_found_in_noise() -> None:
    """Four lines and three places without any trend: the best place before the last is above it by chance."""
    found = []
    for trial in range(100):
        noise = np.random.default_rng(trial).normal(0, 1, (4, 4))
        flat: Any = Rates(dict(zip(fig6.PROPOSED, noise, strict=True)), math.sqrt(2))
        found.append(fig6._falls(fig6.STATIONS, flat).verdict)
    assert found.count("holds") == 0 and found.count("does not hold") <= 5


@pytest.mark.parametrize(
    ("rates", "word"),
    [
        ((20.0, math.nan, 26.0, 22.0), "holds"),
        ((20.0, math.nan, 21.0, 22.0), "undecided"),
        ((20.0, 20.5, 20.0, 22.0), "does not hold"),
    ],
)
def test_a_fall_is_found_past_points_that_are_missing(rates: tuple[float, ...], word: str) -> None:
    peak: Any = Rates(dict.fromkeys(fig6.PROPOSED, rates), 0.3)
    assert fig6._falls(fig6.STATIONS, peak).verdict == word


def test_lines_that_were_not_measured_may_be_straight() -> None:
    numbers = [Number("a", 0.0, unit=""), Number("b", math.nan, unit="")]
    assert fig7._is_zero("x", numbers).verdict == "undecided"
    assert fig7._is_zero("x", numbers[:1]).verdict == "holds"
    assert fig7._is_zero("x", [Number("a", 0.1, unit="")]).verdict == "does not hold"


def test_figure_7_without_any_rows_is_undecided(tmp_path: Path) -> None:
    study = find_study("cmtssl/fig7a")
    tasks = tasks_of(expand(read_scenario(find_scenario(study.scenario_name))), tmp_path, study.evaluate)
    results = Results(study.name, "full", tasks, [Outcome("failed", "made up")] * len(tasks))
    assert {each.verdict for each in study.judge(results)} == {"undecided"}


def test_figure_5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = find_study("cmtssl/fig5")
    verdicts = check(study, made_up(study, {}, monkeypatch), tmp_path)
    assert words(verdicts, "faster") == ["holds", "holds"]
    assert words(verdicts, "stabler") == ["holds", "holds"]
    assert losses.steps_to(np.array([3.0, 2.0]), 1.0) != losses.steps_to(np.array([3.0, 2.0]), 1.0)  # NaN


@pytest.mark.parametrize("panel", "abc")
def test_figure_7(panel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cheap:
        """Reference FLOPs that cost no iterations."""

        def __call__(self, *_: Any, **__: Any) -> float:
            return 1e5

    monkeypatch.setattr("cellfree_sim.downlink.flops.reference_flops", Cheap())
    study = find_study(f"cmtssl/fig7{panel}")
    source = read_scenario(find_scenario(study.scenario_name))
    points = expand(source, overrides={"channel.model": "rayleigh", "channel.cache": False})
    assert study.evaluate is fig7.evaluate
    outcomes = [Outcome("done", rows=tuple(fig7.evaluate(point.scenario))) for point in points]
    verdicts = check(study, Results(study.name, "full", tasks_of(points, tmp_path), outcomes), tmp_path)
    assert words(verdicts, "linear functions") == ["holds"]
    assert words(verdicts, "DMTSSL has fewer FLOPs than CMTSSL") == ["holds"]
    if panel == "b":
        assert words(verdicts, "power functions") == ["holds"]
        assert words(verdicts, "With many users") == ["holds"]
