"""One look for all figures: colours, sizes, and how an axis and a legend are set."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN_IN = 3.5  # width of one column of a two-column journal
PAGE_IN = 7.16  # width of both columns and the gap

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color): told apart with every common colour vision.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#222222", "#8C8C8C"
INK, GRID = "#111111", "#DDDDDD"  # of text and axes
LEARNED_COLOUR = BLUE
REFERENCE_COLOURS = (VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
REFERENCE_DASHES: tuple[Any, ...] = ((0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1)), (0, (8, 2)))

SOURCE_PT = 5.5
BAND_ALPHA = 0.16
PART_OF = "part of "  # how the id of an artist begins that belongs to a curve
INTERVAL, TEXTS, WHAT = "_told_interval", "_told_texts", "_told_what"  # attributes of artists, for `interactive`

RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "lines.linewidth": 1.3,
    "grid.color": GRID,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "grid.linewidth": 0.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "cellfree-sim",
}


@contextmanager
def journal() -> Iterator[None]:
    """Draw with `RC` and nothing else: a matplotlibrc of the user must not change a figure."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


def lay_out(figure: Figure) -> Figure:
    """The figure with its layout settled: once, not once for each kind of file."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def render(figure: Figure, ending: str) -> bytes:
    """The figure as pdf, svg or png file without dates, so that equal data give equal files."""
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}[ending]
    target = io.BytesIO()
    figure.savefig(target, format=ending, dpi=200, metadata=undated)
    return target.getvalue()


def name_source(figure: Figure, source: str) -> None:
    """Say in small letters at the top what the figure was made of: a scenario and its seed. Before `lay_out`."""
    figure.suptitle(source, x=0.995, ha="right", fontsize=SOURCE_PT, color=GREY)


def belongs(artist: Artist, series: str, what: str = "") -> None:
    """Let `artist` appear and go with the curve called `series` where a reader switches curves on and off.

    Where it has values of its own, `what` names them.
    """
    artist.set_gid(f"{PART_OF}{series}")
    setattr(artist, WHAT, what)


def aside(axes: Axes, right_pt: float) -> Any:
    """The transform of data that moves marks so many points to the right.

    Axes do not count what is drawn with it: `Axes.update_datalim` has to tell them.
    """
    from matplotlib.transforms import ScaledTranslation

    return axes.transData + ScaledTranslation(right_pt / 72, 0, axes.figure.dpi_scale_trans)


def band(axes: Axes, x: Any, low: Any, high: Any, series: str, colour: Any, **look: Any) -> Any:
    """The area between the ends of an interval, of the curve called `series`; readouts tell its ends at each `x`."""
    look = {"alpha": BAND_ALPHA, "linewidth": 0, "zorder": 1.2, **look}
    area = axes.fill_between(x, low, high, color=colour, label=f"_{series}, interval", **look)
    belongs(area, series)
    setattr(area, INTERVAL, (x, low, high))
    return area


def tell(artist: Artist, texts: Sequence[str]) -> None:
    """What a reader is told who points at each of the marks of `artist`."""
    setattr(artist, TEXTS, list(texts))


def save(figure: Figure, folder: Path, name: str) -> Path:
    """Write ``<name>.pdf`` and ``<name>.png`` into a folder, from within `journal`; the PNG's path.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    from cellfree_sim.results.files import write_atomically

    lay_out(figure)
    for ending in ("pdf", "png"):
        write_atomically(folder / f"{name}.{ending}", render(figure, ending))
    return folder / f"{name}.png"


def new_figure(
    width_in: float, height_in: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """A figure that no window and no global state knows of, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in))
    return figure, figure.subplots(rows, columns, **options)


def algorithm_styles(names: Sequence[str], learned: str) -> dict[str, dict[str, Any]]:
    """Line style of each algorithm: the learned one solid and heavy, references by colour and dash."""
    styles: dict[str, dict[str, Any]] = {}
    for index, name in enumerate(sorted(set(names) - {learned})):  # not by rank: a colour stays with its algorithm
        colour = REFERENCE_COLOURS[index % len(REFERENCE_COLOURS)]
        dash = REFERENCE_DASHES[index % len(REFERENCE_DASHES)]
        styles[name] = {"color": colour, "linestyle": dash, "linewidth": 1.2, "zorder": 2}
    styles[learned] = {"color": LEARNED_COLOUR, "linestyle": "-", "linewidth": 1.8, "zorder": 3}
    return styles


def panel_letter(axes: Axes, letter: str, title: str) -> None:
    """Name a panel "(a) title" above its left edge."""
    axes.set_title(f"({letter}) {title}", pad=5)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near `wanted`, at least `gap` apart and within [low, high] as far as they fit, order kept.

    >>> spread([1.0, 1.1, 5.0], gap=1.0, low=0.0, high=5.0)
    [1.0, 2.0, 5.0]
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    places = [0.0] * len(wanted)
    floor = low
    for index in order:
        places[index] = max(wanted[index], floor)
        floor = places[index] + gap
    ceiling = high
    for index in reversed(order):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - gap
    return places
