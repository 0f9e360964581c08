"""State evolution: whether AMP, undamped, has the noise in its messages that its law says (ours, not the paper's).

With many devices and long pilots the law holds; at the size of the other figures it does not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cellfree_sim.results.figures import style
from cellfree_sim.studies import mmtc_link
from cellfree_sim.studies.plots import legend_below
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import Number, Verdict, positive

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.studies.results import Results

Row = dict[str, Any]
ITERATIONS = 20
CLOSE_DB = 0.5
LARGE = "large"
TITLES = {"as-published": "100 devices, L = 40", LARGE: "4000 devices, L = 1600"}


def evaluate(scenario: Scenario) -> list[Row]:
    """One row for each iteration: its variance by the law, and in the messages of AMP by sections, in dB of the noise.

    Keys: algorithm (amp-section), iteration, law_db, amp_db, amp_db_error (over frames; NaN of a single one). Every
    tenth of the devices by gain is active (with an activity of 0.1), so that what is sent is what the law expects.

    Raises:
        UserError: the scenario has no link of mMTC.
    """
    import torch

    from cellfree_sim.detection.mmtc.algorithms.denoiser import GainGrid, Prior
    from cellfree_sim.detection.mmtc.algorithms.passing import Passing, message_passing
    from cellfree_sim.detection.mmtc.state_evolution import state_evolution
    from cellfree_sim.uplink import MmtcProblem

    link = mmtc_link.link_of(scenario)
    problem = MmtcProblem(**link.problem.options(scenario.seed))
    generator = torch.Generator().manual_seed(scenario.seed)
    gains = problem.draw_gains(1, generator=generator).reshape(1, problem.devices)
    every = round(1 / link.problem.activity)
    active = torch.zeros(1, problem.devices, dtype=torch.bool)
    active[0, gains[0].argsort()[every // 2 :: every]] = True
    frames = link.frames_max
    batch = problem.sample(
        frames, generator=generator, gains=gains.expand(frames, -1), active=active.expand(frames, -1)
    )
    how = Passing(ITERATIONS, 0.0, "scalar", True, 0.0)
    found = message_passing(batch.y, GainGrid.known(batch.h), Prior.of(problem), problem.operator, how)
    law = state_evolution(problem, iterations=ITERATIONS, gains=gains[0], seed=scenario.seed)
    rows = []
    for iteration, (expected, seen) in enumerate(zip(law, found.variances, strict=True)):
        decibels = 10 * seen[:, 0].log10()
        rows.append(
            {
                "algorithm": "amp-section",
                "iteration": iteration,
                "law_db": 10 * math.log10(float(expected[0])),
                "amp_db": float(decibels.mean()),
                "amp_db_error": float(decibels.std()) / math.sqrt(frames) if frames > 1 else math.nan,
            }
        )
    return rows


def draw(results: Results) -> Figure:
    """Both, for a few devices and for many."""
    figure, grid = style.new_figure(style.PAGE_IN, 2.9, 1, 2)
    table = results.table
    for index, (axes, (case, title)) in enumerate(zip(grid, TITLES.items(), strict=True)):
        rows = table[(table["case"] == case) & table["iteration"].notna()].groupby("iteration").mean(numeric_only=True)
        axes.plot(rows.index, rows["law_db"], color=style.BLACK, linestyle="--", linewidth=1.2, label="state evolution")
        axes.plot(rows.index, rows["amp_db"], "o", color=style.BLUE, markersize=3.5, label="AMP by sections, undamped")
        axes.set_xlabel("iteration")
        axes.set_xticks(range(0, ITERATIONS, 3))
        axes.grid(which="major")
        style.panel_letter(axes, "ab"[index], title)
    grid[0].set_ylabel("variance of messages (dB over the noise)")
    legend_below(figure, grid[0], columns=2)
    return figure


def judge(results: Results) -> list[Verdict]:
    """Whether the law holds with many devices, at every iteration."""
    table = results.table
    rows = table[(table["case"] == LARGE) & table["iteration"].notna()] if "iteration" in table else table.iloc[:0]
    numbers = [
        Number(
            f"{CLOSE_DB:g} dB minus the distance, iteration {int(row['iteration'])}",
            CLOSE_DB - abs(row["amp_db"] - row["law_db"]),
            float(row["amp_db_error"]),
            "dB",
        )
        for _, row in rows.iterrows()
    ]
    claim = f"Ours: with 4000 devices, the noise in AMP's messages is within {CLOSE_DB:g} dB of state evolution."
    return [positive(claim, numbers)]


register(Study("dl-mampnet/state-evolution", "State evolution of AMP", draw, judge, evaluate=evaluate))
