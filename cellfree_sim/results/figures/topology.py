"""Map of the network: stations, users, and the backhaul links by the bytes they carried."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cellfree_sim.results.analysis import RunData, hops, setting
from cellfree_sim.results.figures import style
from cellfree_sim.results.figures.labels import Labels, Point
from cellfree_sim.results.formats import byte_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED_STATIONS = 25
LABELLED_LINKS = 12
MAP_WIDTH_IN = 2.95
THINNEST_PT, THICKEST_PT = 0.8, 4.0
TOLD_USERS = 500
CROWD = 2000  # more users than this are an image in the vector files, which would hold megabytes of marks
BORESIGHT = 0.09  # length of the line that shows where a station looks, as a part of the area's longer side
LEGEND_COLUMNS, LEGEND_ROW_IN = 3, 0.16
CUT, SLOWED = "cut", "slowed"
DASHES: dict[str, Any] = {CUT: (0, (4, 2.5)), SLOWED: (0, (6, 1.5, 1, 1.5))}
LINK_COLOURS = {CUT: style.BLACK, SLOWED: style.PURPLE}


class Link(NamedTuple):
    """A backhaul link: its ends, where they stand (m), and the bytes it carried in both directions together.

    `state` is "cut", "slowed", or "" for one that is as it was built.
    """

    ends: tuple[str, str]
    places: tuple[tuple[float, float], tuple[float, float]]
    bytes: int
    state: str = ""

    @property
    def middle(self) -> tuple[float, float]:
        """Half way between its ends."""
        (ax, ay), (bx, by) = self.places
        return (ax + bx) / 2, (ay + by) / 2


def draw(run: RunData) -> Figure | None:
    """The map, in metres; None where the run has no topology."""
    nodes = {node["id"]: node for node in run.nodes}
    stations = [node for node in nodes.values() if node["kind"] != "user"]
    if not stations:
        return None
    links = _links(run, nodes)
    area_m = _area(run, list(nodes.values()))
    height_in = 0.8 + MAP_WIDTH_IN * min(max(area_m[1] / area_m[0], 0.3), 1.5)
    figure, axes = style.new_figure(style.COLUMN_IN, height_in + (0.35 if len(links) > LABELLED_LINKS else 0))
    _frame(axes, area_m)
    colours = _draw_links(axes, links)
    drawn = [
        _draw_users(axes, run, [node for node in nodes.values() if node["kind"] == "user"]),
        *_draw_stations(axes, stations),
        _draw_boresights(axes, stations, BORESIGHT * max(area_m)),
        _ring(axes, run, stations),
        *_changed_links(axes, links),
    ]
    handles = [handle for handle in drawn if handle]
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW_IN * ((len(handles) - 1) // LEGEND_COLUMNS))
    figure.legend(handles=handles, loc="outside lower center", ncols=LEGEND_COLUMNS, handletextpad=0.3)
    figure.draw_without_rendering()
    users = [(node["x_m"], node["y_m"]) for node in nodes.values() if node["kind"] == "user"]
    _write_labels(axes, stations, users, links)
    if colours is not None:
        bar = figure.colorbar(
            colours, ax=axes, orientation="horizontal", location="top", shrink=0.72, aspect=34, pad=0.02
        )
        bar.set_label("carried by a link, both directions (MB)", fontsize=7)
        bar.outline.set_linewidth(0.5)
    return figure


def link_bytes(run: RunData) -> dict[frozenset[str], int]:
    """Bytes that each link carried, both directions together, under the set of its ends."""
    frames = run.first_attempts
    if frames.empty:
        return {}
    totals: dict[frozenset[str], int] = {}
    for link, size in hops(frames).groupby("link")["bytes"].sum().items():
        ends = frozenset(str(link).split(">"))
        totals[ends] = totals.get(ends, 0) + int(size)
    return totals


def _links(run: RunData, nodes: dict[str, dict[str, Any]]) -> list[Link]:
    carried = link_bytes(run)
    found = []
    for *ends, edge in run.topology.edges(data=True):
        places = tuple((nodes[end]["x_m"], nodes[end]["y_m"]) for end in ends)
        slowed = "built_capacity_bps" in edge or "built_latency_s" in edge
        state = CUT if not edge.get("up", True) else SLOWED if slowed else ""
        found.append(Link((ends[0], ends[1]), (places[0], places[1]), carried.get(frozenset(ends), 0), state))
    return sorted(found, key=lambda link: link.bytes)


def _area(run: RunData, nodes: list[dict[str, Any]]) -> tuple[float, float]:
    """Width and depth of the map, metres."""
    stated = setting(run.scenario, "network", "area_m")
    width, depth = stated or [max(node[axis] for node in nodes) for axis in ("x_m", "y_m")]
    return float(width), float(depth)


def _frame(axes: Axes, area_m: tuple[float, float]) -> None:
    margin = 0.03 * max(area_m)
    axes.set_xlim(-margin, area_m[0] + margin)
    axes.set_ylim(-margin, area_m[1] + margin)
    axes.set_aspect("equal")
    axes.set_xlabel("x (m)")
    axes.set_ylabel("y (m)")
    axes.spines[["top", "right"]].set_visible(True)


def _draw_links(axes: Axes, links: Sequence[Link]) -> Any:
    """Lines whose width and colour grow with the bytes; returns what a colour bar needs, None where labels do."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba

    if not links:
        return None
    most = max(link.bytes for link in links)
    used = [link for link in links if link.bytes and not link.state]
    idle = [link for link in links if not link.bytes and not link.state]
    colours = LinearSegmentedColormap.from_list("carried", ["#C5DCEE", "#6AA9D6", style.BLUE])
    thickest = THICKEST_PT * min(1.0, math.sqrt(LABELLED_LINKS / len(links)))
    thinnest = min(THINNEST_PT, thickest / 2)
    for state in DASHES:
        own = [link for link in links if link.state == state]
        widths = [max(1.0, thickest * link.bytes / most) if most and state == SLOWED else 1.0 for link in own]
        look = {"colors": LINK_COLOURS[state], "linestyles": DASHES[state], "zorder": 1.6, "label": f"_{state}"}
        axes.add_collection(LineCollection([link.places for link in own], linewidths=widths, **look))
    scale = ScalarMappable(Normalize(0, most / 1e6), colours)
    axes.add_collection(
        LineCollection(
            [link.places for link in idle], colors=to_rgba(style.GREY), linewidths=0.6, linestyles=(0, (3, 2))
        )
    )
    axes.add_collection(
        LineCollection(
            [link.places for link in used],
            colors=colours([link.bytes / most for link in used]),
            linewidths=[thinnest + (thickest - thinnest) * link.bytes / most for link in used],
            capstyle="round",
            zorder=1.5,
        )
    )
    return scale if len(links) > LABELLED_LINKS and most else None


