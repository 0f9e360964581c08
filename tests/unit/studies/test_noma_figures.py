"""SICNN's and Mul-VAE's figures on made-up error rates: drawn, and judged as the rates were made for."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import pytest

from cellfree_sim.results.figures import style
from cellfree_sim.scenario import expand, find_scenario, read_scenario
from cellfree_sim.studies import Results, find_study
from cellfree_sim.studies.mul_vae import ablations, curves
from cellfree_sim.studies.points import Outcome
from cellfree_sim.studies.runner import tasks_of
from cellfree_sim.studies.sicnn import curves as sicnn
from cellfree_sim.studies.training import trained_once

SICNN = ["sicnn/fig6", "sicnn/fig7", "sicnn/fig8", "sicnn/fig9"]
TRAINED = ["mul-vae/fig6", "mul-vae/fig7", "mul-vae/fig8"]
ALL = [*SICNN, *TRAINED, "sicnn/fig10", "sicnn/fig11", "mul-vae/fig9", "mul-vae/fig10"]
NUMBERED = [*ALL, "sicnn/table3", "sicnn/table4", "sicnn/fig5", "mul-vae/table1", "mul-vae/fig5"]
FACTORS = {  # of exact detection's error rate
    "QNN + SICNN": 2.0, "WBE + SICNN": 2.4, "unquantised + SICNN": 2.0, "QNN + SIC": 3.0, "unquantised + SIC": 3.0,
    "WBE + SIC": 3.5, "MUSA + SIC": 4.0, "QNN + MF": 8.0, "WBE + MF": 9.0, "MUSA + MF": 10.0,
    "QNN + SIC by reliability": 2.8, "searched + SIC by reliability": 1.7, "WBE + SIC by reliability": 1.9,
    "MUSA + SIC by reliability": 3.0, "WBE + oracle LS": 7.0, "WBE + K-best": 1.0, "QNN + K-best": 1.0,
    "QNN + MAP": 1.0,
    "without": 5.0, "as printed": 6.0, "conditional": 4.0,
    "SICNN as published": 4.0, "SICNN with MMSE": 2.0, "FCNN": 6.0,
    "with attention": 4.0, "with sluices": 4.0, "prioritised": 4.0, "SCMA + MPA": 1.5, "SCMA + MAP": 1.5,
    "Mul-VAE": 1.2, "E2E": 2.5, "learned code + PDA net": 1.1, "MAP-trained + MAP": 1.0,
    "mu = −1, gamma = 2": 2.0, "mu = −1, gamma = 4": 3.0, "mu = 1, gamma = 2": 2.2,
}  # fmt: skip
RATES = ("ber", "bler_1", "bler_2")


@cache
def points_of(name: str):
    """The points of a study's scenario at quick scale."""
    return expand(read_scenario(find_scenario(find_study(name).scenario_name)), quick=True)


def rate_rows(link, factors, error, spread=0.0):
    """What `measure` gives, for rates of `factors` times a falling base; users' rates are spread by `spread`."""
    labels = [each.label for each in link.schemes if each.label in factors]
    learned = {each.label: each.training is not None for each in link.schemes}
    for snr_db in link.snr_db:
        rates = {label: min(factors[label] * 0.02 * 10 ** (-snr_db / 20), 0.9) for label in labels}
        for label, rate in rates.items():
            row = {"algorithm": label, "learned": learned[label], "trained_otherwise": "", "snr_db": float(snr_db)}
            row |= {"slots": 1000, "errors": 1000, "cpu_us_per_slot": 10.0 * factors[label]}
            for name in RATES:
                row |= {name: rate, f"{name}_error": error * rate}
                for other, theirs in rates.items():
                    if other != label:
                        row[f"{name} minus {other}"] = rate - theirs
                        row[f"{name} minus {other}, error"] = error * max(rate, theirs)
            wide = spread if isinstance(spread, float) else spread.get(label, 0.0)
            for user in range(link.problem.users):
                row[f"ber_user_{user}"] = rate * (1 + wide * (-1) ** user)
            yield row


