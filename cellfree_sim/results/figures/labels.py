"""Where names and numbers stand on a map, so that they hide as little as may be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes

Point = tuple[float, float]
OUTSIDE, ON_LABEL, ON_STATION, ON_USER, ON_LINE = 1e4, 300.0, 200.0, 20.0, 0.6  # what it costs; a line by its length
GAP_PT = 1.5  # around a label


class Box(NamedTuple):
    """A rectangle; all of it in points, from the lower left corner of the figure."""

    left: float
    bottom: float
    right: float
    top: float

    def holds(self, point: Point, margin: float = 0.0) -> bool:
        """Whether a point is in it, or nearer to it than `margin`."""
        x, y = point
        return self.left - margin <= x <= self.right + margin and self.bottom - margin <= y <= self.top + margin

    def meets(self, other: Box) -> bool:
        """Whether the two have a part in common."""
        apart = self.right <= other.left or other.right <= self.left or self.top <= other.bottom
        return not (apart or other.top <= self.bottom)

    def crossed_by(self, a: Point, b: Point) -> float:
        """Length of the part of a line from `a` to `b` that is in it.

        >>> Box(0, 0, 2, 1).crossed_by((-1, 0.5), (5, 0.5)), Box(0, 0, 2, 1).crossed_by((-1, 3), (5, 3))
        (2.0, 0.0)
        """
        first, last = 0.0, 1.0
        for start, end, low, high in ((a[0], b[0], self.left, self.right), (a[1], b[1], self.bottom, self.top)):
            if start == end:
                if not low <= start <= high:
                    return 0.0
                continue
            ways = sorted(((low - start) / (end - start), (high - start) / (end - start)))
            first, last = max(first, ways[0]), min(last, ways[1])
        return max(0.0, last - first) * math.dist(a, b)


class Labels:
    """Labels on axes that are laid out; each finds its place among those that stand already.

    Args:
        stations, users: marks, in data units; a station's mark reaches `reach_pt` around it.
        lines: between two places, in data units.
    """

    def __init__(
        self,
        axes: Axes,
        stations: Iterable[Point],
        users: Sequence[Point],
        lines: Iterable[tuple[Point, Point]],
        reach_pt: float = 4.0,
    ) -> None:
        self._axes = axes
        self._reach_pt = reach_pt
        self._stations = [self.points(place) for place in stations]
        self._users = [self.points(place) for place in users] if len(users) <= 200 else []  # more are everywhere
        self._lines = [(self.points(a), self.points(b)) for a, b in lines]
        self._standing: list[Box] = []
        corners = axes.transAxes.transform([(0, 0), (1, 1)]) * 72 / axes.figure.dpi
        self._frame = Box(*corners.ravel())

    def points(self, place: Point) -> Point:
        """Where a place in data units is, in points."""
        x, y = self._axes.transData.transform(place) * 72 / self._axes.figure.dpi
        return float(x), float(y)

    def around(self, text: str, place: Point, fontsize: float, alpha: float) -> None:
        """Write `text` on one of eight sides of a mark, or of eight farther ones."""
        width, height = self._size(text, fontsize)
        x, y = self.points(place)
        wanted = []
        for ring, reach in enumerate((self._reach_pt + 1, self._reach_pt + 8)):
            for turn in (2, -2, 0, 4, 1, 3, -1, -3):  # above, below, beside, at the corners
                across, up = math.cos(turn * math.pi / 4), math.sin(turn * math.pi / 4)
                shift = [round(each) * (reach + size / 2) for each, size in ((across, width), (up, height))]
                corner = 0.75 if abs(turn) % 2 else 1.0
                wanted.append(((x + corner * shift[0], y + corner * shift[1]), 6.0 * ring))
        self._write(text, place, wanted, (width, height), fontsize, alpha)

    def along(self, text: str, a: Point, b: Point, fontsize: float, alpha: float, *, on_line: bool) -> None:
        """Write `text` on a line (where `on_line`, and where that leaves enough of the line), or beside it."""
        width, height = self._size(text, fontsize)
        (ax, ay), (bx, by) = self.points(a), self.points(b)
        length = math.hypot(bx - ax, by - ay)
        across, up = -(by - ay) / length, (bx - ax) / length
        beside = 3.0 + abs(across) * width / 2 + abs(up) * height / 2
        hidden = abs(up) * width + abs(across) * height  # as long as the part of the line under the text
        wanted = []
        for part in (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74):
            x, y, cost = ax + part * (bx - ax), ay + part * (by - ay), 4.0 * abs(part - 0.5)
            for side in (0, 1, -1) if on_line and length > 2.2 * hidden + 2 * self._reach_pt else (1, -1):
                # the label's own line, which it crosses, is counted with the others
                crossed = -ON_LINE * hidden if side == 0 else 5.0
                wanted.append(((x + side * beside * across, y + side * beside * up), cost + crossed))
        place = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
        self._write(text, place, wanted, (width, height), fontsize, alpha)

    def _size(self, text: str, fontsize: float) -> Point:
        """Width and height of a text, points."""
        probe = self._axes.text(0, 0, text, fontsize=fontsize)
        box = probe.get_window_extent()
        probe.remove()
        return box.width * 72 / self._axes.figure.dpi, box.height * 72 / self._axes.figure.dpi

    def _write(
        self, text: str, place: Point, wanted: list[tuple[Point, float]], size: Point, fontsize: float, alpha: float
    ) -> None:
        boxes = [(self._box(middle, size), middle, cost) for middle, cost in wanted]
        box, middle, _ = min(boxes, key=lambda each: each[2] + self._cost(each[0]))
        self._standing.append(box)
        x, y = self.points(place)
        self._axes.annotate(
            text, xy=place, xytext=(middle[0] - x, middle[1] - y), textcoords="offset points", ha="center",
            va="center", fontsize=fontsize, zorder=5,
            bbox={"facecolor": "white", "alpha": alpha, "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip

    def _box(self, middle: Point, size: Point) -> Box:
        across, up = size[0] / 2 + GAP_PT, size[1] / 2 + GAP_PT
        return Box(middle[0] - across, middle[1] - up, middle[0] + across, middle[1] + up)

    def _cost(self, box: Box) -> float:
        frame = self._frame
        inside = frame.holds((box.left, box.bottom)) and frame.holds((box.right, box.top))
        return (
            (0.0 if inside else OUTSIDE)
            + ON_LABEL * sum(box.meets(other) for other in self._standing)
            + ON_STATION * sum(box.holds(place, self._reach_pt) for place in self._stations)
            + ON_USER * sum(box.holds(place, 1.5) for place in self._users)
            + ON_LINE * sum(box.crossed_by(a, b) for a, b in self._lines)
        )
