"""Scaling: time and memory of a frame from a thousand devices to a hundred thousand (ours, not the paper's)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cellfree_sim.detection.mmtc.large import in_own_process
from cellfree_sim.results.figures import style
from cellfree_sim.studies import mmtc_link
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import Number, Verdict, positive

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.studies.results import Results

DEVICES = "link.problem.devices"
MOST_S, MOST_GIB = 5.0, 2.0  # for the largest
UNSURE = 0.1  # of a measured time


def evaluate(scenario: Scenario) -> list[dict[str, Any]]:
    """One row: AMP by sections, damped, on one frame of L = 0.4 N samples: cpu_seconds_frame, memory_gib, frame_ser.

    Raises:
        UserError: the scenario has no link of mMTC.
    """
    problem = mmtc_link.link_of(scenario).problem
    found = in_own_process(problem.devices, problem.pilots)
    return [
        {
            "algorithm": f"amp-section, {problem.pilots}",
            "cpu_seconds_frame": found["value"],
            "memory_gib": found["memory_gib"],
            "frame_ser": found["ser"],
        }
    ]


def draw(results: Results) -> Figure:
    """Time, and peak memory of the process, against the number of devices."""
    figure, grid = style.new_figure(style.PAGE_IN, 2.7, 1, 2)
    rows = results.table.sort_values(DEVICES)
    for index, (axes, column, label) in enumerate(
        zip(grid, ("cpu_seconds_frame", "memory_gib"), ("CPU time of a frame (s)", "peak memory (GiB)"), strict=True)
    ):
        axes.plot(rows[DEVICES], rows[column], "o-", color=style.BLUE, markersize=4)
        axes.axhline((MOST_S, MOST_GIB)[index], color=style.GREY, linestyle="--", linewidth=0.9)
        axes.set_xscale("log")
        axes.set_yscale("log" if index == 0 else "linear")
        axes.set_xlabel("devices N")
        axes.set_ylabel(label)
        axes.grid(which="major")
        style.panel_letter(axes, "ab"[index], "L = 0.4 N, DFT pilots" if index == 0 else "dashed: aim")
    return figure


def judge(results: Results) -> list[Verdict]:
    """Whether the largest frame takes as little as it should; a time is taken as known to a tenth."""
    table = results.table
    rows = table.sort_values(DEVICES) if "memory_gib" in table else table.iloc[:0]
    last = rows.iloc[-1] if len(rows) else {"cpu_seconds_frame": math.nan, "memory_gib": math.nan}
    seconds, memory = float(last["cpu_seconds_frame"]), float(last["memory_gib"])
    return [
        positive(
            f"Ours: the largest frame takes at most {MOST_S:g} CPU seconds on one thread.",
            [Number(f"{MOST_S:g} s minus its time", MOST_S - seconds, UNSURE * seconds, "s")],
        ),
        positive(
            f"Ours: it takes less than {MOST_GIB:g} GiB.",
            [Number(f"{MOST_GIB:g} GiB minus the peak", MOST_GIB - memory, 0.0, "GiB")],
        ),
    ]


register(Study("dl-mampnet/scaling", "Scaling to a hundred thousand devices", draw, judge, evaluate=evaluate))
