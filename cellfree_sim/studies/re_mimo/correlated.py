"""Figures 9 and 10: exponentially correlated channels, on both sides and among the receiver's antennas alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cellfree_sim.studies.link import evaluate
from cellfree_sim.studies.re_mimo.curves import FAR, ON_PAR, Panel, advantage, draw_panels, no_worse, yardsticks
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
        positive(
            "The gap between RE-MIMO and OAMPNet-2 grows with the correlation.",
            [_growth(results, low, high, users) for users in USERS],
        ),
        no_worse(
            results, "Ours: unfolded EP has fewer errors than EP, which it learned from.", "epnet", ["ep"], cases, 0.0
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
