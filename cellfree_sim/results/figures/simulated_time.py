"""Where the simulated time of a training round goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellfree_sim.results.analysis import TIME_PARTS, RunData, round_times
from cellfree_sim.results.figures import events, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"compute_s": "compute", "queue_s": "queue", "transfer_s": "transfer"}
COLOURS = {"compute_s": style.BLUE, "queue_s": style.VERMILION, "transfer_s": style.ORANGE}
BINS = 150


def draw(run: RunData) -> Figure | None:
    """Times on the critical path, stacked over the training step; None where no round took simulated time."""
    from matplotlib.ticker import MaxNLocator

    times = round_times(run.metrics)
    if times.empty or float(times.to_numpy().sum()) <= 0:
        return None
    means = 1e3 * times.mean()
    bins = np.arange(len(times)) * min(BINS, len(times)) // len(times)
    binned = 1e3 * times.groupby(bins).mean()
    edges = np.append(times.index.to_series().groupby(bins).first(), times.index[-1] + 1) - 0.5
    figure, axes = style.new_figure(style.COLUMN_IN, 2.4)
    base = np.zeros(len(binned))
    for part in TIME_PARTS:
        top = base + binned[part].to_numpy()
        text = f"{NAMES[part]}\n{means[part]:.3g} ms ({100 * means[part] / means.sum():.0f} %)"
        axes.stairs(top, edges, baseline=base, fill=True, color=COLOURS[part], label=text)
        base = top
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1.05 * float(base.max()))
    axes.set_xlabel("training step")
    axes.set_ylabel("simulated time of a round (ms)")
    axes.grid(axis="y")
    marks = events.marks(run)
    if marks:
        events.draw_lines(axes, marks, zorder=3)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=3,
        columnspacing=1.2,
        handlelength=1.0,
        title="mean of a round" + ("; thin lines: events" if marks else ""),
        alignment="left",
    )
    return figure
