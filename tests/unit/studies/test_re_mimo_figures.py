"""The figures on made-up error rates: each is drawn, and each claim gets the verdict that the rates were made for."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import pytest

from cellfree_sim.results.figures import style
from cellfree_sim.scenario import expand, find_scenario, read_scenario
from cellfree_sim.studies import Results, find_study
from cellfree_sim.studies.points import Outcome
from cellfree_sim.studies.re_mimo import attention, curves, times
from cellfree_sim.studies.runner import run_tasks, tasks_of

CURVES = ["fig7", "fig8", "fig9", "fig10", "fig11", "fig12"]
FACTORS = {  # of the error rate of maximum likelihood
    "mmse-as-published": 6.0,
    "lmmse": 5.0,
    "amp": 2.0,
    "sdr": 3.0,
    "zf-pic": 2.5,
    "detnet": 3.5,
    "oampnet2": 1.5,
    "epnet": 1.2,
    "re-mimo": 1.3,
    "ep": 1.25,
    "kbest": 1.0,
}


@cache
def points_of(name: str, quick: bool = False):
    """The points of a study's scenario."""
    return expand(read_scenario(find_scenario(find_study(f"re-mimo/{name}").scenario_name)), quick=quick)


def made_up(name: str, factors: dict[str, float], error: float = 0.02, quick: bool = False) -> Results:
    """Results of a study whose rates are e^-SNR times `factors`, with a relative standard error."""
    study = find_study(f"re-mimo/{name}")
    points = points_of(name, quick)
    outcomes = []
    for point in points:
        link = point.scenario.link
        rows = []
        rho, users = link.problem.correlation, link.problem.n_tx
        for snr_db in link.snr_db:
            base = 0.2 * math.exp(-0.9 * (snr_db - 6 - users / 8 - 10 * max(rho - 0.6, 0)))
            base *= 2.0 if link.problem.csi_error else 1.0
            rates = {label: min(base * factors[label], 0.9) for label in link.labelled() if label in factors}
            for label, rate in rates.items():
                row = {
                    "algorithm": label,
                    "learned": label in ("oampnet2", "re-mimo", "epnet", "detnet"),
                    "snr_db": float(snr_db),
                    "slots": 1000,
                    "errors": 1000,
                    "ser": rate,
                    "ser_error": error * rate,
                }
                for other, theirs in rates.items():
                    if other != label:
                        row[f"minus {other}"] = rate - theirs
                        row[f"minus {other}, error"] = error * max(rate, theirs)
                rows.append(row)
        rows += [
            {"algorithm": label, "note": f"detector '{label}': no weights"}
            for label in link.labelled()
            if label not in factors
        ]
        outcomes.append(Outcome("done", rows=tuple(rows)))
    return Results(study.name, "quick" if quick else "full", tasks_of(points, Path("nowhere")), outcomes)


def words(name: str, results: Results) -> dict[str, str]:
    return {verdict.claim: verdict.verdict for verdict in find_study(f"re-mimo/{name}").judge(results)}


@pytest.mark.parametrize("name", [*CURVES, "fig13", "fig14"])
def test_every_plot_of_error_rates_has_the_yardsticks(name):
    for point in points_of(name, quick=True):
        labels = point.scenario.link.labelled()
        assert labels["ep"].iterations == 30 and labels["ep"].damping == 0.7
        assert labels["kbest"].survivors == 64
        assert set(labels) <= set(curves.LOOKS)


