"""Table III and figure 5: cross-correlations of signatures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cellfree_sim.results.figures import style
from cellfree_sim.studies.noma_link import evaluate_codes
from cellfree_sim.studies.noma_plots import over_seeds
from cellfree_sim.studies.plots import legend_below
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import Number, Verdict, positive

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from cellfree_sim.studies.results import Results

PUBLISHED = {"QNN": 3.08e-2, "WBE": 3.67e-2, "MUSA": 3.73e-2, "quantised WBE": 4.01e-2}
LEARNED = ("QNN",)
BOUND = 2.8e-2  # Welch's, weighted by the activity
OFTEN = 3  # users that are active with 0.8 come first


def correlations(results: Results) -> dict[str, list[float]]:
    """Weighted cross-correlations of the codes, one for each seed where they differ."""
    table = results.table
    if "cross_correlation" not in table:
        return {}
    rows = table[table["cross_correlation"].notna()]
    return {str(name): found["cross_correlation"].tolist() for name, found in rows.groupby("algorithm", sort=False)}


def draw_table(results: Results) -> Figure:
    """A row of points for each code, beside what is published and the bound."""
    figure, axes = style.new_figure(style.COLUMN_IN, 2.7)
    found = correlations(results)
    for place, (name, values) in enumerate(found.items()):
        mean, colour = sum(values) / len(values), style.BLUE if name == "QNN" else style.BLACK
        axes.plot([100 * value for value in values], [place] * len(values), "|", color=colour, markersize=9)
        axes.plot(100 * mean, place, "o", color=colour, markersize=4.5)
        if name in PUBLISHED:
            axes.plot(100 * PUBLISHED[name], place, "x", color=style.VERMILION, markersize=6, markeredgewidth=1.3)
    axes.axvline(100 * BOUND, color=style.GREY, linestyle="--", linewidth=0.9, label="weighted Welch bound")
    axes.plot([], [], "x", color=style.VERMILION, linestyle="none", markeredgewidth=1.3, label="published")
    axes.plot([], [], "o", color=style.BLACK, markersize=4.5, linestyle="none", label="here, mean")
    axes.plot([], [], "|", color=style.BLACK, markersize=9, linestyle="none", label="single seeds")
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.grid(axis="y")
    axes.set_xlabel("weighted cross-correlation (10⁻²)")
    legend_below(figure, axes, columns=2)
    return figure


def judge_table(results: Results) -> list[Verdict]:
    """Verdicts on table III."""
    found = correlations(results)

    def gap(better: str, worse: str) -> list[Number]:
        if better not in found or worse not in found:
            return [Number(f"{worse} minus {better}", math.nan, math.nan, "")]
        values = [other - own for own, other in zip(found[better], found[worse], strict=True)]
        if {better, worse}.isdisjoint(LEARNED):  # computed, and the same for all seeds
            return [Number(f"{worse} minus {better}", values[0], 0.0, "")]
        return [over_seeds(f"{worse} minus {better}", values)]

    published = [
        Number(f"1e-4 minus |{name} minus published|", 1e-4 - abs(found[name][0] - PUBLISHED[name]), 0.0, "")
        for name in ("WBE",)
        if name in found
    ]
    return [
        positive("The cross-correlation of WBE is the published one (to 1e-4).", published),
        positive("QNN signatures correlate less than WBE.", gap("QNN", "WBE")),
        positive("QNN signatures correlate less than MUSA.", gap("QNN", "MUSA")),
        positive("QNN signatures correlate less than quantised WBE.", gap("QNN", "quantised WBE")),
        positive(
            "Ours: a few seconds of search find signatures that correlate less than QNN's.", gap("searched", "QNN")
        ),
    ]


def draw_maps(results: Results) -> Figure:
    """|s_i^H s_j| of all pairs of users, one map for each code."""
    rows = _pairs(results)
    rows = rows[rows["seed"] == results.seeds[0]]
    names = list(dict.fromkeys(rows["algorithm"]))
    figure, grid = style.new_figure(style.PAGE_IN, 2.5, 1, len(names), squeeze=False)
    for index, (axes, name) in enumerate(zip(grid.flat, names, strict=True)):
        values = rows[rows["algorithm"] == name].pivot_table(index="user", columns="other", values="correlation")
        matrix = values.to_numpy(float).copy()
        for user in range(len(matrix)):
            matrix[user, user] = math.nan
        image = axes.imshow(matrix, vmin=0, vmax=0.8, cmap="viridis")
        for i, j in ((i, j) for i in range(len(matrix)) for j in range(len(matrix)) if i != j):
            colour = "white" if matrix[i, j] < 0.45 else "black"
            axes.text(j, i, f"{matrix[i, j]:.2f}".lstrip("0"), ha="center", va="center", fontsize=5.5, color=colour)
        axes.set_xticks(range(len(matrix)), range(1, len(matrix) + 1))
        axes.set_yticks(range(len(matrix)), range(1, len(matrix) + 1))
        axes.set_xlabel("user")
        if index == 0:
            axes.set_ylabel("user")
        style.panel_letter(axes, "abcd"[index], str(name))
    bar = figure.colorbar(image, ax=list(grid.flat), shrink=0.85)
    bar.set_label("|cross-correlation|")
    return figure


def judge_maps(results: Results) -> list[Verdict]:
    """Verdicts on figure 5."""
    rows = _pairs(results)
    own = rows[(rows["algorithm"] == "QNN") & (rows["user"] != rows["other"])]
    gaps = []
    for _, found in own.groupby("seed"):
        squares = found.assign(square=found["correlation"] ** 2).groupby("user")["square"].mean()
        gaps.append(float(squares[squares.index >= OFTEN].mean() - squares[squares.index < OFTEN].mean()))
    numbers = [over_seeds("seldom minus often active users, mean square", gaps)]
    return [positive("In QNN signatures, users that are active more often correlate less with the others.", numbers)]


def _pairs(results: Results) -> pd.DataFrame:
    """The rows of cross-correlations of two users."""
    table = results.table
    return table[table["correlation"].notna()] if "correlation" in table else table.iloc[:0]


register(
    Study("sicnn/table3", "Table III: weighted cross-correlation", draw_table, judge_table, evaluate=evaluate_codes)
)
register(Study("sicnn/fig5", "Figure 5: cross-correlation maps", draw_maps, judge_maps, evaluate=evaluate_codes))
