"""Results: the table, means over seeds, and differences that are paired over realisations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cellfree_sim.results import RunFolder
from cellfree_sim.studies.results import Results, _mean
from cellfree_sim.studies.verdicts import Number, positive

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
    assert math.isnan(_mean("x", {}).value)


def test_a_claim_holds_and_falls_beyond_two_standard_errors_only() -> None:
    sure, unsure, against = Number("a", 1.0, 0.4), Number("b", 1.0, 0.6), Number("c", -1.0, 0.4)
    assert positive("x", [sure]).verdict == "holds"
    assert positive("x", [sure, unsure]).verdict == "undecided"
    assert positive("x", [sure, unsure, against]).verdict == "does not hold"
    assert positive("x", [sure, Number("d", math.nan, math.nan)]).verdict == "undecided"
    assert positive("x", []).verdict == "undecided"
    assert positive("x", [Number("exact", 1e-9)]).verdict == "holds"