@pytest.mark.parametrize("name", CURVES)
def test_figures_are_drawn_with_all_lines_and_with_few(name):
    few = [{"ep": 1.25, "kbest": 1.0}] if name in ("fig7", "fig12") else []
    for factors in (FACTORS, *few):
        results = made_up(name, factors)
        with style.journal():
            figure = find_study(f"re-mimo/{name}").draw(results)
            style.lay_out(figure)
        labels = [text.get_text() for text in figure.legends[-1].get_texts()]
        named = {name for each in results.ended for name in each.point.scenario.link.labelled()}
        expected = {curves.LOOKS[label].label for label in named if label in factors}
        assert expected <= set(labels) <= expected | {curves.PUBLISHED}
        title = figure.legends[-1].get_title().get_text()
        assert (title == "") == (len(factors) > 2)
        for axes in figure.axes:
            low, high = axes.get_ylim()
            assert all(low <= y <= high for line in axes.lines for y in line.get_ydata() if y > 0)


@pytest.mark.parametrize("name", CURVES)
def test_verdicts_follow_the_rates(name):
    found = words(name, made_up(name, FACTORS))
    good = [claim for claim, word in found.items() if word == "holds"]
    swapped = {**FACTORS, "oampnet2": 1.0, "re-mimo": 2.0, "ep": 1.9, "kbest": 1.8, "epnet": 2.0}
    other = words(name, made_up(name, swapped))
    assert list(found) == list(other)
    unsure = words(name, made_up(name, FACTORS, error=3.0))
    assert set(unsure.values()) == {"undecided"}
    changed = [claim for claim in found if found[claim] != other[claim]]
    assert len(good) >= 2 and changed
    for claim in found:
        if "K-best" in claim and "fewer" in claim:
            assert (found[claim], other[claim]) == ("holds", "does not hold")
        if claim.startswith("RE-MIMO has fewer errors than OAMPNet-2"):
            assert (found[claim], other[claim]) == ("holds", "does not hold")
        if "half" in claim:
            assert found[claim] == "does not hold"


def test_what_was_not_measured_is_undecided_and_says_why():
    results = made_up("fig7", {key: value for key, value in FACTORS.items() if key != "re-mimo"})
    verdict = find_study("re-mimo/fig7").judge(results)[0]
    assert verdict.verdict == "undecided"
    assert "users-16: detector 're-mimo': no weights" in verdict.reason


def test_rates_of_few_errors_are_neither_drawn_nor_judged():
    results = made_up("fig12", FACTORS)
    for each in results.ended:
        for row in each.outcome.rows:
            row["errors"] = 3
    assert set(words("fig12", results).values()) == {"undecided"}
    with style.journal():
        figure = find_study("re-mimo/fig12").draw(results)
    assert not any(len(line.get_ydata()) for axes in figure.axes for line in axes.lines)


def test_the_loss_by_a_bad_estimate_is_compared_between_detectors():
    """All rates double: no difference at all. Where RE-MIMO's rises eightfold: |ln 4| is above the bound."""
    claim = next(iter(words("fig11", made_up("fig11", FACTORS))))
    assert words("fig11", made_up("fig11", FACTORS, error=0.01))[claim] == "holds"
    results = made_up("fig11", FACTORS, error=0.01)
    for each in results.ended:
        for row in each.outcome.rows:
            if row["algorithm"] == "re-mimo" and each.point.scenario.link.problem.csi_error:
                row["ser"] *= 4
                row["ser_error"] *= 4
    assert words("fig11", results)[claim] == "does not hold"


def test_channels_of_figure_13_are_orthogonal_between_sets_only():
    import torch

    problem = attention.GroupedProblem(n_rx=32, n_tx=12)
    batch = problem.sample(400, 16.0, generator=torch.Generator().manual_seed(1))
    gram = (batch.h.mH @ batch.h).abs()
    sets = torch.arange(12) // 4
    within = sets[:, None] == sets[None, :]
    assert gram[:, ~within].max() < 1e-5
    assert gram[:, within].mean() > 0.3
    assert gram.diagonal(dim1=-2, dim2=-1).mean() == pytest.approx(1.0, abs=0.03)


