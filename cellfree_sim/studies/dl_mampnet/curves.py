"""Figures 7, 8 and 9: state error rates against the length of pilots and the number of antennas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from cellfree_sim.results.figures import style
from cellfree_sim.studies.mmtc_link import evaluate
from cellfree_sim.studies.plots import DASHED, DOTTED, SOLID, Look, legend_below
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import ERRORS, Number, Verdict, positive

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cellfree_sim.studies.results import Results

LENGTH, ANTENNAS = "link.problem.pilot_length", "link.problem.antennas"
AXES = {LENGTH: "pilot length L (samples)", ANTENNAS: "receive antennas M"}
FEW = 8  # errors below which a rate is not drawn
DAMPED = "amp (damping 0.3, prior True)"
LOOKS: Mapping[str, Look] = {
    "amp": Look("AMP as printed", style.ORANGE, DASHED, "s", filled=False),
    DAMPED: Look("AMP, damped, with the prior", style.ORANGE, SOLID, "s"),
    "amp-section": Look("AMP by sections, damped", style.VERMILION, SOLID, "^"),
    "covariance": Look("covariance, β/2", style.GREY, DASHED, "v", filled=False),
    "covariance (threshold quarter)": Look("covariance, β/4", style.GREY, SOLID, "v"),
    "map-cd": Look("MAP by coordinate ascent", style.PURPLE, SOLID, "d"),
    "dl-mampnet": Look("DL-mAMPnet", style.BLUE, SOLID, "o", width=1.6),
    "amp-net": Look("AMP-net (ours)", style.SKY, SOLID, "p"),
    "cov-net": Look("covariance net (ours)", style.GREEN, SOLID, "*"),
    "genie": Look("genie bound", style.BLACK, DASHED, "P", filled=False),
}
SMALL = "small"


@dataclass(frozen=True)
class Panel:
    """Axes of a figure: which case, along which key of the grid, and its title."""

    case: str
    along: str
    title: str


def rows_of(results: Results, panel_case: str, algorithm: str, along: str) -> pd.DataFrame:
    """Rows of one detector in one case, along a key of the grid; those of several seeds (of pilots) are averaged.

    Errors are the larger of those within and between seeds.
    """
    table = results.table
    if "ser" not in table:
        return table.iloc[:0]
    here = table[(table["case"] == panel_case) & (table["algorithm"] == algorithm) & table["ser"].notna()]
    numbers = [name for name in map(str, here) if name.startswith(("ser", "minus", "errors", "activity"))]
    bars = [name for name in numbers if name.endswith("error")]
    between = here.groupby(along, as_index=False)[numbers].agg("std")
    here = here.assign(**{name: here[name] ** 2 for name in bars})
    found = here.groupby(along, as_index=False)[numbers].agg("mean")
    repeats = here.groupby(along)["ser"].count().to_numpy()
    for column in bars:
        value = column.removesuffix("_error").removesuffix(", error")
        scatter = between[value].fillna(0.0) / repeats**0.5
        found[column] = ((found[column] / repeats) ** 0.5).combine(scatter, max)
    found["errors"] *= repeats
    return found.sort_values(along)


def draw_panels(results: Results, panels: Sequence[Panel]) -> Figure:
    """State error rate with bars of two standard errors, one panel beside the other; dotted: nobody is found."""
    height = 3.5 if len(panels) < 4 else 5.6
    rows = 1 if len(panels) < 4 else 2
    columns = -(-len(panels) // rows)
    figure, grid = style.new_figure(style.PAGE_IN, height, rows, columns, sharey=True, squeeze=False)
    for index, (axes, panel) in enumerate(zip(grid.flat, panels, strict=False)):
        _draw(axes, results, panel)
        style.panel_letter(axes, "abcdef"[index], panel.title)
        axes.set_xlabel(AXES[panel.along])
        if index % columns == 0:
            axes.set_ylabel("state error rate")
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    most = max(grid.flat, key=lambda axes: len(axes.get_legend_handles_labels()[1]))
    legend_below(figure, most, columns=4, also=grid.flat)
    return figure


def _draw(axes: Axes, results: Results, panel: Panel) -> None:
    activity: list[float] = []
    for name, look in LOOKS.items():
        rows = rows_of(results, panel.case, name, panel.along)
        activity += rows["activity"].tolist() if "activity" in rows else []
        rows = rows[rows["errors"] >= FEW] if len(rows) else rows
        if len(rows):
            low = (ERRORS * rows["ser_error"]).clip(upper=0.9 * rows["ser"])
            bars = [low, ERRORS * rows["ser_error"]]
            axes.errorbar(rows[panel.along], rows["ser"], yerr=bars, capsize=1.8, elinewidth=0.7, **look.points)
    if activity:
        mean = sum(activity) / len(activity)
        axes.axhline(mean, color=style.BLACK, linestyle=DOTTED, linewidth=0.8, label="nobody is found")
    axes.set_yscale("log")
    axes.grid(which="major")


def below(results: Results, case: str, along: str, better: str, worse: str, *, within: float = 0.0) -> list[Number]:
    """By how much `better` is below (1 + `within`) times `worse`, as a part of `worse`; paired, at each value."""
    ours = {row[along]: row for _, row in rows_of(results, case, better, along).iterrows()}
    numbers = []
    for _, other in rows_of(results, case, worse, along).iterrows():
        row = ours.get(other[along])
        if row is None or max(other["errors"], row["errors"]) < FEW or f"minus {worse}" not in row:
            continue
        usual = other["errors"] >= FEW  # else its rate is no unit
        unit = other if usual else row
        gap = -float(row[f"minus {worse}"]) / unit["ser"]
        error = float(row[f"minus {worse}, error"]) / unit["ser"] + abs(gap) * unit["ser_error"] / unit["ser"]
        error += 0.0 if usual else within * other["ser_error"] / unit["ser"]
        what = f"{worse} minus {better}, {case}, {along.rpartition('.')[2]} {other[along]:g}"
        numbers.append(
            Number(
                what, gap + within * other["ser"] / unit["ser"], error, f"of the SER of {worse if usual else better}"
            )
        )
    return numbers or [Number(f"{worse} minus {better}, {case}", math.nan, math.nan, "")]


def falls(results: Results, case: str, along: str, name: str, factor: float = 1.0) -> list[Number]:
    """By how much the rate at each value is below `factor` times that at the value before, as a part of the latter."""
    rows = rows_of(results, case, name, along)
    rows = rows[rows["errors"] >= FEW] if len(rows) else rows
    numbers = []
    for (_, first), (_, second) in zip(rows.iloc[:-1].iterrows(), rows.iloc[1:].iterrows(), strict=True):
        ratio = second["ser"] / first["ser"]
        spread = ratio * math.hypot(first["ser_error"] / first["ser"], second["ser_error"] / second["ser"])
        what = f"{name}, {case}, {along.rpartition('.')[2]} {first[along]:g} to {second[along]:g}"
        numbers.append(Number(what, factor - ratio, spread, "of the SER before"))
    return numbers or [Number(f"{name}, {case}", math.nan, math.nan, "")]


def ours(results: Results, cases: Sequence[str], along: str) -> list[Verdict]:
    """What the paper has no lines for."""

    def all_of(better: str, worse: str, within: float = 0.0) -> list[Number]:
        return [number for case in cases for number in below(results, case, along, better, worse, within=within)]

    return [
        positive(
            "Ours: damping and the prior mend AMP as printed, at every point.",
            all_of(DAMPED, "amp"),
        ),
        positive("Ours: MAP by coordinate ascent has fewer errors than damped AMP.", all_of("map-cd", DAMPED)),
        positive("Ours: MAP by coordinate ascent is within 70 % of the genie bound.", all_of("map-cd", "genie", 0.7)),
        positive("Ours: the covariance net, with a dozen scalars, has fewer errors than AMP by sections.",
                 all_of("cov-net", "amp-section")),
    ]  # fmt: skip


FIG7 = (
    Panel("antennas-8", LENGTH, "M = 8, J = 1"),
    Panel("antennas-16", LENGTH, "M = 16, J = 1"),
    Panel("antennas-32", LENGTH, "M = 32, J = 1"),
    Panel(SMALL, LENGTH, "N = 20, M = 4"),
)
FIG8 = (Panel("length-20", ANTENNAS, "L = 20, J = 1"), Panel("length-40", ANTENNAS, "L = 40, J = 1"))
FIG9 = (Panel("bits-1", LENGTH, "J = 1, M = 16"), Panel("bits-2", LENGTH, "J = 2, M = 16"))
NETS = "it has 35.8 million parameters at N = 100, and is trained here for 20 devices only"
BY_ENTRY = "its denoisers look at one entry each, and cannot add up what the antennas say"


def judge_length(results: Results) -> list[Verdict]:
    """Verdicts on figure 7."""
    cases = [panel.case for panel in FIG7 if panel.case != SMALL]
    falling = [number for case in cases for name in (DAMPED, "map-cd") for number in falls(results, case, LENGTH, name)]
    printed = [number for case in cases for number in falls(results, case, LENGTH, "amp")]
    small = below(results, SMALL, LENGTH, "dl-mampnet", "amp")
    return [
        positive("The state error rate of AMP (as printed) falls with the length of pilots.", printed),
        positive("Ours: those of damped AMP and MAP do.", falling),
        positive("DL-mAMPnet has fewer errors than AMP as printed (20 devices, L = 12).", small),
        positive(
            "DL-mAMPnet has fewer errors than AMP that does not diverge: damped, with the prior (20 devices, L = 12).",
            below(results, SMALL, LENGTH, "dl-mampnet", DAMPED),
            because=BY_ENTRY,
        ),
        positive(
            "Where pilots are shortest, the covariance method has fewer errors than AMP as printed.",
            [below(results, case, LENGTH, "covariance", "amp")[0] for case in cases],
        ),
        positive(
            "With β/2 the covariance method saturates: its last step to longer pilots removes less than a quarter.",
            [
                number.changed(f"0.25 minus fall: {number.what}", times=-1.0, plus=0.25, unit="of the SER before")
                for number in falls(results, "antennas-16", LENGTH, "covariance")[-1:]
            ],
        ),
        *ours(results, cases, LENGTH),
    ]  # fmt: skip


def judge_antennas(results: Results) -> list[Verdict]:
    """Verdicts on figure 8."""
    cases = [panel.case for panel in FIG8]
    return [
        positive(
            "The state error rate of AMP (as printed) falls as antennas are added.",
            [number for case in cases for number in falls(results, case, ANTENNAS, "amp")],
        ),
        positive(
            "Ours: that of damped AMP with the prior does.",
            [number for case in cases for number in falls(results, case, ANTENNAS, DAMPED)],
        ),
        positive(
            "With β/2 the covariance method has an error floor: it ends above β/4 with the most antennas.",
            [below(results, case, ANTENNAS, "covariance (threshold quarter)", "covariance")[-1] for case in cases],
        ),
        positive("DL-mAMPnet needs fewer antennas than AMP.", [_unknown("dl-mampnet, 100 devices")], because=NETS),
        *ours(results, cases, ANTENNAS),
    ]


def judge_bits(results: Results) -> list[Verdict]:
    """Verdicts on figure 9."""
    numbers = []
    for name in ("amp", DAMPED, "covariance", "map-cd"):
        first = {row[LENGTH]: row for _, row in rows_of(results, "bits-1", name, LENGTH).iterrows()}
        for _, row in rows_of(results, "bits-2", name, LENGTH).iterrows():
            one = first.get(row[LENGTH])
            if one is not None and min(one["errors"], row["errors"]) >= FEW:
                error = math.hypot(one["ser_error"], row["ser_error"])
                numbers.append(Number(f"{name}, L = {row[LENGTH]:g}", float(row["ser"] - one["ser"]), error, ""))
    return [
        positive("All make more errors with two bits than with one.", numbers),
        positive(
            "The gap between DL-mAMPnet and the others grows with the bits of a message.",
            [_unknown("dl-mampnet, 100 devices")],
            because=NETS,
        ),
        *ours(results, [panel.case for panel in FIG9], LENGTH),
    ]


def _unknown(what: str) -> Number:
    return Number(what, math.nan, math.nan, "")


def _study(name: str, title: str, panels: Sequence[Panel], judge: Any) -> None:
    register(Study(f"dl-mampnet/{name}", title, partial(_figure, panels), judge, evaluate=evaluate))


def _figure(panels: Sequence[Panel], results: Results) -> Figure:
    return draw_panels(results, panels)


_study("fig7", "Figure 7: state error rate against the length of pilots", FIG7, judge_length)
_study("fig8", "Figure 8: state error rate against the number of antennas", FIG8, judge_antennas)
_study("fig9", "Figure 9: messages of one bit and of two", FIG9, judge_bits)
