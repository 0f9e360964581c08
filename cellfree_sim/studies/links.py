"""Links of scenarios that belong to no study: measured, as a table and a figure.

`cellfree sweep` on a scenario with a `link` measures what stands there at each of its points, whichever its family.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import UserError
from cellfree_sim.results.figures import style
from cellfree_sim.studies.noma_plots import BROWN
from cellfree_sim.studies.plots import DASHED, DOTTED, SOLID, Look, legend_below
from cellfree_sim.studies.verdicts import ERRORS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.studies.results import Results

FEW = 3.0  # standard errors below which a rate is not drawn
RATES = {
    "ser": "symbol or state error rate",
    "ber": "bit error rate",
    "ber_missed": "bit error rate with misses",
    "bler": "message error rate",
    "missed": "missed",
    "false_alarms": "false alarms",
    "data": "wrong data",
}
_COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE, style.ORANGE, style.SKY, style.BLACK, BROWN)
_MARKERS = "os^dvpP*"
_DASHES: tuple[Any, ...] = (SOLID, DASHED, DOTTED)


def evaluate(scenario: Scenario) -> list[dict[str, Any]]:
    """The rows that the link of a scenario gives, by its family.

    Raises:
        UserError: it has none, or nothing of it can be measured.
    """
    from cellfree_sim.studies import link, mmtc_link, noma_link

    if scenario.link is None:
        raise UserError("link: not given; allowed: a problem, detectors and SNRs to measure")
    by_family = {"mimo": link.evaluate, "noma": noma_link.evaluate, "mmtc": mmtc_link.evaluate}
    return by_family[scenario.link.family](scenario)


def primary(results: Results) -> str:
    """The rate that counts: that of the link, or symbol errors."""
    return str(getattr(results.ended[0].point.scenario.link, "rate", "ser"))


def rows(results: Results) -> list[list[str]]:
    """A table for people: means over seeds, each rate with its standard error, and what could not be measured."""
    from cellfree_sim.scenario.sweep import short_name

    table = results.table
    keys = [*results.places[0]]
    if "snr_db" not in table:
        return [["nothing was measured"]]
    measured = table[table["snr_db"].notna()]
    wanted = [primary(results), *(rate for rate in RATES if rate != primary(results))]
    found = [rate for rate in wanted if rate in measured]
    columns = [str(column) for column in measured]
    found += [name for name in columns if name.startswith("bler_") and not name.endswith("_error") and " " not in name]
    found = [rate for rate in found if rate == primary(results) or measured[rate].fillna(0.0).any()]
    head = ["case", *(short_name(key) for key in keys), "SNR, dB", "scheme", "frames", *found]
    lines = [head]
    for values, group in measured.groupby(["case", *keys, "snr_db", "algorithm"], sort=False):
        *place, name = [f"{each:g}" if isinstance(each, float) else str(each) for each in values]
        rates = [_with_error(group[rate], group[f"{rate}_error"]) for rate in found]
        lines.append([*place, name, str(int(group["slots"].sum())), *rates])
    left_out = [0] if not any(line[0] for line in lines[1:]) else []
    left_out += [1 + len(keys)] if _without_snr(results) else []
    return [[cell for place, cell in enumerate(line) if place not in left_out] for line in lines]


def _without_snr(results: Results) -> bool:
    """Whether powers follow from the problem, and not from an SNR."""
    link = results.ended[0].point.scenario.link
    return link is not None and link.family == "mmtc"


def notes(results: Results) -> list[str]:
    """Why a scheme could not be measured, each once."""
    table = results.table
    if "note" not in table:
        return []
    found = table[table["note"].notna()]
    return list(dict.fromkeys(f"{row['algorithm']}: {row['note']}" for _, row in found.iterrows()))


def _with_error(values: pd.Series[float], errors: pd.Series[float]) -> str:
    mean = float(values.mean())
    error = math.sqrt(float((errors**2).sum())) / len(errors)
    if len(values) > 1:
        error = max(error, float(values.std(ddof=1)) / math.sqrt(len(values)))
    return f"{mean:.3g} ± {error:.1g}" if math.isfinite(mean) else "-"


def draw(results: Results) -> Figure:
    """The rate that counts against the SNR, one panel for each case; one point for each detector without an SNR."""
    rate = primary(results)
    table = results.table
    measured = table[table["snr_db"].notna()]
    if _without_snr(results):
        return _bars(measured, rate)
    cases = list(dict.fromkeys(measured["case"]))
    columns = min(len(cases), 3)
    lines = -(-len(cases) // columns)
    names = list(dict.fromkeys(measured["algorithm"]))
    looks = {
        name: Look(str(name), _COLOURS[index % 8], _DASHES[index // 8 % 3], _MARKERS[index % 8])
        for index, name in enumerate(names)
    }
    width = style.COLUMN_IN if columns == 1 else style.PAGE_IN
    figure, grid = style.new_figure(width, 0.6 + 2.6 * lines, lines, columns, sharey=True, squeeze=False)
    for index, (axes, case) in enumerate(zip(grid.flat, cases, strict=False)):
        for name, look in looks.items():
            _line(axes, measured[(measured["case"] == case) & (measured["algorithm"] == name)], rate, look)
        axes.set_yscale("log")
        axes.grid(which="major")
        axes.set_xlabel("SNR (dB)")
        if case:
            style.panel_letter(axes, "abcdefghi"[index], str(case))
        if index % columns == 0:
            axes.set_ylabel(RATES[rate])
    for axes in list(grid.flat)[len(cases) :]:
        axes.set_visible(False)
    most = max(grid.flat, key=lambda axes: len(axes.get_legend_handles_labels()[1]))
    legend_below(figure, most, columns=2 if columns == 1 else 3, also=grid.flat)
    return figure


def _bars(measured: pd.DataFrame, rate: str) -> Figure:
    """One bar for each detector and case: means over seeds and places."""
    labels = measured["case"].where(measured["case"] == "", measured["case"] + ", ") + measured["algorithm"]
    by = measured.assign(label=labels).groupby("label", sort=False)
    mean = by[rate].mean()
    error = by[f"{rate}_error"].apply(lambda errors: math.sqrt(float((errors**2).sum())) / len(errors))
    figure, axes = style.new_figure(style.COLUMN_IN, 0.8 + 0.28 * len(mean))
    places = range(len(mean))
    axes.errorbar(mean, places, xerr=ERRORS * error, fmt="o", color=style.BLUE, capsize=2, markersize=4)
    if "activity" in measured:
        axes.axvline(measured["activity"].mean(), color=style.BLACK, linestyle=DOTTED, linewidth=0.8)
        axes.set_title("dotted: nobody is found")
    axes.set_yticks(places, list(mean.index))
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.grid(which="major", axis="x")
    axes.set_xlabel(f"{RATES[rate]} (bars: two standard errors)")
    return figure


def _line(axes: Any, rows: pd.DataFrame, rate: str, look: Look) -> None:
    """Means over seeds and places, with bars of two standard errors."""
    if not len(rows):
        return
    by = rows.groupby("snr_db")
    mean = by[rate].mean()
    error = by[f"{rate}_error"].apply(lambda errors: math.sqrt(float((errors**2).sum())) / len(errors))
    kept = mean[mean > FEW * error].index
    if len(kept):
        low = (ERRORS * error[kept]).clip(upper=0.9 * mean[kept])
        bars = [low, ERRORS * error[kept]]
        axes.errorbar(kept, mean[kept], yerr=bars, capsize=1.8, elinewidth=0.7, **look.points)