def test_figure_13_and_14_are_measured(tmp_path):
    for name, changes in (
        ("fig13", {"link.slots_max": 300, "link.detectors": ["ep", "kbest"]}),
        ("fig14", {"link.batch": 8, "link.detectors": ["lmmse", "ep", "kbest"]}),
    ):
        study = find_study(f"re-mimo/{name}")
        points = expand(read_scenario(find_scenario(study.scenario_name)), quick=True, overrides=changes)
        tasks = tasks_of(points, tmp_path, study.evaluate)
        results = Results(study.name, "quick", tasks, run_tasks(tasks))
        verdicts = study.judge(results)
        with style.journal():
            assert style.save(study.draw(results), tmp_path, name).stat().st_size > 10_000
        if name == "fig13":
            assert [verdict.verdict for verdict in verdicts] == ["undecided", "undecided"]
            for name_of_map in ("alignment", "posterior"):  # orthogonal sets: nothing is between them
                assert attention.within_sets(results, name_of_map, 0.0).value == pytest.approx(1.0, abs=1e-3)
        else:
            assert {verdict.verdict for verdict in verdicts} == {"undecided"}
            assert set(results.table["algorithm"]) == {"lmmse", "ep", "kbest"}
            assert (results.table["time_us"] > 0).all()


def test_times_are_judged_by_their_growth():
    study = find_study("re-mimo/fig14")
    points = points_of("fig14", quick=True)

    def verdicts(first: dict[int, float], second: dict[int, float]) -> list[str]:
        outcomes = [
            Outcome(
                "done",
                rows=tuple(
                    {"algorithm": label, "learned": True, "batch": 8, "time_us": found[users], "time_us_error": 0.1}
                    for label, found in (("re-mimo", first), ("oampnet2", second))
                ),
            )
            for users in (point.scenario.link.problem.n_tx for point in points)
        ]
        results = Results(study.name, "quick", tasks_of(points, Path("nowhere")), outcomes)
        return [verdict.verdict for verdict in times.judge(results)]

    assert verdicts({16: 50, 24: 70, 32: 90}, {16: 80, 24: 85, 32: 90}) == ["holds", "holds", "holds"]
    assert verdicts({16: 90, 24: 180, 32: 300}, {16: 20, 24: 40, 32: 60}) == ["does not hold"] * 3


def marked(results: Results, text: str, *names: str, case: str = "") -> Results:
    """The results, with what says that some networks were trained for another problem."""
    for each in results.ended:
        for row in each.outcome.rows:
            if row["algorithm"] in names and each.point.case.startswith(case):
                row["trained_otherwise"] = text
    return results


CHANNEL = "found correlated none; allowed: receive"


def test_what_other_weights_could_turn_is_undecided():
    """RE-MIMO at 1.3 of maximum likelihood, OAMPNet-2 at 1.5, or the other way round."""
    study = find_study("re-mimo/fig7")
    worse = {**FACTORS, "re-mimo": 2.6, "amp": 2.0}

    def verdicts(factors, *names, case=""):
        results = marked(made_up("fig7", factors), CHANNEL, *names, case=case)
        return [verdict for verdict in study.judge(results) if verdict.claim.startswith(("One RE-MIMO", "RE-MIMO"))]

    assert [verdict.verdict for verdict in verdicts(worse)] == ["does not hold"] * 2
    blurred = verdicts(worse, "re-mimo")
    assert [verdict.verdict for verdict in blurred] == ["undecided"] * 2
    assert all(f"RE-MIMO was trained for another problem ({CHANNEL})" in verdict.reason for verdict in blurred)
    assert all("its weights may be why it does not" in verdict.reason for verdict in blurred)
    assert [verdict.verdict for verdict in verdicts(worse, "re-mimo", case="users-16")] == ["does not hold"] * 2
    held = verdicts(FACTORS, "re-mimo")  # in spite of its weights
    assert [verdict.verdict for verdict in held] == ["holds"] * 2 and CHANNEL in held[0].reason
    assert [verdict.verdict for verdict in verdicts(FACTORS, "oampnet2")] == ["undecided", "holds"]


