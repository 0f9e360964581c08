"""Figure 8: distance-aware transfer learning (DATL) against retraining all stations."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cellfree_sim.results.figures import style
from cellfree_sim.results.formats import signed
from cellfree_sim.studies.plots import DASHED, DOTTED, REFERENCES, SOLID, Look, legend_below
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import ERRORS, Number, Verdict, positive

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cellfree_sim.studies.results import Results

LARGEST_LOSS = 0.05
POLICIES = {"": "dense networks", "set-": "our set policy"}
LOOKS = {
    "retrained": Look("DMTSSL, retrained", style.BLUE, SOLID, width=1.6),
    "datl": Look("DATL", style.VERMILION, DASHED, width=1.6),
    "original": Look("before the new station", style.GREY, DOTTED),
}


def draw(stations: int, results: Results) -> Figure:
    """Distributions over the test realisations of all seeds, with the dense networks and with the set policy."""
    figure, panels = style.new_figure(style.PAGE_IN, 2.9, 1, 2, sharey=True)
    for axes, letter, (prefix, title) in zip(panels, "ab", POLICIES.items(), strict=True):
        for line, look in LOOKS.items():
            _distribution(axes, results, prefix + line, look)
        for line in ("gsa-zf", "wmmse", "ascent"):
            _distribution(axes, results, f"retrained/{line}", REFERENCES[line])
        loss = relative_loss(results, prefix)
        text = f"loss of DATL: {signed(round(100 * loss.value, 1) + 0.0, '.1f')} ± {100 * ERRORS * loss.error:.1f} %"
        axes.annotate(text, (0.98, 0.04), xycoords="axes fraction", ha="right", fontsize=7)
        axes.set_xlabel("sum rate of a realisation (bit/s/Hz)")
        axes.set_ylim(0, 1.005)
        axes.grid()
        style.panel_letter(axes, letter, f"{stations} + 1 stations, {title}")
    panels[0].set_ylabel("share of realisations at or below")
    legend_below(figure, panels[0], columns=6)
    return figure


def _distribution(axes: Axes, results: Results, line: str, look: Look) -> None:
    parts = list(results.sums(line).values())
    if parts:
        ordered = np.sort(np.concatenate(parts))
        shares = np.arange(1, len(ordered) + 1) / len(ordered)
        axes.plot(ordered, shares, drawstyle="steps-post", **look.plot)


def relative_loss(results: Results, prefix: str = "") -> Number:
    """What DATL loses against retraining, as a part of what retraining reaches."""
    gap = results.difference(f"{prefix}retrained", f"{prefix}datl")
    whole = results.sum_rate(f"{prefix}retrained").value
    return gap.changed(f"loss of DATL, {POLICIES[prefix]}", times=1 / whole, unit="of the retrained")


def judge(results: Results) -> list[Verdict]:
    """Verdicts on the paper's claim, and on what it says nothing of."""
    losses = {prefix: relative_loss(results, prefix) for prefix in POLICIES}
    return [
        *(
            positive(
                f"The performance loss of DATL is less than 5 % of the retrained DMTSSL ({POLICIES[prefix]}).",
                [loss.changed(f"5 % minus the {loss.what}", times=-1, plus=LARGEST_LOSS, unit=loss.unit)],
            )
            for prefix, loss in losses.items()
        ),
        positive(
            "DATL avoids the cost of retraining, here: its bytes on the backhaul.",
            [_bytes(results, prefix) for prefix in POLICIES],
            because="The model is sent once; retraining costs the same for every step, and is short at quick scale",
        ),
        positive(
            "The new station with the copied model serves better than without it.",
            [results.difference(f"{prefix}datl", f"{prefix}original") for prefix in POLICIES],
            because="Ours, not the paper's",
        ),
        positive(
            "Retrained and copied, the dense networks outperform GSA+ZF with one user.",
            [results.difference(line, "retrained/gsa-zf") for line in ("retrained", "datl")],
            because="Ours, not the paper's",
        ),
    ]


def _bytes(results: Results, prefix: str) -> Number:
    """The part of the bytes of retraining that copying the model saves."""
    shares = []
    retrained = {each.point.seed: each for each, _ in results.at(f"{prefix}retrained")}
    for each, _ in results.at(f"{prefix}datl"):
        other = retrained.get(each.point.seed)
        if each.outcome.status == "done" and other is not None and other.outcome.status == "done":
            sent = sum(injection["transfer_bytes"] for injection in each.summary["downlink"]["injection"])
            shares.append(sent / other.summary["backhaul"]["training_bytes"])
    saved = 1 - float(np.mean(shares)) if shares else float("nan")
    return Number(f"part of the bytes of retraining that is saved, {POLICIES[prefix]}", saved, unit="")


for _letter, _stations in (("a", 3), ("b", 4), ("c", 5)):
    register(
        Study(
            f"cmtssl/fig8{_letter}",
            f"Figure 8({_letter}): DATL, {_stations} stations and a new one",
            partial(draw, _stations),
            judge,
        )
    )
