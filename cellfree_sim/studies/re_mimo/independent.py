"""Figures 7 and 8: independent channels, 16-QAM and 64-QAM. Figure 11: errors of the channel estimate."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from cellfree_sim.studies.link import FEW, evaluate, rows_of
from cellfree_sim.studies.re_mimo.curves import (
    FAR,
    LOOKS,
    ON_PAR,
    Panel,
    draw_panels,
    no_worse,
    not_made_for,
    with_training,
    yardsticks,
)
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import Number, Verdict, positive

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellfree_sim.studies.results import Results

CASES = ("users-16", "users-32")
CLASSICAL = ("mmse-as-published", "amp", "sdr", "zf-pic")
NOISY = {"users-16-csi": "users-16", "users-32-csi": "users-32"}


def draw(correlation: float | None, results: Results) -> Figure:
    """Two panels: 16 and 32 users."""
    panels = [Panel(case, f"{users} users", users, correlation) for case, users in zip(CASES, (16, 32), strict=True)]
    return draw_panels(results, panels, columns=2, height_in=3.6)


def judge(results: Results) -> list[Verdict]:
    """Verdicts on what the paper says of independent channels."""
    return [
        no_worse(
            results,
            f"One RE-MIMO for all numbers of users performs on par with OAMPNet-2 (within {ON_PAR:.0%}).",
            "re-mimo",
            ["oampnet2"],
            CASES,
            ON_PAR,
        ),
        no_worse(
            results, "OAMPNet-2 has fewer errors than MMSE, AMP, SDR and V-BLAST.", "oampnet2", CLASSICAL, CASES, 0
        ),
        no_worse(results, "RE-MIMO has fewer errors than MMSE, AMP, SDR and V-BLAST.", "re-mimo", CLASSICAL, CASES, 0),
        no_worse(
            results,
            f"OAMPNet-2 is optimal for independent channels (within {ON_PAR:.0%} of K-best).",
            "oampnet2",
            ["kbest"],
            CASES,
            ON_PAR,
        ),
        *yardsticks(results, CASES, "oampnet2"),
    ]


def draw_csi(results: Results) -> Figure:
    """Curves with an error of -20 dB in the channel estimate, and without (dotted)."""
    panels = [
        Panel(noisy, f"{noisy.split('-')[1]} users; error of the estimate: −20 dB, none (dotted)", also=exact)
        for noisy, exact in NOISY.items()
    ]
    return draw_panels(results, panels, columns=2, height_in=3.4)


def judge_csi(results: Results) -> list[Verdict]:
    """Verdicts on robustness: by how much error rates rise."""
    return [
        same_loss(results, "re-mimo", "oampnet2"),
        same_loss(results, "ep", "kbest", "Ours, not the paper's"),
        *yardsticks(results, list(NOISY), "oampnet2"),
    ]


def same_loss(results: Results, name: str, other: str, because: str = "") -> Verdict:
    """A verdict on the rates of two detectors rising by about the same factor; undecided if one was trained otherwise.

    Both matter here: weights for other channels may make a rate rise more, or hide that it does.
    """
    verdict = positive(
        f"{LOOKS[name].label} loses as much by the error of the estimate as {LOOKS[other].label} does "
        f"(factors within {FAR:.0%}).",
        [number for noisy, exact in NOISY.items() for number in factors_apart(results, noisy, exact, name, other)],
        because=because,
    )
    otherwise = not_made_for(results, [*NOISY, *NOISY.values()], [name, other])
    return with_training(verdict, otherwise, verdict.verdict != "undecided")


def factors_apart(results: Results, noisy: str, exact: str, name: str, other: str) -> list[Number]:
    """ln(1 + `FAR`) minus how far apart the logarithms of both factors are, at each SNR of both detectors."""
    numbers = []
    learned = any(row["learned"] for each in (name, other) for _, row in rows_of(results, noisy, each).iterrows())
    factors = [_factors(results, noisy, exact, each) for each in (name, other)]
    for snr_db, (log_factor, variance) in factors[0].items():
        if snr_db in factors[1]:
            other_factor, other_variance = factors[1][snr_db]
            apart = abs(log_factor - other_factor)
            what = f"ln {1 + FAR:g} minus |ln of factors of {name} and {other}|, {noisy}, {snr_db:g} dB"
            error = math.sqrt(variance + other_variance)
            numbers.append(Number(what, math.log(1 + FAR) - apart, error, "", one_training=learned))
    return numbers or [Number(f"factors of {name} and {other}, {noisy}", math.nan, math.nan, "")]


def _factors(results: Results, noisy: str, exact: str, name: str) -> dict[float, tuple[float, float]]:
    """ln of the factor between both cases, and its variance (the slots of the two are not the same), by SNR."""
    found = {}
    before = {row["snr_db"]: row for _, row in rows_of(results, exact, name).iterrows()}
    for _, row in rows_of(results, noisy, name).iterrows():
        first = before.get(row["snr_db"])
        if first is not None and min(first["errors"], row["errors"]) >= FEW:
            variance = sum((each["ser_error"] / each["ser"]) ** 2 for each in (first, row))
            found[float(row["snr_db"])] = (math.log(row["ser"] / first["ser"]), float(variance))
    return found


register(Study("re-mimo/fig7", "Figure 7: i.i.d. channels, 16-QAM", partial(draw, 0.0), judge, evaluate=evaluate))
register(Study("re-mimo/fig8", "Figure 8: i.i.d. channels, 64-QAM", partial(draw, None), judge, evaluate=evaluate))
register(Study("re-mimo/fig11", "Figure 11: errors of the channel estimate", draw_csi, judge_csi, evaluate=evaluate))