def test_numbers_of_users_beyond_training_are_what_figure_12_is_about():
    factors = {**FACTORS, "re-mimo": 3.0}
    claim = "Far beyond those that it was trained for (16 to 32), RE-MIMO has more errors than OAMPNet-2."
    for text, word in (("found n_tx 36; allowed: 16 to 32", "holds"), (CHANNEL, "undecided")):
        assert words("fig12", marked(made_up("fig12", factors), text, "re-mimo"))[claim] == word


def test_losses_of_networks_for_other_channels_are_not_judged():
    found = words("fig11", marked(made_up("fig11", FACTORS, error=0.01), CHANNEL, "re-mimo"))
    assert list(found.values())[:2] == ["undecided", "holds"]
    verdicts = find_study("re-mimo/fig11").judge(made_up("fig11", FACTORS, error=0.01))
    assert [verdict.numbers[0].one_training for verdict in verdicts[:2]] == [True, False]
    assert verdicts[0].numbers[0].value == pytest.approx(math.log(1.5))


@pytest.mark.parametrize("name", ["fig7", "fig9", "fig11", "fig12", "fig13"])
def test_results_without_any_rate_leave_all_undecided(name):
    points = points_of(name, quick=True)
    outcomes = [Outcome("done", rows=({"algorithm": "re-mimo", "note": "detector 're-mimo': no weights"},))] * len(
        points
    )
    assert set(words(name, Results(name, "quick", tasks_of(points, Path("nowhere")), outcomes)).values()) == {
        "undecided"
    }


def test_the_advantage_is_that_at_one_error_rate():
    """RE-MIMO has 1.3 / 1.5 of the errors at every SNR; at a rate that was not measured nothing is known."""
    results = made_up("fig10", FACTORS)
    found = curves.advantage(results, "rho-0.7-users-16", "re-mimo", "oampnet2", 1e-2)
    assert found.value == pytest.approx(0.2 / 1.5)
    assert not curves.advantage(results, "rho-0.7-users-16", "re-mimo", "oampnet2", 1e-9).known
    results = made_up("fig10", FACTORS)
    for each in results.ended:  # the part avoided grows with ln of the rate
        for row in each.outcome.rows:
            if row["algorithm"] == "re-mimo":
                row["minus oampnet2"] = -row["ser"] * math.log(row["ser"] * 1.5 / 1.3 / 1e-2) * 1.5 / 1.3
    for case in results.cases:
        assert curves.advantage(results, case, "re-mimo", "oampnet2", 1e-2).value == pytest.approx(0.0, abs=1e-9)


def test_attention_is_that_to_others():
    """All alike, whatever the share of oneself: not above chance. All to the own set: above, and the only one."""
    import torch

    study = find_study("re-mimo/fig13")
    points = points_of("fig13", quick=True)

    def verdicts(maps, text=""):
        rows = [
            *attention._rows("attention", maps),
            {"algorithm": "re-mimo", "snr_db": 16.0, "trained_otherwise": text},
        ]
        results = Results(study.name, "quick", tasks_of(points, Path("nowhere")), [Outcome("done", rows=tuple(rows))])
        return [verdict.verdict for verdict in study.judge(results)]

    noise = 0.01 * torch.rand((400, 9, 9), generator=torch.Generator().manual_seed(1))
    alike = noise + 1 + 50 * torch.eye(9)
    sets = torch.arange(9) // 3
    own = noise + 10.0 * (sets[:, None] == sets)
    assert verdicts(own) == ["holds", "holds"] == verdicts(own, CHANNEL)
    assert verdicts(alike)[0] == "does not hold" and verdicts(alike)[1] != "holds"
    assert verdicts(alike, CHANNEL) == ["undecided", "undecided"]
    assert attention._rows("attention", alike)[0]["others_alike"] == pytest.approx(2 / 8)