def _draw_users(axes: Axes, run: RunData, users: list[dict[str, Any]]) -> Any:
    if not users:
        return None
    size = float(np.clip(900 / len(users), 0.3 if len(users) > 3000 else 2, 14))
    marks = axes.scatter(
        [user["x_m"] for user in users], [user["y_m"] for user in users], s=size, color=style.ORANGE,
        edgecolors="white", linewidths=0.4, zorder=2,
        label="user (first test drop)" if run.has_downlink else "user (one drop)", rasterized=len(users) > CROWD,
    )  # fmt: skip
    if len(users) <= TOLD_USERS:
        style.tell(marks, [_told(user) for user in users])
    return marks


def _draw_stations(axes: Axes, stations: list[dict[str, Any]]) -> list[Any]:
    """Marks for each kind of station that there is: hollow ones take no part any more."""
    size = _station_size(stations)
    kinds = {
        "SBS": ("^", size, style.VERMILION, "white", 3.0),
        "MBS": ("s", 64.0, style.BLACK, "white", 2.9),
        "isolated SBS": ("^", size, "white", style.VERMILION, 3.0),
        "removed SBS": ("^", size, "white", style.GREY, 3.0),
    }
    handles = []
    for label, (marker, area, face, edge, zorder) in kinds.items():
        own = [station for station in stations if _kind(station) == label]
        if own:
            marks = axes.scatter(
                [station["x_m"] for station in own], [station["y_m"] for station in own], s=area, marker=marker,
                color=face, edgecolors=edge, linewidths=0.7 if edge == "white" else 1.0, zorder=zorder, label=label,
            )  # fmt: skip
            style.tell(marks, [_told(station) for station in own])
            handles.append(marks)
    return handles


