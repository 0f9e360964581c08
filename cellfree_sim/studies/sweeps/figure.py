"""The figure of a sweep: what is varied on the x axis, headline metrics, a line for each case and algorithm.

A numeric key of the grid goes on the x axis: the one with the most values. Where several SNRs were measured and no key
is numeric, the SNR does. Other keys are columns of panels, metrics are rows. Without anything numeric every line is a
row of names, and the metrics stand side by side. Bars are two standard errors of the mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cellfree_sim.results.figures import style
from cellfree_sim.scenario.labels import axis_label
from cellfree_sim.scenario.sweep import short_name
from cellfree_sim.studies.noma_plots import BROWN
from cellfree_sim.studies.plots import DASHED, DOTTED, SOLID, Look, legend_below
from cellfree_sim.studies.sweeps.measured import SNR, Metric, keys_of, means, metrics_of
from cellfree_sim.studies.verdicts import ERRORS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cellfree_sim.studies.results import Results

MOST_METRICS = 3
MOST_LINES = 6
SHORT = 15  # characters of a key's label that fit a panel's title
MOST_COLUMNS = 4  # of panels with several metrics below each other; more combinations have one metric only
MOST_PANELS = 12
WIDE = 20.0  # largest over smallest value, from which on an x axis is logarithmic
FEW = 3.0  # standard errors below which a rate is not drawn on a logarithmic axis
_COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE, style.ORANGE, style.SKY, style.BLACK, BROWN)
_MARKERS = "os^dvpP*"
_DASHES: tuple[Any, ...] = (SOLID, DASHED, DOTTED)
_LETTERS = "abcdefghijkl"


def draw(results: Results) -> Figure | None:
    """The figure; None where nothing was measured."""
    metrics = metrics_of(results)[:MOST_METRICS]
    frames = {metric: means(results, metric) for metric in metrics}
    frames = {metric: frame for metric, frame in frames.items() if len(frame)}
    if not frames:
        return None
    keys = keys_of(results)
    along = x_key(next(iter(frames.values())), keys)
    if along is not None and _crowded(frames):
        keys = ["case", *keys]
        frames = {metric: frame.assign(label=frame["algorithm"]) for metric, frame in frames.items()}
    first = next(iter(frames.values()))
    labels = dict.fromkeys(label for frame in frames.values() for label in frame["label"])
    looks = {
        label: Look(label, _COLOURS[index % 8], _DASHES[index // 8 % 3], _MARKERS[index % 8])
        for index, label in enumerate(labels)
    }
    seeds = max(int(frame["seeds"].max()) for frame in frames.values())
    about = f"{results.name}: " + (f"means over {seeds} seeds" if seeds > 1 else "one seed") + ", two standard errors"
    if along is None:
        return _dots(frames, keys, results.table, about)
    others = [key for key in keys if key != along]
    places = list(first[others].drop_duplicates().itertuples(index=False, name=None)) if others else [()]
    return _curves(frames, along, [dict(zip(others, place, strict=True)) for place in places], looks, about)


def _crowded(frames: Mapping[Metric, pd.DataFrame]) -> bool:
    """Whether the lines of several cases are more than one panel takes, so that each case has panels of its own."""
    frame = max(frames.values(), key=lambda each: each["label"].nunique())
    return frame["case"].nunique() > 1 and frame["algorithm"].nunique() > 1 and frame["label"].nunique() > MOST_LINES


def x_key(frame: pd.DataFrame, keys: Sequence[str]) -> str | None:
    """The numeric key with the most values, keys of the grid before the SNR; None where none is numeric."""
    numeric = [key for key in keys if _is_number(frame[key])]
    of_grid = [key for key in numeric if key != SNR]
    return max(of_grid or numeric, key=lambda key: frame[key].nunique(), default=None)


def _is_number(values: pd.Series[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values.tolist())


def _curves(
    frames: Mapping[Metric, pd.DataFrame],
    along: str,
    places: Sequence[Mapping[str, Any]],
    looks: Mapping[str, Look],
    about: str,
) -> Figure:
    """Curves along a key, one panel for each metric and other place."""
    metrics = list(frames)
    if len(places) > MOST_COLUMNS:
        metrics, places = metrics[:1], places[:MOST_PANELS]
    panels = [(metric, place) for metric in metrics for place in places]
    columns = len(places) if len(metrics) > 1 else min(len(places), 3)
    rows = -(-len(panels) // columns)
    width = style.COLUMN_IN if columns == 1 else style.PAGE_IN
    height = 0.45 + 1.95 * rows + 0.14 * -(-len(looks) // (2 if columns == 1 else 4))
    shared = "row" if len(metrics) > 1 else "all"
    figure, grid = style.new_figure(width, height, rows, columns, sharex=True, sharey=shared, squeeze=False)
    for index, (axes, (metric, place)) in enumerate(zip(grid.flat, panels, strict=False)):
        here = frames[metric]
        for key, value in place.items():
            here = here[here[key] == value]
        for label, look in looks.items():
            _line(axes, here[here["label"] == label], along, metric, look)
        _set_axes(axes, here[along], metric)
        if len(panels) > 1:
            style.panel_letter(axes, _LETTERS[index], ", ".join(_named(*each) for each in place.items()))
        if index % columns == 0:
            axes.set_ylabel(metric.label)
        if index + columns >= len(panels):
            axes.set_xlabel("SNR (dB)" if along == SNR else axis_label(along))
            axes.tick_params(labelbottom=True)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    legend_below(figure, grid.flat[0], columns=2 if columns == 1 else 4, also=grid.flat)
    _tell_about(figure, about)
    figure.align_ylabels()
    return figure


def _line(axes: Axes, rows: pd.DataFrame, along: str, metric: Metric, look: Look) -> None:
    """Means with bars; where no error was seen, a bound that points down."""
    rows = rows.sort_values(along)
    error = ERRORS * rows["error"].fillna(0.0)
    shown = rows["mean"] > (FEW * rows["error"].fillna(0.0) if metric.log else -math.inf)
    shown &= rows["mean"] > 0 if metric.log else True
    kept, bars = rows[shown], error[shown]
    if len(kept):
        low = bars.clip(upper=0.9 * kept["mean"]) if metric.log else bars
        drawn = [low, bars] if (bars > 0).any() else None
        axes.errorbar(kept[along], kept["mean"], yerr=drawn, capsize=1.8, elinewidth=0.7, **look.points)
    bounds = rows[rows["high"].notna() & ~shown]
    if len(bounds):
        marks: dict[str, Any] = {
            "color": look.colour,
            "marker": 7,
            "linestyle": "none",
            "markersize": 4,
            "markerfacecolor": "white",
        }
        axes.plot(bounds[along], bounds["high"], **marks)


def _set_axes(axes: Axes, values: pd.Series[Any], metric: Metric) -> None:
    if metric.log:
        axes.set_yscale("log")
    else:
        axes.margins(y=0.1)
        if axes.get_ylim()[0] < 0 and metric.column != "sum_rate":
            axes.set_ylim(bottom=0)
    at = sorted(set(values.tolist()))
    if at and at[0] > 0 and at[-1] >= WIDE * at[0]:
        axes.set_xscale("log")
    elif len(at) <= 8:
        axes.set_xticks(at, [f"{value:g}" for value in at])
    axes.grid(which="major")


def _dots(frames: Mapping[Metric, pd.DataFrame], keys: Sequence[str], table: pd.DataFrame, about: str) -> Figure:
    """One row for each line and place, the metrics side by side."""
    metrics = list(frames)
    named = {metric: {_row(row, keys): row for _, row in frame.iterrows()} for metric, frame in frames.items()}
    names = list(dict.fromkeys(name for rows in named.values() for name in rows))
    width = style.COLUMN_IN if len(metrics) == 1 else style.PAGE_IN
    figure, grid = style.new_figure(width, 0.75 + 0.22 * len(names), 1, len(metrics), sharey=True, squeeze=False)
    _tell_about(figure, about)
    for axes, metric in zip(grid.flat, metrics, strict=True):
        for place, name in enumerate(names):
            row = named[metric].get(name)
            if row is not None:
                _dot(axes, row, place, metric)
        axes.set_yticks(range(len(names)), names)
        if metric.log:
            axes.set_xscale("log")
            if "activity" in table:
                axes.axvline(table["activity"].mean(), color=style.BLACK, linestyle=DOTTED, linewidth=0.8)
                axes.set_title("dotted: nobody is found")
        axes.margins(x=0.12, y=0.5 / len(names))
        axes.grid(which="major")
        axes.set_xlabel(metric.label)
    grid.flat[0].invert_yaxis()
    return figure


def _tell_about(figure: Figure, about: str) -> None:
    """Say above the panels, in small letters, which sweep it is, and what points and bars are."""
    figure.suptitle(about, x=0.01, ha="left", fontsize=6.5, color=style.GREY)


def _dot(axes: Axes, row: pd.Series[Any], place: int, metric: Metric) -> None:
    mean, bar = float(row["mean"]), ERRORS * (0.0 if math.isnan(row["error"]) else float(row["error"]))
    colour = style.BLUE if row["learned"] else style.GREY
    if metric.log and mean <= 0:
        if not math.isnan(row["high"]):
            axes.plot([row["high"]], [place], marker=4, color=colour, markerfacecolor="white", markersize=5)
        return
    low = min(bar, 0.9 * mean) if metric.log else bar
    options: dict[str, Any] = {"fmt": "o", "color": colour, "markersize": 4, "capsize": 2, "elinewidth": 0.8}
    axes.errorbar([mean], [place], xerr=[[low], [bar]] if bar else None, **options)


def _row(row: pd.Series[Any], keys: Sequence[str]) -> str:
    places = ", ".join(_named(key, row[key]) for key in keys)
    return f"{places}: {row['label']}" if places else str(row["label"])


def _named(key: str, value: Any) -> str:
    """A value of a key, in a title."""
    if key == SNR:
        return f"{value:g} dB"
    if isinstance(value, str):
        return value
    label = axis_label(key)
    words = label.lower() if len(label) <= SHORT else short_name(key).replace("_", " ")
    return f"{words} {value:g}" if isinstance(value, int | float) else f"{value}"
