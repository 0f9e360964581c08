"""Training: sum rate and joint loss against the step, with what the references reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellfree_sim.results.analysis import Outcome, RunData, outcomes
from cellfree_sim.results.figures import style
from cellfree_sim.results.formats import algorithm_label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(run: RunData) -> Figure | None:
    """Two panels over the training step; None where nothing was trained."""
    training = run.metrics[run.metrics["phase"] == "training"]
    if training.empty:
        return None
    validation = run.metrics[run.metrics["phase"] == "validation"]
    heights = {"height_ratios": [1.7, 1]}
    figure, (rates, loss) = style.new_figure(style.COLUMN_IN, 3.6, 2, 1, sharex=True, gridspec_kw=heights)
    dots = _dots(training, at_most=2)
    rates.plot(training["step"], training["sum_rate"], color=style.SKY, linewidth=0.7, label="training batch", **dots)
    loss.plot(training["step"], training["joint_loss"], color=style.BLACK, linewidth=0.9, **dots)
    if not validation.empty:
        look = {"color": style.LEARNED_COLOUR, "label": "validation", **_dots(validation, at_most=40)}
        rates.plot(validation["step"], validation["sum_rate"], **look)
    found = outcomes(run)
    for learned in (outcome for outcome in found if outcome.learned):
        look = {"color": style.LEARNED_COLOUR, "marker": "*", "markersize": 7, "linestyle": "none", "clip_on": False}
        rates.plot([training["step"].max()], [learned.sum_rate], label="test", zorder=5, **look)
    loss.set_xlim(0, int(training["step"].max()))
    loss.set_xlabel("training step")
    loss.xaxis.set_major_locator(_few_ticks(integer=True))
    loss.set_ylabel("joint loss")
    rates.set_ylabel("sum rate (bit/s/Hz)")
    rates.set_ylim(bottom=min(0.0, float(training["sum_rate"].min())))
    for axes in (rates, loss):
        axes.grid(axis="y")
        axes.yaxis.set_major_locator(_few_ticks())
    _references(rates, [outcome for outcome in found if not outcome.learned], run)
    rates.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.2, columnspacing=1.4)
    figure.align_ylabels([rates, loss])
    return figure


def _references(axes: Axes, references: list[Outcome], run: RunData) -> None:
    """A level line for each reference, named at its right end."""
    styles = style.algorithm_styles([reference.algorithm for reference in references], run.algorithm)
    low, high = axes.get_ylim()
    high = max([high, *(1.04 * reference.sum_rate for reference in references)])
    axes.set_ylim(low, high)
    heights = style.spread([reference.sum_rate for reference in references], 0.085 * (high - low), low, high)
    for reference, height in zip(references, heights, strict=True):
        look = styles[reference.algorithm]
        axes.axhline(reference.sum_rate, **{**look, "linewidth": 1.0, "zorder": 1})
        axes.annotate(
            f"{algorithm_label(reference.algorithm)} {format(reference.sum_rate, '#.3g').rstrip('.')}",
            xy=(1, height), xycoords=axes.get_yaxis_transform(), xytext=(6, 0), textcoords="offset points",
            va="center", color=look["color"], fontsize=6.5, annotation_clip=False,
        )  # fmt: skip


def _dots(rows: pd.DataFrame, *, at_most: int) -> dict[str, Any]:
    """Dots where there are so few rows that a line alone would hide them."""
    return {"marker": "o", "markersize": 2.6, "clip_on": False} if len(rows) <= at_most else {}


def _few_ticks(*, integer: bool = False) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=6, integer=integer)
