"""A figure as a part of a page: vectors with text in them, dark where the page is, and the numbers behind its marks.

matplotlib draws; what is made here is its SVG, freed of all that is foreign to a page, and a readout from which the
page's script tells values under the pointer and switches curves on and off. Without the script it is a plain picture.

    curve "DMTSSL", third of figure "rates"  ->  elements with ids "rates--2--0", "rates--2--1", … in the SVG,
                                                 {"name": "DMTSSL", "data": [{"panel": 0, "x": […], "y": […]}, …]}
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.results.figures import style
from cellfree_sim.results.figures.dark import on_dark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAGNIFIED = 2.1  # on a screen, against the size in print
POINTS_TOLD = 500
DIGITS = 6
_FOREIGN = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->|<style[^>]*>.*?</style>", re.DOTALL)
_GEOMETRY = re.compile(r'(?<= )(d|x|y|width|height|points|transform)="([^"]*)"')
_FRACTION = re.compile(r"(\.\d\d)\d+")
_COLOUR = re.compile(r"(fill|stroke): ?(#[0-9a-fA-F]{6})")
_IDENTITY = re.compile(r'(?<= )id="([^"]*)"')
_POINTER = re.compile(r'xlink:href="#([^"]*)"|url\(#([^)]*)\)')


def embed(figure: Figure, name: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    """The figure, laid out, as an ``<svg>`` element, its readout, and its colours on a dark page.

    Args:
        name: the figure's name; all ids in the element begin with it and two hyphens.

    Returns:
        The element, whose colours are variables (``--k0072b2``) that fall back to the light ones; what its panels and
        curves hold, plain types for JSON; and the dark values of those variables.
    """
    readout = _readout(figure, name)
    text = style.render(figure, "svg").decode()
    text = _FOREIGN.sub("", text[text.index("<svg") :])
    text = _GEOMETRY.sub(lambda found: f'{found[1]}="{_FRACTION.sub(_two_digits, found[2])}"', text)
    pointed = {found[1] or found[2] for found in _POINTER.finditer(text)}
    text = _POINTER.sub(lambda found: _pointer(found, name), text)
    text = _IDENTITY.sub(lambda found: _identity(found[1], name, pointed), text)
    colours = {found[2].lower() for found in _COLOUR.finditer(text)}
    text = _COLOUR.sub(lambda found: f"{found[1]}:var(--k{found[2][1:].lower()},{found[2].lower()})", text)
    text = text.replace("'DejaVu Sans', sans-serif", "'DejaVu Sans',Verdana,sans-serif")
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None
    body = text[text.index(">") + 1 :]
    width_pt = figure.get_figwidth() * 72
    head = f'<svg {view[0]} role="img" aria-labelledby="{name}--title" style="max-width:{MAGNIFIED * width_pt:.0f}px">'
    body = re.sub(r"\n\s*", "\n", re.sub(r"<defs>\s*</defs>", "", body))
    return head + body.strip(), readout, {f"--k{each[1:]}": on_dark(each) for each in sorted(colours)}


def _two_digits(found: re.Match[str]) -> str:
    return found[1]


def _pointer(found: re.Match[str], name: str) -> str:
    return f'href="#{name}--{found[1]}"' if found[1] else f"url(#{name}--{found[2]})"


def _identity(identity: str, name: str, pointed: set[str]) -> str:
    if identity in pointed:
        return f'id="{name}--{identity}"'
    return f'id="{identity}"' if identity.startswith(f"{name}--") else ""


def _readout(figure: Figure, name: str) -> dict[str, Any]:
    """Panels and curves; gives the artists of each curve, and its entries in legends, ids that begin alike."""
    curves: dict[str, dict[str, Any]] = {}
    panels = []
    for panel, axes in enumerate(figure.axes):
        panels.append(_panel(figure, axes))
        for artist, curve in _parts(axes):
            told = curves.setdefault(curve, {"name": curve, "parts": 0, "data": []})
            place = list(curves).index(curve)
            data = _data(artist, axes)
            if data is not None:
                told["data"].append({"panel": panel, **data})
            if "colour" not in told:
                told["colour"] = _colour_of(artist)
            artist.set_gid(f"{name}--{place}--{told['parts']}")
            told["parts"] += 1
        panels[-1]["rows"] = _rows(figure, axes)
    _mark_legends(figure, name, list(curves))
    for told in curves.values():
        del told["parts"]
    return {"panels": panels, "curves": list(curves.values())}


def _panel(figure: Figure, axes: Axes) -> dict[str, Any]:
    """Where a panel is in the SVG, what its axes span, and what they are called."""
    width, height = figure.get_figwidth() * 72, figure.get_figheight() * 72
    box = axes.get_position()
    alike = [axes, *axes.get_shared_x_axes().get_siblings(axes)]  # of stacked panels the lowest alone is labelled
    return {
        "box": [
            round(float(each), 2)
            for each in (box.x0 * width, (1 - box.y1) * height, box.x1 * width, (1 - box.y0) * height)
        ],
        "x": [float(each) for each in axes.get_xlim()],
        "y": [float(each) for each in axes.get_ylim()],
        "log": [axes.get_xscale() == "log", axes.get_yscale() == "log"],
        "labels": [next((each.get_xlabel() for each in alike if each.get_xlabel()), ""), axes.get_ylabel()],
    }


def _parts(axes: Axes) -> Iterator[tuple[Artist, str]]:
    """Artists that belong to a curve, and its name: by label, by `style.belongs`, or by their container's label."""
    from matplotlib.container import Container

    named: dict[Artist, str] = {}
    for container in axes.containers:
        label = str(container.get_label())
        if isinstance(container, Container) and not label.startswith("_"):
            named |= dict.fromkeys(_members(container), label)
    for artist in [*axes.lines, *axes.collections, *axes.patches]:
        gid, label = str(artist.get_gid() or ""), str(artist.get_label())
        if gid.startswith(style.PART_OF):
            yield artist, gid.removeprefix(style.PART_OF)
        elif artist in named:
            yield artist, named[artist]
        elif not label.startswith("_"):
            yield artist, label