def _told(node: Mapping[str, Any]) -> str:
    """What a reader of the page is told of a station or user."""
    place = f"({node['x_m']:.4g}, {node['y_m']:.4g}) m"
    return f"{node['id']} at {place}" + (f", {node['antennas']} antennas" if node.get("antennas") else "")


def _draw_boresights(axes: Axes, stations: list[dict[str, Any]], length_m: float) -> Any:
    """A line from each station to where its antennas look, where any looks elsewhere than along the x axis."""
    from matplotlib.collections import LineCollection

    looking = [station for station in stations if "azimuth_deg" in station and _kind(station) == "SBS"]
    if not any(station["azimuth_deg"] for station in looking):
        return None
    lines = []
    for station in looking:
        x, y, azimuth = station["x_m"], station["y_m"], math.radians(station["azimuth_deg"])
        lines.append([(x, y), (x + length_m * math.cos(azimuth), y + length_m * math.sin(azimuth))])
    return axes.add_collection(
        LineCollection(lines, colors=style.VERMILION, linewidths=1.3, zorder=2.8, label="boresight"), autolim=False
    )


def _kind(station: Mapping[str, Any]) -> str:
    if station["kind"] == "mbs":
        return "MBS"
    status = station.get("status")
    return f"{status} SBS" if status in ("isolated", "removed") else "SBS"


def _station_size(stations: Sequence[Mapping[str, Any]]) -> float:
    """Area of the mark of an SBS, square points."""
    return 46.0 if sum(station["kind"] == "sbs" for station in stations) <= NAMED_STATIONS else 14.0


def _ring(axes: Axes, run: RunData, stations: list[dict[str, Any]]) -> Any:
    """A ring around each station that was injected."""
    from matplotlib.lines import Line2D

    came = {event["station"] for event in run.happened if event["event"] == "inject_sbs"}
    own = [station for station in stations if station["id"] in came]
    if not own:
        return None
    axes.scatter(
        [station["x_m"] for station in own], [station["y_m"] for station in own], s=3.2 * _station_size(stations),
        marker="o", facecolors="none", edgecolors=style.GREEN, linewidths=1.1, zorder=3.1, label="injected",
    )  # fmt: skip
    look: dict[str, Any] = {"marker": "o", "markersize": 7.5, "markerfacecolor": "none", "markeredgewidth": 1.1}
    return Line2D([], [], color=style.GREEN, linestyle="none", label="injected SBS", **look)


def _changed_links(axes: Axes, links: Sequence[Link]) -> list[Any]:
    """Legend entries for links that are cut or slowed, and a cross on each cut one."""
    from matplotlib.lines import Line2D

    cut = [link.middle for link in links if link.state == CUT]
    look: dict[str, Any] = {"color": style.BLACK, "marker": "x", "markersize": 4.5, "markeredgewidth": 1.1}
    if cut:
        axes.plot([x for x, _ in cut], [y for _, y in cut], linestyle="none", zorder=2.5, label="_cut at", **look)
    looks = {CUT: look, SLOWED: {"color": LINK_COLOURS[SLOWED]}}
    return [
        Line2D([], [], linestyle=DASHES[state], linewidth=1.1, label=f"{state} link", **looks[state])
        for state in DASHES
        if any(link.state == state for link in links)
    ]


def _write_labels(axes: Axes, stations: list[dict[str, Any]], users: Sequence[Point], links: Sequence[Link]) -> None:
    """Names of the stations, where they are few enough, and bytes on each link that was used, where those are."""
    together: dict[Point, list[str]] = {}  # a station at the centre may share its mast with the MBS
    for station in stations:
        together.setdefault((station["x_m"], station["y_m"]), []).append(station["id"])
    lines = [link.places for link in links if link.places[0] != link.places[1]]
    labels = Labels(axes, together, users, lines)
    if len(stations) <= NAMED_STATIONS:
        for place, names in together.items():
            labels.around(", ".join(names), place, fontsize=7, alpha=0.75)
    if len(links) <= LABELLED_LINKS:
        for link in links:
            if link.bytes and link.places[0] != link.places[1]:
                text = byte_size(link.bytes)
                labels.along(text, *link.places, fontsize=6.5, alpha=0.9, on_line=link.state != CUT)
