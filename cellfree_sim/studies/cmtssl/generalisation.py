"""One trained policy in networks that it was not trained in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellfree_sim.results.figures import style
from cellfree_sim.studies.plots import REFERENCES, SOLID, Look, legend_below
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import ERRORS, Number, Verdict, positive

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cellfree_sim.studies.results import Results

ALONG = {
    "stations": "number of stations B",
    "users": "number of users I",
    "subcarriers": "number of subcarriers N",
    "side": "side of the area (m)",
}
LOOKS = {
    "": Look("one trained set policy, unchanged", style.BLUE, SOLID, width=1.8),
    "/gsa-zf": REFERENCES["gsa-zf"],
    "/ascent": REFERENCES["ascent"],
}
PART_OF_ASCENT = 0.9
SATISFIED = 0.9


def cases_along(results: Results, along: str) -> dict[float, str]:
    """The cases that vary one thing, by its value; a case is called by both, as in ``stations-4``."""
    named = {case: case.rpartition("-") for case in results.cases}
    return {float(value): case for case, (what, _, value) in named.items() if what == along}


def draw(results: Results) -> Figure:
    """Sum rate and the share of users at r_min along each of the four."""
    figure, rows = style.new_figure(style.PAGE_IN, 3.9, 2, len(ALONG), sharex="col", sharey="row")
    for column, (along, label) in enumerate(ALONG.items()):
        above, below = rows[0][column], rows[1][column]
        cases = cases_along(results, along)
        for suffix, look in LOOKS.items():
            lines = [case + suffix for case in cases.values()]
            _curve(above, list(cases), [results.sum_rate(line) for line in lines], 1.0, look)
            _curve(below, list(cases), [results.satisfied(line) for line in lines], 100.0, look)
        above.set_ylim(bottom=0)
        below.set_ylim(0, 103)
        below.set_xlabel(label)
        below.set_xticks(list(cases))
        style.panel_letter(above, "abcd"[column], along)
    rows[0][0].set_ylabel("sum rate (bit/s/Hz)")
    rows[1][0].set_ylabel(r"users at $r_\mathrm{min}$ (%)")
    legend_below(figure, rows[0][0], columns=3)
    return figure


def _curve(axes: Axes, at: list[float], numbers: list[Number], unit: float, look: Look) -> None:
    axes.errorbar(
        at,
        [unit * number.value for number in numbers],
        yerr=[unit * ERRORS * number.error for number in numbers],
        capsize=1.8,
        elinewidth=0.7,
        **look.points,
    )
    axes.grid()


def judge(results: Results) -> list[Verdict]:
    """Verdicts on what is asked of one policy for all networks."""
    return [
        positive(
            "One trained set policy, unchanged, outperforms GSA+ZF with one user everywhere.",
            [results.difference(case, f"{case}/gsa-zf") for case in results.cases],
        ),
        positive(
            "Its sum rate is above 90 % of that of an ascent with all channels, for each realisation anew, everywhere.",
            [_of_ascent(results, case) for case in results.cases],
        ),
        positive(
            "More than 90 % of the users get r_min everywhere.",
            [_satisfied(results, case) for case in results.cases],
        ),
    ]


def _of_ascent(results: Results, case: str) -> Number:
    """How far its part of the ascent's sum rate is above `PART_OF_ASCENT`."""
    gap, whole = results.difference(case, f"{case}/ascent"), results.sum_rate(f"{case}/ascent").value
    return gap.changed(f"part of the ascent's sum rate minus 90 %, {case}", times=1 / whole, plus=1 - PART_OF_ASCENT)


def _satisfied(results: Results, case: str) -> Number:
    return results.satisfied(case).changed(f"share of users at r_min minus 90 %, {case}", plus=-SATISFIED)


register(Study("cmtssl/generalisation", "One trained policy in other networks", draw, judge))
