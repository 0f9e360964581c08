"""Bytes on the backhaul, by kind of message and by link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellfree_sim.results.analysis import RunData, bytes_by, hops
from cellfree_sim.results.figures import style
from cellfree_sim.results.formats import byte_size

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BARS = 12
COLOURS = {
    "training": style.BLUE,
    "execution": style.GREEN,
    "uplink": style.PURPLE,
    "measurement": style.ORANGE,
    "control": style.GREY,
}


def draw(run: RunData) -> Figure | None:
    """Horizontal bars, split by what the frames were for; None where no frame was sent."""
    frames = run.first_attempts
    if frames.empty:
        return None
    tables = [bytes_by(frames, "kind"), bytes_by(hops(frames), "link")]
    tallest = max(min(len(table), BARS) for table in tables)
    figure, (kinds, links) = style.new_figure(style.PAGE_IN, 0.95 + 0.21 * max(tallest, 3), 1, 2)
    _bars(kinds, tables[0], tallest, [str(kind).replace("_", " ") for kind in tables[0].index])
    _bars(links, tables[1], tallest, [str(link).replace(">", " → ") for link in tables[1].index])
    style.panel_letter(kinds, "a", "by kind of message" + _shown(tables[0]))
    style.panel_letter(links, "b", "by link and direction" + _shown(tables[1]))
    purposes = [purpose for purpose in COLOURS if any(purpose in table for table in tables)]
    handles = {
        text: bar for axes in (kinds, links) for bar, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend([handles[p] for p in purposes], purposes, loc="outside lower center", ncols=len(purposes))
    return figure


def _shown(table: pd.DataFrame) -> str:
    return f", largest {BARS} of {len(table)}" if len(table) > BARS else ""


def _bars(axes: Axes, table: pd.DataFrame, tallest: int, names: list[str]) -> None:
    """Stacked bars of the largest rows, as thick as those of the panel with the `tallest` number of them."""
    from matplotlib.ticker import MaxNLocator

    megabytes, names = table.iloc[:BARS] / 1e6, names[:BARS]
    left = megabytes.sum(axis=1) * 0
    height = 0.7 * min(1.0, max(len(names), 1) / max(tallest, 3))
    for purpose in megabytes.columns:
        axes.barh(
            range(len(names)), megabytes[purpose], left=left, height=height, color=COLOURS[purpose], label=purpose
        )
        left = left + megabytes[purpose]
    for row, total in enumerate(left):
        axes.annotate(
            byte_size(1e6 * total),
            xy=(total, row),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1.25 * max(float(left.max()), 1e-9))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.set_xlabel("bytes sent (MB)")
    axes.grid(axis="x")
