"""Results: the table, means over seeds, and differences that are paired over realisations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cellfree_sim.results import RunFolder
from cellfree_sim.studies.results import Results, _mean
from cellfree_sim.studies.verdicts import Number, positive, surely_below

AT = {"network.users.count": 4}


def sums(results: Results, case: str, seed: int, algorithm: str) -> np.ndarray:
    """Sum rates of a run at `AT`, read from its file alone."""
    (folder,) = {
        each.folder for each in results.ended
        if each.point.case == case and each.point.seed == seed and dict(each.point.at) == AT
    }  # fmt: skip
    rates = RunFolder(folder).rates()
    return rates[rates["algorithm"] == algorithm].groupby("realisation")["rate"].sum().to_numpy()


def test_a_difference_is_paired_over_the_realisations_of_each_seed(tiny_results: Results) -> None:
    gaps = [
        sums(tiny_results, "learned", seed, "dmtssl") - sums(tiny_results, "learned", seed, "gsa-zf") for seed in (1, 2)
    ]
    means = [gap.mean() for gap in gaps]
    between = abs(means[0] - means[1]) / 2  # standard error of two means
    within = math.sqrt(sum(gap.var(ddof=1) / len(gap) for gap in gaps)) / 2
    found = tiny_results.difference("learned", "gsa-zf", AT)
    assert found.value == pytest.approx(np.mean(means), rel=1e-12)
    assert found.error == pytest.approx(max(between, within), rel=1e-12)


def test_a_reference_is_found_in_whichever_case_ran_it(tiny_results: Results) -> None:
    other = tiny_results.difference("bare", "gsa-zf", AT)
    own = np.mean([sums(tiny_results, "bare", seed, "dmtssl").mean() for seed in (1, 2)])
    reference = np.mean([sums(tiny_results, "learned", seed, "gsa-zf").mean() for seed in (1, 2)])
    assert other.value == pytest.approx(own - reference, rel=1e-12)
    assert math.isnan(tiny_results.difference("bare/gsa-zf", "bare", AT).value)


def test_the_table_has_a_row_for_each_point_and_algorithm(tiny_results: Results) -> None:
    table = tiny_results.table
    assert len(table) == 4 * 2 + 4
    assert list(table.columns[:5]) == ["case", "network.users.count", "seed", "algorithm", "learned"]
    rows = table[(table["case"] == "learned") & (table["seed"] == 2) & (table["network.users.count"] == 4)]
    rate = rows.set_index("algorithm")["sum_rate"]
    assert rate["gsa-zf"] == pytest.approx(sums(tiny_results, "learned", 2, "gsa-zf").mean())
    learned = rows[rows["learned"]].iloc[0]
    assert learned["training_bytes"] > 0 and learned["steps"] == 4
    assert set(table["status"]) == {"done"}


def test_a_curve_follows_the_grid(tiny_results: Results) -> None:
    curve = tiny_results.curve("gsa-zf", "network.users.count")
    assert curve["at"].tolist() == [3, 4]
    assert curve["mean"].tolist() == [tiny_results.sum_rate("gsa-zf", {"network.users.count": n}).value for n in (3, 4)]
    steps = tiny_results.curve("learned", "network.users.count", "steps")
    assert steps["mean"].tolist() == [4, 4]


def test_the_error_of_agreeing_seeds_is_that_within_them() -> None:
    values = {1: np.array([0.0, 2.0]), 2: np.array([0.5, 1.5])}
    found = _mean("x", values)
    assert found.value == 1.0
    assert found.error == pytest.approx(math.sqrt(1.0**2 + 0.5**2) / 2)
    assert found.seeds == 0
    assert math.isnan(_mean("x", {}).value)


def test_the_error_of_seeds_that_scatter_is_told_with_their_number() -> None:
    found = _mean("x", {1: np.array([0.0, 0.2]), 2: np.array([3.0, 3.2]), 3: np.array([6.0, 6.2])})
    assert found.error == pytest.approx(3 / math.sqrt(3)) and found.seeds == 3


def test_an_error_that_nothing_tells_is_not_known() -> None:
    single = {1: np.array([5.0])}
    assert math.isnan(_mean("x", single).error) and _mean("x", single).sign == 0
    assert _mean("bytes", single, unknown=0.0).sign == 1
    assert _mean("x", {}, unknown=0.0).sign == 0


def test_columns_of_one_seed_are_exact_only_where_nothing_in_them_is_random(tiny_results: Results) -> None:
    one = Results("tiny", "full", [], [])
    one.ended = [each for each in tiny_results.ended if each.point.seed == 1]
    assert one.column("training_bytes", "learned", AT).error == 0
    assert math.isnan(one.column("power_violation", "learned", AT).error)
    assert one.column("power_violation", "learned", AT, exact=True).error == 0
    assert math.isnan(one.column("no such column", "learned", AT, exact=True).value)


def test_one_training_is_told_of_what_was_trained_only(tiny_results: Results) -> None:
    one = Results("tiny", "full", [], [])
    one.ended = [each for each in tiny_results.ended if each.point.seed == 1]
    assert one.sum_rate("learned", AT).one_training and one.difference("learned", "gsa-zf", AT).one_training
    assert not one.sum_rate("gsa-zf", AT).one_training and not one.column("training_bytes", "learned", AT).one_training
    assert not tiny_results.sum_rate("learned", AT).one_training
    sentence = "without the scatter of training"
    assert sentence in positive("x", [one.sum_rate("learned", AT)]).reason
    assert sentence not in positive("x", [one.sum_rate("gsa-zf", AT)]).reason


@pytest.mark.parametrize("seeds", [2, 3, 4, 8])
def test_few_seeds_need_as_many_errors_as_student_says(seeds: int) -> None:
    """Against draws: where there is nothing, 4.55 % of what seeds give is beyond, as with many drops."""
    draws = np.random.default_rng(1).normal(size=(100_000, seeds))
    ratio = np.abs(draws.mean(1)) / (draws.std(1, ddof=1) / math.sqrt(seeds))
    found = Number("x", 1.0, 1.0, seeds=seeds)
    assert (ratio > found.errors_needed).mean() == pytest.approx(0.0455, abs=0.003)
    chance = Number("x", -1.5, 1.0, seeds=seeds).chance
    assert chance == pytest.approx((ratio > 1.5).mean() / 2, abs=0.004)


def test_chance_alone_seldom_makes_one_of_many_numbers_speak_against_a_claim() -> None:
    draws = np.random.default_rng(2).normal(size=(1000, 30))
    words = [positive("x", [Number("y", value, 1.0) for value in row]).verdict for row in draws]
    assert words.count("does not hold") / len(words) == pytest.approx(0.0228, abs=0.015)
    assert sum(any(value < -2 for value in row) for row in draws) > 400  # what it would be without correction


def test_holms_steps_against_their_definition() -> None:
    numbers = [Number(str(value), value, 1.0) for value in (-2.2, -2.4, 1.0, -4.0, math.nan)]
    assert [number.what for number in surely_below(numbers)] == ["-2.4", "-4.0"][1:]
    numbers = [Number(str(value), value, 1.0) for value in (-2.45, -2.3, -4.0)]
    assert [number.what for number in surely_below(numbers)] == ["-2.45", "-2.3", "-4.0"]


def test_a_claim_holds_and_falls_beyond_two_standard_errors_only() -> None:
    sure, unsure, against = Number("a", 1.0, 0.4), Number("b", 1.0, 0.6), Number("c", -1.0, 0.4)
    assert positive("x", [sure]).verdict == "holds"
    assert positive("x", [sure, unsure]).verdict == "undecided"
    assert positive("x", [sure, unsure, against]).verdict == "does not hold"
    near = replace(against, error=0.45)
    assert positive("x", [near]).verdict == "does not hold"
    assert positive("x", [sure, unsure, near]).verdict == "undecided"  # one of three is there by chance soon
    assert "by itself below zero, but not as one of 3: c" in positive("x", [sure, unsure, near]).reason
    assert "2 seeds scatter" in positive("x", [replace(sure, seeds=2)]).reason
    assert positive("x", [sure, Number("d", math.nan, math.nan)]).verdict == "undecided"
    assert positive("x", []).verdict == "undecided"
    assert positive("x", [Number("exact", 1e-9)]).verdict == "holds"
