"""Distributions over the held-out realisations: rates of users, sum rates, and paired differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.results.analysis import RunData, outcomes, sum_rates
from cellfree_sim.results.figures import style
from cellfree_sim.results.formats import algorithm_label, mean_and_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

CONFIDENCE_95 = 1.96  # of a normal mean, in standard errors
POINTS_DRAWN = 400


def draw_cdf(run: RunData) -> Figure | None:
    """Empirical distributions of (a) the users' rates and (b) the sum rate; None without held-out rates."""
    found = outcomes(run)
    if not found:
        return None
    names = [outcome.algorithm for outcome in found]
    styles = style.algorithm_styles(names, run.algorithm)
    figure, (users, sums) = style.new_figure(style.PAGE_IN, 2.6, 1, 2)
    for name in names:
        _cdf(users, run.rates.loc[run.rates["algorithm"] == name, "rate"].to_numpy(float), styles[name])
    table = sum_rates(run.rates)
    for name in names:
        _cdf(sums, table[name].dropna().to_numpy(float), styles[name], name=algorithm_label(name))
    _rate_axis(users, run)
    users.set_xlabel("rate of a user (bit/s/Hz)")
    users.set_ylabel("share of users at or below")
    sums.set_xlabel("sum rate of a realisation (bit/s/Hz)")
    sums.set_ylabel("share of realisations at or below")
    sums.set_xlim(left=0)
    style.panel_letter(users, "a", "users")
    style.panel_letter(sums, "b", "realisations")
    for axes in (users, sums):
        axes.set_ylim(0, 1.005)
        axes.grid()
    figure.legend(*sums.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(names), 6))
    return figure


def draw_paired(run: RunData) -> Figure | None:
    """Sum rate of the learned algorithm minus that of each reference on the same realisations; None without either."""
    found = outcomes(run)
    references = [outcome for outcome in found if not outcome.learned and np.isfinite(outcome.difference)]
    if not references:
        return None
    table = sum_rates(run.rates)
    styles = style.algorithm_styles([outcome.algorithm for outcome in found], run.algorithm)
    figure, axes = style.new_figure(style.COLUMN_IN, 0.8 + 0.5 * len(references))
    jitter = np.random.default_rng(0)
    for row, outcome in enumerate(references):
        gaps = (table[run.algorithm] - table[outcome.algorithm]).dropna().to_numpy(float)
        shown = gaps[np.linspace(0, len(gaps) - 1, min(len(gaps), POINTS_DRAWN)).astype(int)]
        colour = styles[outcome.algorithm]["color"]
        heights = row + jitter.uniform(-0.17, 0.17, len(shown))
        axes.scatter(shown, heights, s=5, color=colour, alpha=0.35, linewidths=0, rasterized=len(shown) > 200)
        half = CONFIDENCE_95 * outcome.difference_se
        axes.errorbar(
            outcome.difference, row, xerr=half if np.isfinite(half) else None, fmt="D", markersize=4, color=style.BLACK,
            markeredgecolor="white", markeredgewidth=0.5, elinewidth=1.4, capsize=2.5, zorder=4,
        )  # fmt: skip
        text = mean_and_error(outcome.difference, half, signed_mean=True)
        axes.annotate(
            text, xy=(outcome.difference, row - 0.2), xytext=(0, 1.5), textcoords="offset points", fontsize=6.5,
            ha="center", va="bottom", zorder=5,
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip
    axes.axvline(0, color=style.BLACK, linewidth=0.8)
    axes.set_yticks(range(len(references)), [f"over {algorithm_label(outcome.algorithm)}" for outcome in references])
    axes.set_ylim(len(references) - 0.6, -0.65)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"sum rate gained by {algorithm_label(run.algorithm)} (bit/s/Hz)")
    axes.grid(axis="x")
    return figure


def _cdf(axes: Axes, values: NDArray[np.float64], look: dict[str, Any], name: str | None = None) -> None:
    ordered = np.sort(values)
    shares = np.arange(1, len(ordered) + 1) / len(ordered)
    if len(ordered) > 2000:  # a line of 2000 points looks the same, and keeps the vector file small
        kept = np.unique(np.linspace(0, len(ordered) - 1, 2000).astype(int))
        ordered, shares = ordered[kept], shares[kept]
    axes.plot(
        np.concatenate([ordered[:1], ordered]),
        np.concatenate([[0.0], shares]),
        drawstyle="steps-post",
        label=name,
        **look,
    )


def _rate_axis(axes: Axes, run: RunData) -> None:
    """Logarithmic from a tenth of the smallest rate that matters, so that the minimum rate can be seen."""
    rates = run.rates["rate"].to_numpy(float)
    highest = max(float(rates.max()), 1e-6)
    lowest = (run.min_rate or 0.01 * highest) / 10
    if lowest < highest:
        axes.set_xscale("log")
        axes.set_xlim(lowest, 1.15 * highest)
    if run.min_rate:
        axes.axvline(run.min_rate, color=style.BLACK, linewidth=0.8)
        axes.annotate(
            f"minimum rate {run.min_rate:g}", xy=(run.min_rate, 1), xycoords=axes.get_xaxis_transform(),
            xytext=(0, 3), textcoords="offset points", ha="left", va="bottom", fontsize=6.5,
        )  # fmt: skip