def _members(container: Any) -> Iterator[Artist]:
    for member in container:
        if isinstance(member, tuple | list):
            yield from member
        elif member is not None:
            yield member


def _data(artist: Artist, axes: Axes) -> dict[str, Any] | None:
    """What an artist shows, in data units; None for one that only adorns another."""
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D
    from matplotlib.patches import StepPatch

    texts = getattr(artist, style.TEXTS, None)
    if texts is not None:
        offsets = np.asarray(artist.get_offsets(), float) if hasattr(artist, "get_offsets") else _points(artist)
        return {"kind": "marks", "x": _short(offsets[:, 0]), "y": _short(offsets[:, 1]), "texts": texts}
    interval = getattr(artist, style.INTERVAL, None)
    if interval is not None:
        x, low, high = (np.asarray(each, float) for each in interval)
        return {"kind": "interval", **_thinned(x=x, low=low, high=high)}
    if isinstance(artist, LineCollection):
        return _error_bars(artist) if len(artist.get_segments()) else None
    if isinstance(artist, StepPatch):
        values, edges, baseline = artist.get_data()
        return {"kind": "step", **_thinned(x=edges[:-1], y=values - (0 if baseline is None else baseline))}
    if isinstance(artist, Line2D):
        x, y = np.asarray(artist.get_xdata(), float), np.asarray(artist.get_ydata(), float)
        if list(x) == [0, 1] and len(set(y)) == 1 and artist.get_transform() == axes.get_yaxis_transform():
            return {"kind": "level", "x": [], "y": _short(y[:1])}
        if artist.get_linestyle() == "None" and artist.get_marker() in ("|", "_", "None"):
            return None  # caps of error bars, ticks
        if artist.get_transform() in (axes.get_xaxis_transform(), axes.get_yaxis_transform(), axes.transAxes):
            return None  # a line across the panel, a mark at its edge
        kind = "step" if str(artist.get_drawstyle()).startswith("steps") else "line"
        what = getattr(artist, style.WHAT, "")
        return {"kind": kind, **({"what": what} if what else {}), **_thinned(x=x, y=y)}
    return None


