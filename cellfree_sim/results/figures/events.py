"""What happened to the network, beside curves over the training step: thin lines, and a lane of marks for each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cellfree_sim.results.analysis import RunData, stations_of
from cellfree_sim.results.figures import style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

LANE_IN = 0.15  # height of a lane
LANES = {  # name: marker, colour, filled
    "injected": ("^", style.GREEN, True),
    "removed": ("^", style.GREY, False),
    "restarted": ("o", style.VERMILION, True),
    "link cut": ("x", style.BLACK, True),
    "link slowed": ("v", style.PURPLE, True),
    "link restored": ("o", style.BLUE, False),
    "service swapped": ("D", style.ORANGE, True),
    "service failed": ("s", style.SKY, True),
    "activity changed": ("v", style.GREY, True),
    "training began": ("<", style.PURPLE, True),
    "service trained anew": (">", style.PURPLE, True),
}
LANE_OF = {
    "inject_sbs": "injected",
    "remove_sbs": "removed",
    "drop": "removed",
    "restart": "restarted",
    "cut_link": "link cut",
    "slow_link": "link slowed",
    "restore_link": "link restored",
    "swap_detector": "service swapped",
    "fail_service": "service failed",
    "set_activity": "activity changed",
    "retrain": "training began",
    "retrained": "service trained anew",
}
LABEL_PT = 5.5
NAMES_IN_A_LABEL = 2
CROWD = 12  # more lines than this are drawn fainter


class Mark(NamedTuple):
    """All events of one kind at one step; `since` is the step to which a restart took the run back."""

    lane: str
    step: int
    label: str
    since: int


def marks(run: RunData) -> list[Mark]:
    """The events to be drawn, by lane and step."""
    named: dict[tuple[str, int], list[str]] = {}
    since: dict[tuple[str, int], int] = {}
    for event in run.happened:
        if event["event"] not in LANE_OF:
            continue
        key = (LANE_OF[event["event"]], int(event["at_step"]))
        named.setdefault(key, []).extend(_names(event))
        since[key] = min(since.get(key, key[1]), int(event.get("from_step", key[1])))
    order = list(LANES)
    return [
        Mark(*key, _label(names), since[key])
        for key, names in sorted(named.items(), key=lambda entry: (order.index(entry[0][0]), entry[0][1]))
    ]


def _names(event: Mapping[str, Any]) -> list[str]:
    if "service" in event:
        return [event["service"]]
    return ["–".join(event["link"])] if "link" in event else stations_of(event)


def lanes_in(found: list[Mark]) -> list[str]:
    """The lanes that `found` needs, from top to bottom."""
    return list(dict.fromkeys(mark.lane for mark in found))


def draw_lines(axes: Axes, found: list[Mark], *, zorder: float = 0.5) -> Line2D:
    """A thin line at each step at which something happened; returns an entry for the legend."""
    from matplotlib.lines import Line2D

    steps = sorted({mark.step for mark in found})
    alpha = max(min(1.0, CROWD / len(steps)), 0.2)
    look: dict[str, Any] = {"linewidth": 0.6, "alpha": alpha, "clip_on": False}
    axes.vlines(
        steps, 0, 1, transform=axes.get_xaxis_transform(), colors=style.GREY, zorder=zorder, label="_events", **look
    )
    return Line2D([], [], color=style.GREY, linewidth=0.6, marker="|", markersize=7, linestyle="none", label="event")


def draw_lanes(axes: Axes, found: list[Mark]) -> None:
    """A lane of marks for each kind of event; what a restart did again is a bar that ends at its mark."""
    names = lanes_in(found)
    for row, name in enumerate(names):
        marker, colour, filled = LANES[name]
        own = [mark for mark in found if mark.lane == name]
        axes.hlines(
            [row] * len(own), [mark.since for mark in own], [mark.step for mark in own], colors=colour, linewidth=1.6,
            alpha=0.45, zorder=2, label=f"_{name}, done again",
        )  # fmt: skip
        axes.plot(
            [mark.step for mark in own], [row] * len(own), linestyle="none", marker=marker, markersize=3.6,
            color=colour, markerfacecolor=colour if filled else "white", markeredgewidth=0.9, clip_on=False, zorder=3,
            label=f"_{name}",
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)


def label_lanes(axes: Axes, found: list[Mark]) -> list[Text]:
    """Name each mark of the lanes beside it, where there is room; to be called once the figure is laid out."""
    rows = {name: row for row, name in enumerate(lanes_in(found))}
    point = axes.figure.dpi / 72
    written: list[Text] = []
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for mark in found:
        x = axes.transData.transform((mark.step, 0))[0]
        left = axes.transData.transform((mark.since, 0))[0]
        taken[mark.lane].append((min(left, x - 2.5 * point), x + 2.5 * point))
    for mark in found:
        for offset, side in ((4.0, "left"), (-4.0, "right")):
            text = axes.annotate(
                mark.label, xy=(mark.step, rows[mark.lane]), xytext=(offset, 0), textcoords="offset points",
                ha=side, va="center_baseline", fontsize=LABEL_PT, annotation_clip=False, zorder=2.5,
                bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 0.3},
            )  # fmt: skip
            text.set_in_layout(False)
            box = text.get_window_extent()
            if _fits(box, taken[mark.lane], axes.bbox, 4 * point):
                taken[mark.lane].append((box.x0, box.x1))
                written.append(text)
                break
            text.remove()
    return written


def _fits(box: Bbox, taken: list[tuple[float, float]], frame: Bbox, margin: float) -> bool:
    inside = frame.x0 - margin <= box.x0 and box.x1 <= frame.x1 + margin
    return inside and all(box.x1 < low or box.x0 > high for low, high in taken)


def _label(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= NAMES_IN_A_LABEL else f"{len(names)} of them"
