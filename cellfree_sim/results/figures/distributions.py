"""Distributions over the held-out realisations: rates of users, sum rates, and paired differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.results.analysis import CONFIDENCE_95, RunData, outcomes, share_below, sum_rates, user_rates
from cellfree_sim.results.figures import style
from cellfree_sim.results.formats import algorithm_label, mean_and_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

POINTS_DRAWN = 400
BAND_POINTS = 200


def draw_cdf(run: RunData) -> Figure | None:
    """Empirical distributions of (a) the users' rates and (b) the sum rate; None without held-out rates."""
    found = outcomes(run)
    if not found:
        return None
    names = [outcome.algorithm for outcome in found]
    styles = style.algorithm_styles(names, run.algorithm)
    figure, (users, sums) = style.new_figure(style.PAGE_IN, 2.6, 1, 2)
    for name in names:
        of_users = user_rates(run.rates, name)
        for axes, values in ((users, of_users), (sums, of_users.sum(axis=1, keepdims=True))):
            draw_distribution(axes, values, algorithm_label(name), styles[name])
    rate_axis(users, float(run.rates["rate"].max()), run.min_rate)
    name_panels(users, sums)
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
    gains = []
    for outcome in references:
        gaps = (table[run.algorithm] - table[outcome.algorithm]).dropna().to_numpy(float)
        name = f"over {algorithm_label(outcome.algorithm)}"
        gains.append((name, gaps, outcome.difference, outcome.difference_se, styles[outcome.algorithm]["color"]))
    return draw_gains(gains, f"sum rate gained by {algorithm_label(run.algorithm)} (bit/s/Hz)")


def draw_gains(gains: Sequence[tuple[str, NDArray[np.float64], float, float, Any]], label: str) -> Figure:
    """Differences of each realisation as dots, a row for each of (name, differences, mean, standard error, colour)."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = style.new_figure(style.COLUMN_IN, 0.9 + 0.5 * len(gains))
    jitter = np.random.default_rng(0)
    for row, (_, gaps, mean, error, colour) in enumerate(gains):
        shown = gaps[np.linspace(0, len(gaps) - 1, min(len(gaps), POINTS_DRAWN)).astype(int)]
        heights = row + jitter.uniform(-0.17, 0.17, len(shown))
        axes.scatter(shown, heights, s=5, color=colour, alpha=0.35, linewidths=0, rasterized=len(shown) > 200)
        half = CONFIDENCE_95 * error
        axes.errorbar(
            mean, row, xerr=half if np.isfinite(half) else None, fmt="D", markersize=4, color=style.BLACK,
            markeredgecolor="white", markeredgewidth=0.5, elinewidth=1.4, capsize=2.5, zorder=4,
        )  # fmt: skip
        axes.annotate(
            mean_and_error(mean, half, signed_mean=True), xy=(mean, row - 0.2), xytext=(0, 1.5),
            textcoords="offset points", fontsize=6.5, ha="center", va="bottom", zorder=5,
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip
    axes.axvline(0, color=style.BLACK, linewidth=0.8)
    axes.set_yticks(range(len(gains)), [name for name, *_ in gains])
    axes.set_ylim(len(gains) - 0.6, -0.65)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(label)
    axes.grid(axis="x")
    return figure


def draw_distribution(axes: Axes, values: NDArray[np.float64], name: str, look: dict[str, Any]) -> None:
    """The empirical distribution function of `values` [realisation, user] with its 95 % band."""
    ordered = np.sort(values, axis=None)
    shares = np.arange(1, len(ordered) + 1) / len(ordered)
    if len(ordered) > 1000:  # a line of 1000 points looks the same, and keeps the vector file small
        kept = np.unique(np.linspace(0, len(ordered) - 1, 1000).astype(int))
        ordered, shares = ordered[kept], shares[kept]
    at = ordered[np.unique(np.linspace(0, len(ordered) - 1, BAND_POINTS).astype(int))]
    _, low, high = share_below(values, at)
    style.band(axes, at, low, high, name, look["color"], step="post", alpha=0.12)
    axes.plot(
        np.concatenate([ordered[:1], ordered]),
        np.concatenate([[0.0], shares]),
        drawstyle="steps-post",
        label=name,
        **look,
    )


def name_panels(users: Axes, sums: Axes) -> None:
    """Axes of the two panels: rates of users, and sum rates of realisations."""
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


def rate_axis(axes: Axes, highest: float, min_rate: float | None) -> None:
    """Logarithmic from a tenth of the smallest rate that matters, so that the minimum rate can be seen."""
    highest = max(highest, 1e-6)
    lowest = (min_rate or 0.01 * highest) / 10
    if lowest < highest:
        axes.set_xscale("log")
        axes.set_xlim(lowest, 1.15 * highest)
    if min_rate:
        axes.axvline(min_rate, color=style.BLACK, linewidth=0.8)
        axes.annotate(
            f"minimum rate {min_rate:g} bit/s/Hz", xy=(min_rate, 1), xycoords=axes.get_xaxis_transform(),
            xytext=(0, 3), textcoords="offset points", ha="left", va="bottom", fontsize=6.5,
        )  # fmt: skip