def _points(artist: Any) -> np.ndarray[Any, Any]:
    return np.asarray(artist.get_xydata(), float)


def _error_bars(bars: Any) -> dict[str, Any] | None:
    """Intervals of upright error bars; None for level ones and for other lines."""
    segments = [np.asarray(segment) for segment in bars.get_segments()]
    if any(len(segment) != 2 or segment[0, 0] != segment[1, 0] for segment in segments):
        return None
    ends = np.array([[segment[0, 0], segment[:, 1].min(), segment[:, 1].max()] for segment in segments])
    return {"kind": "interval", **_thinned(x=ends[:, 0], low=ends[:, 1], high=ends[:, 2])}


def _rows(figure: Figure, axes: Axes) -> list[dict[str, Any]]:
    """Rows of horizontal bars: where each is in the SVG, its name, and the length of each of its bars."""
    from matplotlib.container import BarContainer

    bars = [each for each in axes.containers if isinstance(each, BarContainer) and each.orientation == "horizontal"]
    names = {
        round(float(place), 6): text.get_text()
        for place, text in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    }
    rows: dict[float, dict[str, Any]] = {}
    height = figure.get_figheight() * 72
    for container in bars:
        for bar in container:
            middle = round(float(bar.get_y() + bar.get_height() / 2), 6)
            ends = axes.transData.transform([(0, bar.get_y()), (0, bar.get_y() + bar.get_height())])[:, 1]
            top, bottom = (round(float(height - each * 72 / figure.dpi), 2) for each in (ends.max(), ends.min()))
            near = min(names, key=lambda place: abs(place - middle), default=middle)
            row = rows.setdefault(middle, {"name": names.get(near, ""), "top": top, "bottom": bottom, "values": []})
            if bar.get_width():
                row["values"].append([str(container.get_label()), _short([bar.get_width()])[0]])
    return [rows[middle] for middle in sorted(rows)]


def _mark_legends(figure: Figure, name: str, curves: list[str]) -> None:
    found = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    for number, legend in enumerate([legend for legend in found if legend is not None]):
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            label = text.get_text().splitlines()[0]
            if label in curves:
                place = curves.index(label)
                text.set_gid(f"{name}--legend--{place}--{number}")
                if handle is not None:
                    handle.set_gid(f"{name}--handle--{place}--{number}")


def _colour_of(artist: Any) -> str:
    """Colour of a line, of marks or of an area; of ink where there is none of them."""
    from matplotlib.colors import to_hex, to_rgba_array

    for name in ("get_color", "get_facecolor"):
        if hasattr(artist, name):
            colours = to_rgba_array(getattr(artist, name)())
            return str(to_hex(colours[0])) if len(colours) else style.BLACK
    return style.BLACK


def _thinned(**columns: Any) -> dict[str, list[float | None]]:
    """Columns of equal length, with at most `POINTS_TOLD` rows, those without a place left out."""
    x = np.asarray(columns["x"], float)
    places = np.flatnonzero(np.isfinite(x))
    if len(places) > POINTS_TOLD:
        places = places[np.unique(np.linspace(0, len(places) - 1, POINTS_TOLD).astype(int))]
    return {name: _short(np.asarray(values, float)[places]) for name, values in columns.items()}


def _short(values: Any) -> list[float | None]:
    """Numbers to the digits that count; None where there is none."""
    return [float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in np.asarray(values, float)]
