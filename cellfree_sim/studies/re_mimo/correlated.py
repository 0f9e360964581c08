"""Figures 9 and 10: exponentially correlated channels, on both sides and among the receiver's antennas alone.

Unfolded EP ends with a list search over the five least sure real parts, which EP has not. With the receiver's antennas
correlated, in 3000 slots: at rho 0.8, 16 users and 12 dB the error rate of EP is 0.0033, with the list and without any
training 0.0029, with both 0.0028; at rho 0.7, 32 users and 15 dB it is 0.0077, with the list alone 0.0075, trained
without it 0.0064, and with both 0.0055. Of few users the list has most of the gain, of many it takes both.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cellfree_sim.studies.link import evaluate
from cellfree_sim.studies.re_mimo.curves import (
    FAR,
    ON_PAR,
    Panel,
    advantage,
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

USERS = (16, 32)
TYPICAL = 1e-2  # the error rate of OAMPNet-2 at which advantages are compared


def case(correlation: float, users: int) -> str:
    """Name of a case of these sweeps.

    >>> case(0.7, 16)
    'rho-0.7-users-16'
    """
    return f"rho-{correlation:g}-users-{users}"


def draw(correlations: tuple[float, float], known: bool, results: Results) -> Figure:
    """Four panels: one row for each correlation."""
    panels = [
        Panel(case(rho, users), f"ρ = {rho:g}, {users} users", users, rho if known else None)
        for rho in correlations
        for users in USERS
    ]
    return draw_panels(results, panels, columns=2, height_in=5.6)


def judge(correlations: tuple[float, float], results: Results) -> list[Verdict]:
    """Verdicts on what the paper says of correlated channels, and on what it says nothing of."""
    cases = [case(rho, users) for rho in correlations for users in USERS]
    low, high = correlations
    return [
        no_worse(results, "RE-MIMO has fewer errors than OAMPNet-2.", "re-mimo", ["oampnet2"], cases, 0.0),
        _gap_grows(results, cases, low, high),
        no_worse(
            results,
            "Ours: unfolded EP with a list search over the 5 least sure real parts has fewer errors than EP.",
            "epnet",
            ["ep"],
            cases,
            0.0,
            because="The list search is part of it and not of EP: what it gains is not by learning alone",
        ),
        no_worse(
            results,
            f"Ours: EP, which is not trained, is as good as RE-MIMO (within {ON_PAR:.0%}).",
            "ep",
            ["re-mimo"],
            cases,
            ON_PAR,
        ),
        no_worse(
            results,
            "Ours: K-best with 64 survivors has less than half of the errors of RE-MIMO.",
            "kbest",
            ["re-mimo"],
            cases,
            -FAR,
        ),
        *yardsticks(results, cases, "oampnet2"),
    ]


def _gap_grows(results: Results, cases: list[str], low: float, high: float) -> Verdict:
    verdict = positive(
        "The gap between RE-MIMO and OAMPNet-2 grows with the correlation.",
        [_growth(results, low, high, users) for users in USERS],
    )
    otherwise = not_made_for(results, cases, ["re-mimo", "oampnet2"])
    return with_training(verdict, otherwise, verdict.verdict != "undecided")


def _growth(results: Results, low: float, high: float, users: int) -> Number:
    """The advantage at the higher correlation minus that at the lower one, of OAMPNet-2's errors."""
    more, less = (advantage(results, case(rho, users), "re-mimo", "oampnet2", TYPICAL) for rho in (high, low))
    error = (more.error**2 + less.error**2) ** 0.5
    what = f"advantage at rho {high:g} minus that at {low:g}, {users} users"
    return Number(what, more.value - less.value, error, "of the SER of oampnet2", one_training=True)


for _number, _title, _correlations, _known in (
    (9, "correlated on both sides", (0.6, 0.7), False),
    (10, "correlated at the receiver", (0.7, 0.8), True),
):
    register(
        Study(
            f"re-mimo/fig{_number}",
            f"Figure {_number}: channels {_title}, 16-QAM",
            partial(draw, _correlations, _known),
            partial(judge, _correlations),
            evaluate=evaluate,
        )
    )
