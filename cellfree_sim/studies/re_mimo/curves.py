"""What the figures of error rates share: how a detector's line looks, panels, and claims as numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cellfree_sim.detection.published import Published, published
from cellfree_sim.results.figures import style
from cellfree_sim.scenario.link import Link
from cellfree_sim.studies.link import (
    FEW,
    below,
    below_by_snr,
    missing,
    notes_of,
    rows_of,
    snrs_of,
    trained_otherwise,
)
from cellfree_sim.studies.plots import DASHED, DOTTED, SOLID, Look, legend_below
from cellfree_sim.studies.verdicts import ERRORS, Number, Verdict, positive

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cellfree_sim.studies.results import Results

BROWN = "#7A5230"  # a ninth line
LOOKS: Mapping[str, Look] = {
    "mmse-as-published": Look("MMSE as published", style.GREY, DOTTED, "v", filled=False),
    "lmmse": Look("LMMSE", style.GREY, SOLID, "v"),
    "amp": Look("AMP as published", style.ORANGE, DASHED, "s", filled=False),
    "sdr": Look("SDR", style.SKY, DASHED, "D", filled=False),
    "zf-pic": Look("ZF-PIC (“V-BLAST”)", style.PURPLE, DASHED, "^", filled=False),
    "detnet": Look("DetNet", BROWN, DOTTED, "x"),
    "oampnet2": Look("OAMPNet-2", style.GREEN, SOLID, "s"),
    "epnet": Look("unfolded EP + list", style.PURPLE, SOLID, "p"),
    "re-mimo": Look("RE-MIMO", style.BLUE, SOLID, "o", width=1.6),
    "ep": Look("EP, 30 iterations", style.VERMILION, DASHED, "d", filled=False),
    "kbest": Look("K-best, 64", style.BLACK, DASHED, "P", filled=False),
    "sphere": Look("maximum likelihood", style.BLACK, SOLID, "*"),
}
ON_PAR = 0.2  # as much higher may an error rate be that is called equal; 0.1 dB of SNR, about
PUBLISHED = "published (line’s colour)"
FAR = 0.5  # as much lower is one that is far below


@dataclass(frozen=True)
class Panel:
    """Axes of a figure: which case, which channel the published points are of, and its title.

    `also` is a case whose curves are drawn beside, dashed and with open markers.
    """

    case: str
    title: str
    users: int = 0
    correlation: float | None = None
    also: str = ""

    def published(self) -> Iterator[Published]:
        """Published points of its channel."""
        return iter(()) if self.correlation is None else published(correlation=self.correlation, n_tx=self.users)


def draw_panels(results: Results, panels: Sequence[Panel], *, columns: int, height_in: float) -> Figure:
    """Symbol error rate against SNR with bars of two standard errors, one panel beside or below the other."""
    rows = -(-len(panels) // columns)
    figure, grid = style.new_figure(style.PAGE_IN, height_in, rows, columns, sharey=True, squeeze=False)
    for index, (axes, panel) in enumerate(zip(grid.flat, panels, strict=True)):
        _draw(axes, results, panel)
        style.panel_letter(axes, "abcdefgh"[index], panel.title)
        if index % columns == 0:
            axes.set_ylabel("symbol error rate")
        axes.set_xlabel("SNR (dB)")
    _same_decades(list(grid.flat))
    legend_below(figure, _with_most_lines(list(grid.flat)), columns=5)
    left_out = [LOOKS[name].label for name in missing(results, _wanted(results))]
    if left_out:
        legend = figure.legends[-1]
        legend.set_title(f"without {', '.join(left_out)}: see the table’s notes")
        legend.get_title().set_fontsize(6.5)
    return figure


def _draw(axes: Axes, results: Results, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator

    for name, look in LOOKS.items():
        _curve(axes, results, panel.case, name, look)
        if panel.also:
            beside = replace(look, label="_", dashes=DOTTED, filled=False, width=0.8)
            _curve(axes, results, panel.also, name, beside)
    known = _published(results, panel)
    for point in known:
        axes.plot(
            point.snr_db,
            point.ser,
            marker="+",
            markersize=7,
            markeredgewidth=1.0,
            linestyle="none",
            color=LOOKS[point.detector].colour,
            zorder=5,
        )
    if known:
        axes.errorbar([], [], color=style.BLACK, linestyle="none", marker="+", markersize=7, label=PUBLISHED)
    axes.set_yscale("log")
    snrs = [*snrs_of(results, panel.case), *(snrs_of(results, panel.also) if panel.also else [])]
    if snrs:
        margin = 0.05 * max(max(snrs) - min(snrs), 1.0)
        axes.set_xlim(min(snrs) - margin, max(snrs) + margin)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(which="major")


def _published(results: Results, panel: Panel) -> list[Published]:
    """The published points of the detectors that have a line, within the SNRs that were measured."""
    lines = {name: rows_of(results, panel.case, name) for name in LOOKS}
    return [
        point
        for point in panel.published()
        if len(rows := lines[point.detector]) and rows["snr_db"].min() <= point.snr_db <= rows["snr_db"].max()
    ]


def _curve(axes: Axes, results: Results, case: str, name: str, look: Look) -> None:
    rows = rows_of(results, case, name)
    rows = rows[rows["errors"] >= FEW] if len(rows) else rows
    if len(rows):
        low = (ERRORS * rows["ser_error"]).clip(upper=0.9 * rows["ser"])
        axes.errorbar(
            rows["snr_db"],
            rows["ser"],
            yerr=[low, ERRORS * rows["ser_error"]],
            capsize=1.8,
            elinewidth=0.7,
            **look.points,
        )


def _same_decades(panels: Sequence[Axes]) -> None:
    """Whole decades around what is drawn."""
    bounds = [axes.dataLim for axes in panels if axes.lines]
    low = min((box.minposy for box in bounds if math.isfinite(box.minposy)), default=1e-4)
    high = max((box.y1 for box in bounds if math.isfinite(box.y1)), default=1.0)
    for axes in panels:
        axes.set_ylim(
            max(10 ** math.floor(math.log10(low)), 1e-6), min(10 ** math.ceil(math.log10(max(high, 1e-5))), 1.0)
        )


def _with_most_lines(panels: Sequence[Axes]) -> Axes:
    return max(panels, key=lambda axes: len(set(axes.get_legend_handles_labels()[1])))


def _wanted(results: Results) -> list[str]:
    """The detectors that the scenario names, as far as they have a look."""
    links = [each.point.scenario.link for each in results.ended]
    names = dict.fromkeys(name for link in links if isinstance(link, Link) for name in link.labelled())
    return [name for name in names if name in LOOKS]


def no_worse(
    results: Results,
    claim: str,
    better: str,
    worse: Sequence[str],
    cases: Sequence[str],
    within: float,
    because: str = "",
    apart_from: str = "",
) -> Verdict:
    """A verdict on `better` being at most (1 + `within`) times each of `worse` in all cases, at every SNR.

    It is undecided where it would fail only in cases that `better` was not trained for, or hold in some that one of
    `worse` was not trained for; `apart_from` is a key of the problem in which that is what the claim is about.
    """
    pairs = [(case, other) for case in cases for other in worse]
    by_pair = {(case, other): below(results, case, better, other, within=within) for case, other in pairs}
    numbers = [number for found in by_pair.values() for number in found]
    lacking = set(missing(results, [better, *worse]))
    notes = [note for note in notes_of(results) if any(f"'{name}'" in note for name in lacking)]
    verdict = positive(claim, numbers, because=". ".join([*([because] if because else []), *notes[:1]]))
    unlike = {case: not_made_for(results, [case], [better, *worse], apart_from) for case in cases}
    fair = [number for (case, _), found in by_pair.items() if better not in unlike[case] for number in found]
    blurred = {
        "does not hold": positive(claim, fair).verdict != "does not hold",
        "holds": any(other in unlike[case] for case, other in pairs),
    }
    otherwise = {name: text for found in reversed(unlike.values()) for name, text in found.items()}
    return with_training(verdict, otherwise, blurred.get(verdict.verdict, False))


def not_made_for(
    results: Results, cases: Sequence[str], detectors: Sequence[str], apart_from: str = ""
) -> dict[str, str]:
    """Those of `detectors` whose weights were made for another problem than that of one of the cases, and in what."""
    found = {}
    for case in reversed(cases):
        for name in detectors:
            text = trained_otherwise(results, case, name)
            if text and not (apart_from and text.startswith(f"found {apart_from} ")):
                found[name] = text
    return found


def with_training(verdict: Verdict, otherwise: Mapping[str, str], blurred: bool) -> Verdict:
    """The verdict with what networks were trained for; undecided where it could be otherwise with others (`blurred`).

    >>> found = with_training(positive("A.", [Number("a", 1.0, 0.1)]), {"re-mimo": "found n_tx 4; allowed: 8"}, True)
    >>> found.verdict, found.reason.partition(": ")[0]
    ('undecided', 'its weights may be why it holds')
    >>> found.reason.partition(". ")[2]
    'RE-MIMO was trained for another problem (found n_tx 4; allowed: 8)'
    """
    if not otherwise:
        return verdict
    about = [f"{LOOKS[name].label} was trained for another problem ({text})" for name, text in otherwise.items()]
    reason = ". ".join([verdict.reason, *about])
    if not blurred:
        return replace(verdict, reason=reason)
    whose = "its weights" if len(otherwise) == 1 else "their weights"
    return replace(verdict, verdict="undecided", reason=f"{whose} may be why it {_VERBS[verdict.verdict]}: {reason}")


_VERBS = {"holds": "holds", "does not hold": "does not"}


def yardsticks(results: Results, cases: Sequence[str], learned: str) -> list[Verdict]:
    """What the paper has no lines for: EP and K-best beside the best of its detectors."""
    return [
        no_worse(
            results,
            f"Ours: EP, which is not trained, is as good as {LOOKS[learned].label} (within {ON_PAR:.0%}).",
            "ep",
            [learned],
            cases,
            ON_PAR,
        ),
        no_worse(
            results,
            f"Ours: K-best with 64 survivors has fewer errors than {LOOKS[learned].label}.",
            "kbest",
            [learned],
            cases,
            0.0,
        ),
    ]


def advantage(results: Results, case: str, better: str, worse: str, at: float) -> Number:
    """What part of the errors of `worse` `better` avoids, where the rate of `worse` is `at`.

    Between the two SNRs around it, it is taken to be linear in the logarithm of that rate; beyond them it is not known.
    """
    what = f"{worse} minus {better}, {case}, at a SER of {at:g}"
    rates = {float(row["snr_db"]): row["ser"] for _, row in rows_of(results, case, worse).iterrows()}
    points = []
    for snr_db, number in below_by_snr(results, case, better, worse):
        if number.unit == f"of the SER of {worse}":
            points.append((math.log(rates[snr_db] / at), number))
    higher = min((point for point in points if point[0] >= 0), key=lambda point: point[0], default=None)
    lower = max((point for point in points if point[0] <= 0), key=lambda point: point[0], default=None)
    if higher is None or lower is None:
        return Number(what, math.nan, math.nan, "")
    part = higher[0] / (higher[0] - lower[0]) if higher[0] > lower[0] else 0.0
    first, second = higher[1], lower[1]
    value = (1 - part) * first.value + part * second.value
    return replace(first, what=what, value=value, error=math.hypot((1 - part) * first.error, part * second.error))
