"""Figure 6: sum rate against the numbers of stations, subcarriers and users."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from cellfree_sim.results.figures import style
from cellfree_sim.studies.plots import DASHED, REFERENCES, SOLID, Look, draw_curves, legend_below
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import SURE, Number, Verdict, judged, positive, surely_below

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellfree_sim.studies.results import Results

CENTRAL, DISTRIBUTED = ("cmtssl-ls1", "cmtssl-ls2"), ("dmtssl-ls1", "dmtssl-ls2")
PROPOSED = (*CENTRAL, *DISTRIBUTED)
PRINTED_BASELINES = ("rsa-zf-literal", "gsa-zf-literal")
LOOKS: Mapping[str, Look] = {
    "cmtssl-ls1": Look("CMTSSL, Loss Scheme 1", style.VERMILION, DASHED, "s", filled=False),
    "cmtssl-ls2": Look("CMTSSL, Loss Scheme 2", style.VERMILION, SOLID, "s"),
    "dmtssl-ls1": Look("DMTSSL, Loss Scheme 1", style.BLUE, DASHED, "o", filled=False),
    "dmtssl-ls2": Look("DMTSSL, Loss Scheme 2", style.BLUE, SOLID, "o"),
    "set": Look("set policy (ours)", style.GREEN, SOLID, "D", width=1.6),
    **REFERENCES,
}
STATIONS, SUBCARRIERS, USERS = "network.sbs.count", "radio.subcarriers", "network.users.count"


def draw(along: str, axis: str, results: Results) -> Figure:
    """The figure."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = style.new_figure(style.COLUMN_IN, 3.6)
    draw_curves(axes, results, along, LOOKS)
    axes.set_xlabel(axis)
    axes.set_ylabel("sum rate (bit/s/Hz)")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, axes)
    return figure


def judge(along: str, results: Results) -> list[Verdict]:
    """Verdicts on the claims that all three panels make, and on the one of each."""
    everywhere = list(itertools.product(results.places, PROPOSED))
    verdicts = [
        positive(
            "Both algorithms outperform the baselines (RSA+ZFBF and GSA+ZFBF as printed) at every point.",
            [results.difference(line, other, at) for at, line in everywhere for other in PRINTED_BASELINES],
        ),
        positive(
            "They also outperform GSA+ZF in its strong form, with one user on a subcarrier of a station.",
            [results.difference(line, "gsa-zf", at) for at, line in everywhere],
            because="The paper does not claim it; its baselines as printed null nothing",
        ),
    ]
    if along == STATIONS:
        verdicts.append(
            positive(
                "DMTSSL is superior to CMTSSL with the same loss scheme, whatever the number of stations.",
                [
                    results.difference(distributed, central, at)
                    for at in results.places
                    for central, distributed in zip(CENTRAL, DISTRIBUTED, strict=True)
                ],
                because="At equal steps; all stations' networks together have more parameters than the central one",
            )
        )
        verdicts.append(_falls(along, results))
    if along == SUBCARRIERS:
        verdicts.append(
            positive(
                "The sum rates of both algorithms increase with the number of subcarriers.",
                _steps(along, results, rising=True),
            )
        )
    verdicts.append(
        positive(
            "The set policy outperforms GSA+ZF with one user at every point.",
            [results.difference("set", "gsa-zf", at) for at in results.places],
            because="Ours, not the paper's",
        )
    )
    return verdicts


def _steps(along: str, results: Results, *, rising: bool) -> list[Number]:
    """Differences of neighbouring points, each proposed line; users of a seed stand at the same places in both."""
    found = []
    for before, after in itertools.pairwise(results.places):
        first, second = (after, before) if rising else (before, after)
        found += [results.difference(line, line, first, second) for line in PROPOSED]
    return found


def _falls(along: str, results: Results) -> Verdict:
    """Whether more stations, from some number on, mean less sum rate: each earlier point against the last.

    A line falls where one of its earlier points is above the last, with confidence for all of them together; it does
    not where the last is above each. To choose the best point by the same rates first would make falls of chance.
    """
    claim = "From some number of stations on, the sum rate decreases as stations are added."
    *before, last = results.places
    gaps = {line: [results.difference(line, line, at, last) for at in before] for line in PROPOSED}
    numbers = [number for each in gaps.values() for number in each]
    falling = [line for line, each in gaps.items() if surely_below([number.changed("", times=-1) for number in each])]
    rising = surely_below([max(each, key=lambda number: number.chance) for each in gaps.values() if each])
    if rising:
        reason = f"the last point is above all before it, on {len(rising)} of {len(gaps)} lines, {SURE} (Holm)"
        return judged(claim, "does not hold", reason, numbers)
    if len(falling) == len(gaps):
        return judged(claim, "holds", f"a point before the last is above it on every line, {SURE} (Holm)", numbers)
    reason = (
        f"a point before the last is surely above it on {len(falling)} of {len(gaps)} lines, the last above all on 0"
    )
    return judged(claim, "undecided", reason, numbers)


for _letter, _along, _axis in (
    ("a", STATIONS, "number of stations B"),
    ("b", SUBCARRIERS, "number of subcarriers N"),
    ("c", USERS, "number of users I"),
):
    register(
        Study(
            f"cmtssl/fig6{_letter}",
            f"Figure 6({_letter}): sum rate against the {_axis}",
            partial(draw, _along, _axis),
            partial(judge, _along),
        )
    )