def curve_rows(link, factors):
    """Training curves that fall to the factor."""
    for each in link.schemes:
        if each.training is not None and each.label in factors:
            for iteration in range(10, 310, 10):
                value = 0.01 * factors[each.label] * (1 + 300 / iteration)
                yield {"algorithm": each.label, "iteration": iteration, "loss": value, "training_ser": value}


def made_up(name, factors=FACTORS, error=0.02, spread=0.0, more=lambda link, seed: ()):
    """Results of a study with such rates and curves, and `more` rows."""
    points, outcomes = points_of(name), []
    for point in points:
        link = point.scenario.link
        rows = [*rate_rows(link, factors, error, spread), *curve_rows(link, factors), *more(link, point.seed)]
        rows += [
            {"algorithm": each.label, "note": f"'{each.label}': no weights"}
            for each in link.schemes
            if each.label not in factors
        ]
        outcomes.append(Outcome("done", rows=tuple(rows)))
    return Results(name, "quick", tasks_of(points, Path("nowhere")), outcomes)


def words(results):
    return {verdict.claim: verdict.verdict for verdict in find_study(results.name).judge(results)}


def drawn(results):
    with style.journal():
        return find_study(results.name).draw(results)


@pytest.mark.parametrize("name", NUMBERED)
def test_what_a_scheme_is_called_is_what_it_is(name):
    """MMSE-SIC goes by SINR as published, and by reliability only where that is said; no label comes twice."""
    for quick in (True, False):
        for point in expand(read_scenario(find_scenario(f"papers/{name}")), quick=quick):
            schemes = point.scenario.link.schemes
            assert len({each.label for each in schemes}) == len(schemes)
            for each in schemes:
                if each.detector.name == "mmse-sic" and "SIC" in each.label.replace("SICNN", ""):
                    assert each.detector.order == ("reliability" if "reliability" in each.label else "sinr")
                if each.training is not None:
                    problem = point.scenario.link.problem
                    for key in ("users", "resources", "rates", "activity", "channel", "energy"):
                        assert getattr(each.training, key) == getattr(problem, key)


@pytest.mark.parametrize("name", ALL)
def test_figures_are_drawn_with_a_line_for_each_scheme_that_was_measured(name):
    labels = {each.label for point in points_of(name) for each in point.scenario.link.schemes}
    looks = {
        **sicnn.SIGNATURES, **sicnn.RECEIVERS, **curves.LOOKS, **curves.FIRST,
    } if "fig10" in name or "fig9" in name or name in SICNN else {}  # fmt: skip
    few = [{label: FACTORS[label] for label in sorted(labels)[:2]}] if name in ("sicnn/fig7", "mul-vae/fig6") else []
    for factors in (*few, FACTORS):
        figure = drawn(made_up(name, factors))
        shown = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
        expected = {looks[label].label for label in labels & set(factors) if label in looks}
        assert expected <= shown or name == "sicnn/fig10"
        assert all(axes.get_xlabel() for axes in figure.axes)
    assert any(len(line.get_ydata()) for axes in figure.axes for line in axes.lines)


