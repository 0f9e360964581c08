"""What figures of studies share: how a line looks, and curves with error bars along a key of the grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellfree_sim.results.figures import style
from cellfree_sim.studies.verdicts import ERRORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cellfree_sim.studies.results import Place, Results

SOLID, DASHED, DOTTED = "-", (0, (4, 1.5)), (0, (1, 1.2))


@dataclass(frozen=True)
class Look:
    """How a line is drawn: its name in the legend, colour, dashes, and the marker of its points."""

    label: str
    colour: str
    dashes: Any = SOLID
    marker: str = "o"
    filled: bool = True
    width: float = 1.2

    @property
    def plot(self) -> dict[str, Any]:
        """For `Axes.plot`, without a marker."""
        return {"color": self.colour, "linestyle": self.dashes, "linewidth": self.width, "label": self.label}

    @property
    def points(self) -> dict[str, Any]:
        """The same with markers."""
        face = self.colour if self.filled else "white"
        return {
            **self.plot,
            "marker": self.marker,
            "markersize": 4,
            "markerfacecolor": face,
            "markeredgewidth": 0.9,
        }


REFERENCES: Mapping[str, Look] = {
    "rsa-zf-literal": Look("RSA+ZF as printed", style.GREY, DASHED, "v", filled=False),
    "gsa-zf-literal": Look("GSA+ZF as printed", style.GREY, SOLID, "^", filled=False),
    "gsa-zf": Look("GSA+ZF, one user", style.ORANGE, SOLID, "^"),
    "wmmse": Look("WMMSE", style.PURPLE, DASHED, "d", filled=False),
    "ascent": Look("ascent", style.BLACK, DOTTED, "x"),
}


def draw_curves(
    axes: Axes,
    results: Results,
    along: str,
    looks: Mapping[str, Look],
    *,
    column: str = "",
    place: Place | None = None,
) -> None:
    """The lines of `looks` along a key of the grid, with bars of two standard errors, as far as there are data."""
    for line, look in looks.items():
        curve = results.curve(line, along, column, place or {})
        if len(curve):
            errors = ERRORS * curve["error"].fillna(0.0)
            bars = errors if (errors > 0).any() else None
            axes.errorbar(curve["at"], curve["mean"], yerr=bars, capsize=1.8, elinewidth=0.7, **look.points)
    axes.grid()


def legend_below(figure: Any, axes: Axes, columns: int = 2, *, also: Iterable[Axes] = ()) -> None:
    """One legend below all axes: the lines of `axes` and those that only others have, each label once, without bars."""
    once: dict[str, Any] = {}
    for each in (axes, *also):
        handles, labels = each.get_legend_handles_labels()
        once = {**dict(zip(labels, handles, strict=True)), **once}
    bare = [handle[0] if hasattr(handle, "has_yerr") else handle for handle in once.values()]
    figure.legend(bare, list(once), loc="outside lower center", ncols=columns, columnspacing=1.2)
