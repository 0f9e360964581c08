"""Training: sum rate and joint loss against the step, with what the references reach."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.results.analysis import CONFIDENCE_95, Outcome, RunData, outcomes
from cellfree_sim.results.figures import events, style
from cellfree_sim.results.formats import algorithm_label

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(run: RunData) -> Figure | None:
    """Two panels over the training step; None where nothing was trained."""
    training = run.metrics[run.metrics["phase"] == "training"]
    if training.empty:
        return None
    validation = run.metrics[run.metrics["phase"] == "validation"]
    marks = events.marks(run)
    figure, (rates, loss, *strip) = _panels(events.lanes_in(marks))
    dots = _dots(training, at_most=2)
    rates.plot(training["step"], training["sum_rate"], color=style.SKY, linewidth=0.7, label="training batch", **dots)
    loss.plot(training["step"], training["joint_loss"], color=style.BLACK, linewidth=0.9, **dots)
    if not validation.empty:
        _validation(rates, validation, {int(event["at_step"]) for event in run.happened if event["event"] == "drop"})
    found = outcomes(run)
    for learned in (outcome for outcome in found if outcome.learned):
        look = {"color": style.LEARNED_COLOUR, "marker": "*", "markersize": 7, "linestyle": "none", "clip_on": False}
        half = CONFIDENCE_95 * learned.sum_rate_se if math.isfinite(learned.sum_rate_se) else None
        rates.errorbar(
            [training["step"].max()], [learned.sum_rate], yerr=half, label="test", zorder=5, elinewidth=0.9, capsize=2,
            **look,
        )  # fmt: skip
    loss.set_xlim(0, int(training["step"].max()))
    (*strip, loss)[0].set_xlabel("training step")
    loss.xaxis.set_major_locator(_few_ticks(integer=True))
    loss.set_ylabel("joint loss")
    rates.set_ylabel("sum rate (bit/s/Hz)")
    rates.set_ylim(bottom=min(0.0, float(training["sum_rate"].min())))
    for axes in (rates, loss):
        axes.grid(axis="y")
        axes.yaxis.set_major_locator(_few_ticks())
    _references(rates, [outcome for outcome in found if not outcome.learned], run)
    handles = rates.get_legend_handles_labels()[0]
    columns: dict[str, Any] = {"ncols": 3, "columnspacing": 1.4}
    if marks:
        entries = [events.draw_lines(axes, marks) for axes in (rates, loss, *strip)]
        handles.append(entries[0])
        columns = {"ncols": 4, "columnspacing": 0.8, "handlelength": 1.4, "handletextpad": 0.5}
    rates.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2, **columns)
    figure.align_ylabels([rates, loss])
    for axes in strip:
        events.draw_lanes(axes, marks)
        figure.draw_without_rendering()
        events.label_lanes(axes, marks)
    return figure


def _panels(lanes: list[str]) -> tuple[Figure, Any]:
    """Rates over loss, over a strip with a lane for each kind of event where there are any."""
    strip = [0.08 + events.LANE_IN * len(lanes)] if lanes else []
    ratios = {"height_ratios": [1.7, 1.0, *strip]}  # about inches
    height = 3.6 + sum(strip) + (0.1 if strip else 0)
    return style.new_figure(style.COLUMN_IN, height, 2 + len(strip), 1, sharex=True, gridspec_kw=ratios)


def _validation(axes: Axes, rows: pd.DataFrame, dropped_at: Collection[int]) -> None:
    """The validation curve. Where it has two points at one step, before and after a change, it jumps.

    A jump is no slope: the curve ends at the hollow point and begins anew at the filled one, a dotted line between.
    Where a station was dropped there is nothing before: the curve begins anew.
    """
    steps, rates = rows["step"].to_numpy(float), rows["sum_rate"].to_numpy(float)
    jumps = np.flatnonzero(np.diff(steps) == 0) + 1
    anew = [index for index in range(1, len(steps)) if steps[index - 1] < steps[index] and steps[index] in dropped_at]
    breaks = np.union1d(jumps, anew).astype(int)
    half = CONFIDENCE_95 * np.insert(rows["sum_rate_error"].to_numpy(float), breaks, np.nan)
    middle, at = np.insert(rates, breaks, np.nan), np.insert(steps, breaks, np.nan)
    if np.isfinite(half).any():
        style.band(axes, at, middle - half, middle + half, "validation", style.LEARNED_COLOUR)
    look = {"color": style.LEARNED_COLOUR, "label": "validation", **_dots(rows, at_most=40)}
    axes.plot(np.insert(steps, breaks, np.nan), np.insert(rates, breaks, np.nan), **look)
    if len(jumps):
        ends: dict[str, Any] = {"color": style.LEARNED_COLOUR, "marker": "o", "markersize": 2.6, "linestyle": "none"}
        axes.vlines(
            steps[jumps], rates[jumps - 1], rates[jumps], colors=style.LEARNED_COLOUR, linewidth=0.9,
            linestyles=(0, (1, 1)), zorder=2.5, label="_jump",
        )  # fmt: skip
        axes.plot(steps[jumps], rates[jumps], label="_after", zorder=2.6, clip_on=False, **ends)
        axes.plot(
            steps[jumps - 1], rates[jumps - 1], label="_before", zorder=2.7, markerfacecolor="white",
            markeredgewidth=0.8, clip_on=False, **ends,
        )  # fmt: skip


def _references(axes: Axes, references: list[Outcome], run: RunData) -> None:
    """A level line for each reference, named at its right end."""
    styles = style.algorithm_styles([reference.algorithm for reference in references], run.algorithm)
    low, high = axes.get_ylim()
    high = max([high, *(1.04 * reference.sum_rate for reference in references)])
    axes.set_ylim(low, high)
    heights = style.spread([reference.sum_rate for reference in references], 0.085 * (high - low), low, high)
    for reference, height in zip(references, heights, strict=True):
        look = styles[reference.algorithm]
        name = algorithm_label(reference.algorithm)
        style.belongs(axes.axhline(reference.sum_rate, **{**look, "linewidth": 1.0, "zorder": 1}), name)
        axes.annotate(
            f"{name} {format(reference.sum_rate, '#.3g').rstrip('.')}",
            xy=(1, height), xycoords=axes.get_yaxis_transform(), xytext=(6, 0), textcoords="offset points",
            va="center", color=look["color"], fontsize=6.5, annotation_clip=False,
        )  # fmt: skip


def _dots(rows: pd.DataFrame, *, at_most: int) -> dict[str, Any]:
    """Dots where there are so few rows that a line alone would hide them."""
    return {"marker": "o", "markersize": 2.6, "clip_on": False} if len(rows) <= at_most else {}


def _few_ticks(*, integer: bool = False) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=6, integer=integer)
