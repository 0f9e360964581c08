"""Figure 14: computation time against the number of users, here on one core of a CPU."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cellfree_sim.results.figures import style
from cellfree_sim.studies.link import is_learned, link_of, prepared, problem_of
from cellfree_sim.studies.plots import legend_below
from cellfree_sim.studies.re_mimo.curves import LOOKS
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import ERRORS, Number, Verdict, positive
from cellfree_sim.threads import one_torch_thread

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.studies.results import Results
    from cellfree_sim.uplink import Batch

Row = dict[str, Any]
USERS = "link.problem.n_tx"
TURNS = 9
STEADY = 1.5  # growth of a time that "does not vary much" while users double


def evaluate(scenario: Scenario) -> list[Row]:
    """CPU time of each detector for one batch of `link.batch` slots, on one thread, all in turns.

    Keys: algorithm, learned, batch, time_us (of one slot, median over the turns), time_us_error (its standard error).
    """
    import torch

    link = link_of(scenario)
    problem = problem_of(link)
    ready, rows = prepared(link, problem)
    slots = problem.sample(link.batch, link.snr_db[0], generator=torch.Generator().manual_seed(scenario.seed))
    with one_torch_thread():
        times: dict[str, list[float]] = {label: [] for label in ready}
        for turn in range(TURNS + 1):
            for label, detector in ready.items():
                taken = _cpu_us(detector, slots)
                if turn:  # the first one warms up
                    times[label].append(taken)
    return rows + [
        {"algorithm": label, "learned": is_learned(link, label), "batch": link.batch, **_median(found)}
        for label, found in times.items()
    ]


def _cpu_us(detector: Callable[..., Any], slots: Batch) -> float:
    start = time.process_time()
    detector(slots.y, slots.h_known, slots.noise_variance)
    return 1e6 * (time.process_time() - start) / len(slots.y)


def _median(times: list[float]) -> Row:
    """The median and its standard error, by the spread of the middle half (0.93 of it for normal times)."""
    import numpy as np

    low, middle, high = np.percentile(times, [25, 50, 75])
    return {"time_us": float(middle), "time_us_error": float(0.93 * (high - low) / math.sqrt(len(times)))}


def draw(results: Results) -> Figure:
    """Time of each detector, and its ratio to that of OAMPNet-2."""
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, panels = style.new_figure(style.PAGE_IN, 2.9, 1, 2)
    reference = _times(results, "oampnet2")
    for name, look in LOOKS.items():
        rows = _times(results, name)
        if len(rows):
            error = ERRORS * rows["time_us_error"]
            panels[0].errorbar(rows[USERS], rows["time_us"], yerr=error, capsize=1.8, elinewidth=0.7, **look.points)
            _ratio(panels[1], rows, reference, name)
    batch = results.table["batch"].dropna().max() if "batch" in results.table else math.nan
    panels[0].set_ylabel("CPU time of one slot (µs)")
    panels[1].set_ylabel("time over that of OAMPNet-2")
    style.panel_letter(panels[0], "a", f"time, one thread, batches of {batch:g}")
    style.panel_letter(panels[1], "b", "ratio" if len(reference) else "ratio: no OAMPNet-2, see the table’s notes")
    for axes in panels:
        axes.set_xlabel("users")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(which="major")
    legend_below(figure, panels[0], columns=5)
    return figure


def _ratio(axes: Axes, rows: pd.DataFrame, reference: pd.DataFrame, name: str) -> None:
    both = rows.merge(reference, on=USERS, suffixes=("", "_reference"))
    if len(both):
        axes.plot(both[USERS], both["time_us"] / both["time_us_reference"], **LOOKS[name].points)


def _times(results: Results, name: str) -> pd.DataFrame:
    """Rows of one detector by the number of users."""
    table = results.table
    if "time_us" not in table:
        return table.iloc[:0]
    return table[(table["algorithm"] == name) & table["time_us"].notna()].sort_values(USERS)


def judge(results: Results) -> list[Verdict]:
    """Verdicts on how times grow; the paper's are of a GPU, and of code that does not wait for it."""
    few, many = _ends(results)
    gram = "Ours works on H^H H, whose size is that of the users; the paper's on matrices of the antennas' size"
    return [
        positive(
            "RE-MIMO takes less time than OAMPNet-2 at few users.",
            [_ratio_of(results, "oampnet2", few, "re-mimo", few).changed("ln of the ratio", unit="")],
        ),
        positive(
            "The time of RE-MIMO grows no more than linearly with the users.",
            [_growth(results, "re-mimo", few, many, many / few)],
        ),
        positive(
            f"The time of OAMPNet-2 does not vary much with the users (by less than {STEADY:g} while they double).",
            [_growth(results, "oampnet2", few, many, STEADY)],
            because=gram,
        ),
    ]


def _ends(results: Results) -> tuple[float, float]:
    values = [float(place[USERS]) for place in results.places if USERS in place] or [16.0, 32.0]
    return min(values), max(values)


def _growth(results: Results, name: str, few: float, many: float, most: float) -> Number:
    """ln of the growth that is allowed over the one that was measured."""
    found = _ratio_of(results, name, few, name, many)
    return found.changed(
        f"ln({most:g} times the time at {few:g} over that at {many:g} users), {name}", plus=math.log(most)
    )


def _ratio_of(results: Results, name: str, users: float, other: str, other_users: float) -> Number:
    """ln of one time over another."""
    parts = [_times(results, each) for each in (name, other)]
    rows = [part[part[USERS] == at] for part, at in zip(parts, (users, other_users), strict=True)]
    what = f"ln({name} at {users:g} over {other} at {other_users:g} users)"
    if not all(len(each) for each in rows):
        return Number(what, math.nan, math.nan, "")
    first, second = (each.iloc[0] for each in rows)
    error = math.hypot(*(each["time_us_error"] / each["time_us"] for each in (first, second)))
    return Number(what, math.log(first["time_us"] / second["time_us"]), error, "")


register(Study("re-mimo/fig14", "Figure 14: computation time", draw, judge, evaluate=evaluate))