EXPECTED = {  # words of the claims, in their order, for FACTORS; and what turns some of them
    "sicnn/fig6": (["holds"] * 4, {"QNN + SIC": 12.0, "WBE + K-best": 9.0},
                   ["does not hold", "does not hold", "does not hold", "does not hold"]),
    "sicnn/fig7": (["holds"] * 4, {"QNN + SIC": 1.0, "QNN + K-best": 3.0},
                   ["holds", "does not hold", "holds", "does not hold"]),
    "sicnn/fig8": (["holds"] * 3 + ["does not hold"] + ["holds"] * 3, {"QNN + SICNN": 0.9, "WBE + oracle LS": 0.5},
                   ["holds", "holds", "holds", "holds", "holds", "does not hold", "holds"]),
    "sicnn/fig9": (["holds"] * 5, {"QNN + SICNN": 5.0},
                   ["does not hold", "does not hold", "holds", "does not hold", "holds"]),
    "sicnn/fig11": (["holds", "holds", "holds", "does not hold"], {"FCNN": 3.0, "SICNN with MMSE": 4.5},
                    ["does not hold", "does not hold", "does not hold", "does not hold"]),
    "mul-vae/fig6": (["holds", "holds", "holds", "holds"], {"without": 3.0, "SCMA + MPA": 9.0},
                     ["does not hold", "does not hold", "does not hold", "does not hold"]),
    "mul-vae/fig7": (["holds", "holds", "holds", "holds"], {"without": 9.0, "SCMA + MPA": 9.0},
                     ["holds", "does not hold", "holds", "does not hold"]),
    "mul-vae/fig8": (["holds"] * 5, {"as printed": 3.0}, ["holds"] * 4 + ["does not hold"]),
    "mul-vae/fig9": (["holds"] * 7, {"Mul-VAE": 3.0, "E2E": 1.4, "SCMA + MPA": 1.8},
                     ["does not hold"] * 4 + ["holds", "holds", "does not hold"]),
    "mul-vae/fig10": (["holds"] * 3, {"mu = −1, gamma = 2": 4.0}, ["does not hold"] * 3),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_verdicts_follow_the_rates(name):
    first, changes, second = EXPECTED[name]
    factors = {**FACTORS, "without": 4.5} if name in TRAINED else FACTORS
    assert list(words(made_up(name, factors)).values()) == first
    assert list(words(made_up(name, {**factors, **changes})).values()) == second
    if name in ("sicnn/fig8", "mul-vae/fig10"):
        assert set(words(made_up(name, factors, error=3.0)).values()) == {"undecided"}


def test_fairness_is_jains_index_of_the_users():
    """Rates r (1 ± s) have the index 1 / (1 + s^2)."""
    spread = {"without": 0.3, "as printed": 0.5, "conditional": 0.1}
    results = made_up("sicnn/fig10", spread=spread)
    from cellfree_sim.studies.sicnn.training import jain

    for label, wide in spread.items():
        for found in jain(results, label).values():
            assert found == pytest.approx([1 / (1 + wide**2)] * 3)
    assert list(words(results).values()) == ["does not hold", "does not hold", "holds", "holds", "holds"]


def test_what_was_not_measured_is_undecided_and_says_why():
    results = made_up("sicnn/fig8", {key: value for key, value in FACTORS.items() if key != "QNN + SICNN"})
    verdict = find_study("sicnn/fig8").judge(results)[0]
    assert verdict.verdict == "undecided" and "'QNN + SICNN': no weights" in verdict.reason


def test_rates_of_few_errors_are_neither_drawn_nor_judged():
    """Eight errors have a relative error of 1 / sqrt 8, rates with a larger one are left out."""
    results = made_up("mul-vae/fig9", error=0.4)
    assert set(words(results).values()) == {"undecided"}
    assert not any(len(line.get_ydata()) for axes in drawn(results).axes for line in axes.lines)


def code_rows(correlations, pairs=0.3, seldom=0.5):
    def more(link, seed):
        for label in [each.label for each in link.schemes]:
            scatter = 1e-4 * seed if label == "QNN" else 0.0
            yield {"algorithm": label, "cross_correlation": correlations.get(label, 0.037) + scatter}
            for user in range(6):
                for other in range(6):
                    size = 1.0 if user == other else pairs if min(user, other) < 3 else seldom
                    yield {"algorithm": label, "user": user, "other": other, "correlation": size}

    return more


def test_correlations_are_judged_by_the_scatter_of_trainings():
    labels = dict.fromkeys(("QNN", "WBE", "MUSA", "quantised WBE", "searched", "Grassmannian"), 1.0)
    published = {"QNN": 0.0308, "WBE": 0.0367, "MUSA": 0.0373, "quantised WBE": 0.0401, "searched": 0.0283}
    results = made_up("sicnn/table3", labels, more=code_rows(published))
    assert list(words(results).values()) == ["holds"] * 5
    third = find_study("sicnn/table3").judge(results)[1].numbers[0]
    assert third.value == pytest.approx(0.0367 - 0.0310) and third.error == pytest.approx(1e-4 / math.sqrt(3))
    near = made_up("sicnn/table3", labels, more=code_rows({**published, "QNN": 0.0366, "WBE": 0.0370}))
    assert list(words(near).values())[:2] == ["does not hold", "undecided"]
    assert len(drawn(results).axes[0].get_yticklabels()) == 6
    maps = made_up("sicnn/fig5", labels, more=code_rows(published))
    assert list(words(maps).values()) == ["holds"] and len(drawn(maps).axes) == 4
    assert list(words(made_up("sicnn/fig5", labels, more=code_rows({}, 0.5, 0.3))).values()) == ["does not hold"]


def test_times_are_judged_by_their_ratios():
    factors = {"MMSE-SIC": 1.0, "SIC by reliability": 1.1, "SICNN as published": 5.0, "SICNN with MMSE": 6.0}
    factors |= {"FCNN": 2.0, "K-best": 3.0, "MAP": 9.0}
    results = made_up("sicnn/table4", factors)
    assert list(words(results).values()) == ["holds", "does not hold", "holds"]
    bars = [text.get_text() for text in drawn(results).axes[0].get_yticklabels()]
    assert bars == sorted(factors, key=factors.get)


def test_multiplications_are_the_printed_ones_but_for_one():
    """2 N^3 K + 4 N^2 K + 2 N K for 500 users on 4 resources is 1.004e9 where 1.01e9 is printed."""
    results = made_up("mul-vae/table1", {"MMSE-SIC": 1.0, "MPA": 2.0, "MAP": 3.0, "Mul-VAE": 1.5})
    first, *others = find_study("mul-vae/table1").judge(results)
    wrong = [number.what for number in first.numbers if number.value < 0]
    assert first.verdict == "does not hold" and len(wrong) == 1 and wrong[0].endswith("MMSE-SIC, N = 500")
    assert [verdict.verdict for verdict in others] == ["holds", "holds"]
    assert ablations.multiplications([1] * 500)["MMSE-SIC"] == pytest.approx(1.004e9, rel=1e-3)
    assert len(drawn(results).axes[1].lines) == 4


def test_constellations_are_those_of_the_first_seed():
    def more(link, seed):
        for each in link.schemes:
            for user in range(6):
                for message in range(2):
                    for resource in range(4):
                        at = {"user": user, "message": message, "resource": resource}
                        yield {"algorithm": each.label, **at, "real": 1.0 - 2 * message, "imag": 0.0}

    results = made_up("mul-vae/fig5", {}, more=more)
    assert list(words(results).values()) == ["holds", "holds"]
    figure = drawn(results)
    assert len(figure.axes) == 8 and figure.axes[0].get_ylabel() == "Mul-VAE\nquadrature"


def test_equal_trainings_are_done_once(tmp_path, monkeypatch):
    monkeypatch.setenv("CELLFREE_CACHE_DIR", str(tmp_path / "cache"))
    scenario = points_of("sicnn/fig8")[0].scenario
    training = scenario.link.schemes[1].training.model_copy(update={"iterations": 1, "batch": 4})
    first, path = trained_once(training, scenario, tmp_path / "other")
    written = path.stat().st_mtime_ns
    second, again = trained_once(training, scenario, tmp_path / "other")
    assert again == path and path.stat().st_mtime_ns == written and path.is_relative_to(tmp_path / "cache")
    assert all((first.weights[key] == second.weights[key]).all() for key in first.weights)
    other = trained_once(training, scenario.model_copy(update={"seed": 7}), tmp_path / "other")[1]
    assert other != path
    path.write_bytes(b"damaged")
    assert trained_once(training, scenario, tmp_path / "other")[1] == path and path.stat().st_size > 100
    (tmp_path / "file").touch()
    monkeypatch.setenv("CELLFREE_CACHE_DIR", str(tmp_path / "file"))
    assert trained_once(training, scenario, tmp_path / "other")[1] == tmp_path / "other"
