"""Figure 12: numbers of users between and beyond those that RE-MIMO was trained for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellfree_sim.studies.link import evaluate
from cellfree_sim.studies.re_mimo.curves import ON_PAR, Panel, draw_panels, no_worse, yardsticks
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellfree_sim.studies.results import Results

BETWEEN, BEYOND = "users-23", ("users-36", "users-40")


def draw(results: Results) -> Figure:
    """One panel for each number of users."""
    panels = [Panel(BETWEEN, "23 users: between"), *(Panel(each, f"{each[-2:]} users: beyond") for each in BEYOND)]
    return draw_panels(results, panels, columns=3, height_in=3.2)


def judge(results: Results) -> list[Verdict]:
    """Verdicts on inter- and extrapolation, by the distance to OAMPNet-2."""
    return [
        no_worse(
            results,
            f"RE-MIMO serves numbers of users between those it was trained for: on par with OAMPNet-2 "
            f"(within {ON_PAR:.0%}).",
            "re-mimo",
            ["oampnet2"],
            [BETWEEN],
            ON_PAR,
        ),
        no_worse(
            results,
            "Far beyond those that it was trained for (16 to 32), RE-MIMO has more errors than OAMPNet-2.",
            "oampnet2",
            ["re-mimo"],
            BEYOND,
            0.0,
            apart_from="n_tx",
        ),
        *yardsticks(results, [BETWEEN, *BEYOND], "oampnet2"),
    ]


register(Study("re-mimo/fig12", "Figure 12: other numbers of users than in training", draw, judge, evaluate=evaluate))
