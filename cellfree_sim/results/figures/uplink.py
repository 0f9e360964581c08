"""The uplink: error rates against SNR and against bytes, where the latency goes, and how services do over time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.results.analysis import RunData
from cellfree_sim.results.figures import style
from cellfree_sim.results.uplink import (
    LATENCY_PARTS,
    STATE_METRICS,
    ErrorRate,
    ServiceRecord,
    service_records,
    symbols_in_words,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE, style.ORANGE, style.SKY, style.BLACK, style.GREY)
MARKERS = "osD^vP*X"
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
PART_NAMES = {"queue_s": "queue", "compute_s": "compute", "backhaul_s": "backhaul"}
PART_COLOURS = {"queue_s": style.VERMILION, "compute_s": style.BLUE, "backhaul_s": style.ORANGE}
NOBODY: dict[str, Any] = {"color": style.GREY, "linestyle": (0, (4, 2)), "linewidth": 1.1}
STATE_LOOKS = {
    "missed": ("<", style.BLUE, "missed"),
    "false_alarms": ("x", style.VERMILION, "false alarms"),
    "data": ("+", style.GREEN, "wrong data"),
}
LEGEND_ROW_IN = 0.16
SHIFT_PT, WIDEST_SHIFT_PT = 2.2, 9.0
EVENT_WORDS = {
    "swap_detector": "{service} → {detector}",
    "fail_service": "{service} fails",
    "set_activity": "activity changes",
    "retrained": "{service} retrained",
}
POINTS = 30
LOG_FROM = 30.0  # ratio of the longest latency to the shortest, from which a logarithmic axis shows more


def draw_rates(run: RunData) -> Figure | None:
    """SER and BER of each service against the SNR; None where there are fewer than two SNRs."""
    records = service_records(run)
    if max((len(record.snr_db) for record in records), default=0) < 2:
        return None
    figure, panels = style.new_figure(style.PAGE_IN, 2.7 + _legend_rows(records) * LEGEND_ROW_IN, 1, 2)
    word = symbols_in_words(records)
    for axes, metric, letter in zip(panels, ("ser", "ber"), "ab", strict=True):
        for record, look, shift in zip(records, looks(len(records)), shifts(len(records)), strict=True):
            draw_curve(axes, record.snr_db, record.rates[metric], look, record.name, shift)
        if metric == "ser" and records[0].active:
            axes.plot(records[0].snr_db, records[0].active, label="nobody found", zorder=1.5, **NOBODY)
        axes.set_yscale("log")
        axes.autoscale_view()
        axes.set_xlabel("SNR that power control aims at (dB)")
        axes.set_ylabel({"ser": f"{word} error rate", "ber": "bit error rate"}[metric])
        axes.grid()
        style.panel_letter(axes, letter, {"ser": f"{word}s", "ber": "bits"}[metric])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=_columns(records))
    return figure


def draw_states(run: RunData) -> Figure | None:
    """Errors in users' states of each service, and what they are made of; None where users are never silent."""
    records = [record for record in service_records(run) if record.active and record.slots]
    if not records:
        return None
    figure, axes = style.new_figure(style.COLUMN_IN, 1.25 + 0.26 * max(len(records), 2))
    for place, record in enumerate(records):
        rates = record.rates["ser"]
        total = sum(rate.value for rate in rates) / len(rates)
        bars = error_bars(rates[0]) if len(rates) == 1 else None
        found = [record.states[metric] or math.nan for metric in STATE_METRICS]
        if total > 0:
            axes.errorbar(
                total, place, xerr=bars, marker="o", markersize=5, color=style.BLACK, elinewidth=0.9, capsize=2,
                linestyle="none", label="all errors" if place == 0 else "_all",
            )  # fmt: skip
        elif rates[0].high > 0:
            axes.plot(rates[0].high, place, marker="<", markersize=5, color=style.BLACK, markerfacecolor="white")
        for metric, share in zip(STATE_METRICS, found, strict=True):
            marker, colour, name = STATE_LOOKS[metric]
            axes.plot(
                share, place, marker=marker, markersize=4.5, color=colour, linestyle="none", markeredgewidth=1.2,
                label=name if place == 0 else f"_{name}",
            )  # fmt: skip
    active = [share for record in records for share in record.active]
    axes.axvline(sum(active) / len(active), label="nobody found", **{**NOBODY, "marker": ""})
    axes.set_xscale("log")
    axes.set_yticks(range(len(records)), [record.name for record in records])
    axes.set_ylim(len(records) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("share of all states of users")
    axes.grid(axis="x")
    figure.legend(loc="outside lower center", ncols=3, columnspacing=1.0, handletextpad=0.3)
    return figure


def draw_bytes(run: RunData) -> Figure | None:
    """SER against backhaul bytes per slot, a colour for each SNR; None where no service sent anything."""
    from matplotlib.lines import Line2D

    records = [record for record in service_records(run) if math.isfinite(record.bytes_per_slot)]
    if len(records) < 2 or not any(record.bytes_per_slot for record in records):
        return None
    all_snr = sorted({snr for record in records for snr in record.snr_db})
    rows = max(_legend_rows(records, columns=2), -(-len(all_snr) // 2))
    figure, axes = style.new_figure(style.COLUMN_IN, 2.6 + (rows + _legend_rows(all_snr, columns=4)) * LEGEND_ROW_IN)
    place = _places([record.bytes_per_slot for record in records])
    shades = dict(zip(all_snr, _shades(len(all_snr)), strict=True))
    marks = looks(len(records))
    aside = dict(zip(all_snr, shifts(len(all_snr)), strict=True))
    for record, look in zip(records, marks, strict=True):
        for snr_db, rate in zip(record.snr_db, record.rates["ser"], strict=True):
            height = rate.value if rate.value > 0 else rate.high
            if not height > 0:
                continue
            axes.update_datalim([(place[record.bytes_per_slot], end) for end in _ends(rate) if end > 0])
            axes.errorbar(
                place[record.bytes_per_slot], height, yerr=error_bars(rate) if rate.value > 0 else None,
                marker=look["marker"], color=shades[snr_db], markersize=4.8, elinewidth=0.8, capsize=1.5,
                markerfacecolor=shades[snr_db] if rate.value > 0 else "white", linestyle="none",
                markeredgewidth=0.8, label=f"_{record.name}", transform=style.aside(axes, aside[snr_db]),
            )  # fmt: skip
    axes.set_yscale("log")
    axes.margins(x=0.1)
    axes.autoscale_view()
    _byte_axis(axes, place)
    axes.set_ylabel(f"{symbols_in_words(records)} error rate")
    axes.grid()
    handles = [
        Line2D([], [], color=style.BLACK, linestyle="none", marker=look["marker"], markersize=4.5, label=record.name)
        for record, look in zip(records, marks, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, handletextpad=0.3)
    if len(all_snr) > 1:
        patches = [Line2D([], [], color=shade, linewidth=4, label=f"{snr:g} dB") for snr, shade in shades.items()]
        look = {"ncols": 4, "handlelength": 1.0, "handletextpad": 0.7, "columnspacing": 1.2}
        axes.legend(handles=patches, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2, **look)
    return figure


def draw_latency(run: RunData) -> Figure | None:
    """Mean latency of each service, split by what it went into; a mark at its 99th percentile."""
    records = [record for record in service_records(run) if math.isfinite(record.latency_s)]
    if not records:
        return None
    figure, axes = style.new_figure(style.COLUMN_IN, 1.0 + 0.26 * max(len(records), 2))
    places = range(len(records))
    left = np.zeros(len(records))
    for part in LATENCY_PARTS:
        widths = np.array([1e3 * record.parts_s[part] for record in records])
        if not widths.any():
            continue
        axes.barh(places, widths, left=left, height=0.6, color=PART_COLOURS[part], label=PART_NAMES[part])
        left = left + widths
    tails = [1e3 * record.latency_p99_s for record in records]
    axes.plot(
        tails, list(places), linestyle="none", marker="|", markersize=9, markeredgewidth=1.4, color=style.BLACK,
        label="99th percentile",
    )  # fmt: skip
    axes.set_yticks(list(places), [record.name for record in records])
    axes.set_ylim(len(records) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1.06 * max([*tails, *left, 1e-9]))
    axes.set_xlabel("simulated latency of a burst (ms)")
    axes.grid(axis="x")
    figure.legend(loc="outside lower center", ncols=4, columnspacing=1.0, handlelength=1.2, handletextpad=0.4)
    return figure


def draw_time(run: RunData) -> Figure | None:
    """SER and latency of each service over the bursts; None for too short a run to show any course."""
    records = service_records(run)
    bursts = int(run.uplink["burst"].max()) + 1 if records else 0
    if bursts < 10:
        return None
    height = 3.3 + _legend_rows(records, columns=2) * LEGEND_ROW_IN
    figure, (errors, latency) = style.new_figure(style.COLUMN_IN, height, 2, 1, sharex=True)
    snrs = len({float(each) for each in run.uplink["snr_db"]})
    width = snrs * max(1, -(-bursts // (POINTS * snrs)))  # so that each point has the same mixture of SNRs
    for record, look in zip(records, looks(len(records)), strict=True):
        rows = run.uplink[run.uplink["service"] == record.name]
        bins = rows.groupby(rows["burst"] // width)
        middles = (bins["burst"].min() + bins["burst"].max() + 1) / 2
        line = {**look, "marker": ".", "markersize": 2.5, "linewidth": 1.0}
        rates = bins["symbol_errors"].sum() / bins["symbols"].sum()
        errors.plot(middles, rates.where(rates > 0), label=record.name, **line)
        none = middles[rates == 0]
        if len(none):
            _at_the_bottom(errors, none.tolist(), record.name, look["color"])
        latency.plot(middles, 1e3 * bins["latency_s"].mean(), **line)
    if np.isfinite(_smallest(errors)):
        errors.set_yscale("log")
    errors.set_ylabel(f"{symbols_in_words(records)} error rate")
    latency.set_ylabel("latency (ms)")
    if _largest(latency) > LOG_FROM * _smallest(latency):
        latency.set_yscale("log")
    else:
        latency.set_ylim(bottom=0)
    latency.set_xlabel("burst" + (f" (means of {width})" if width > 1 else ""))
    latency.set_xlim(0, bursts)
    for axes in (errors, latency):
        axes.grid(axis="y")
    _mark_events(run, errors, latency)
    figure.align_ylabels([errors, latency])
    figure.legend(*errors.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _at_the_bottom(axes: Axes, places: Sequence[float], name: str, colour: str) -> None:
    """Hollow marks where a curve on a logarithmic axis is nothing."""
    (marks,) = axes.plot(
        places, [0.0] * len(places), linestyle="none", marker="v", markersize=3, markerfacecolor="white", color=colour,
        clip_on=False, transform=axes.get_xaxis_transform(), label=f"_{name}, none",
    )  # fmt: skip
    marks.set_in_layout(False)
    style.belongs(marks, name)


def draw_curve(
    axes: Axes, snr_db: Sequence[float], rates: Sequence[ErrorRate], look: dict[str, Any], name: str, shift_pt: float
) -> None:
    """Error rates with bars, moved a little aside so that equal ones can be told apart.

    Where nothing went wrong, a hollow mark stands at the upper end of the interval.
    """
    aside = style.aside(axes, shift_pt)
    seen = [(x, rate) for x, rate in zip(snr_db, rates, strict=True) if rate.value > 0]
    bars = np.array([error_bars(rate) or [[0.0], [0.0]] for _, rate in seen]).reshape(-1, 2).T
    if seen:
        axes.errorbar(
            [x for x, _ in seen], [rate.value for _, rate in seen], yerr=bars, label=name, markersize=4,
            elinewidth=0.8, capsize=1.5, markeredgecolor="white", markeredgewidth=0.4, transform=aside, **look,
        )  # fmt: skip
    else:
        axes.plot([], [], label=name, markersize=4, **look)
    below = [(x, rate.high) for x, rate in zip(snr_db, rates, strict=True) if rate.value == 0 and rate.high > 0]
    (marks,) = axes.plot(
        [x for x, _ in below], [high for _, high in below], linestyle="none", marker="v", markersize=4.5,
        markerfacecolor="white", color=look["color"], label=f"_{name}, at most", transform=aside,
    )  # fmt: skip
    axes.update_datalim([(x, end) for x, rate in zip(snr_db, rates, strict=True) for end in _ends(rate) if end > 0])
    style.belongs(marks, name)
    style.tell(marks, [f"at {x:g} dB no error; at most {high:.3g} (95 %)" for x, high in below])


def _ends(rate: ErrorRate) -> list[float]:
    """What of an error rate has to be seen in a panel."""
    ends = [rate.value, rate.low, rate.high] if rate.value > 0 else [rate.high]
    return [end for end in ends if math.isfinite(end)]


def error_bars(rate: ErrorRate) -> list[list[float]] | None:
    """Lengths of the error bar, below and above; None where the interval is not known."""
    if not (math.isfinite(rate.low) and math.isfinite(rate.high)):
        return None
    return [[max(rate.value - rate.low, 0.0)], [max(rate.high - rate.value, 0.0)]]


def looks(count: int) -> list[dict[str, Any]]:
    """Colour, mark and dash of each of so many curves; through the gaps of a later one an equal earlier one is seen."""
    return [
        {
            "color": COLOURS[index % len(COLOURS)],
            "marker": MARKERS[index % len(MARKERS)],
            "linestyle": DASHES[index % len(DASHES)],
            "linewidth": 1.2,
        }
        for index in range(count)
    ]


def shifts(count: int) -> list[float]:
    """How far each of so many curves is moved aside, points."""
    step = min(SHIFT_PT, WIDEST_SHIFT_PT / max(count - 1, 1))
    return [step * (index - (count - 1) / 2) for index in range(count)]


def _shades(count: int) -> list[Any]:
    """Colours from light to dark, one for each SNR."""
    from matplotlib.colors import LinearSegmentedColormap

    scale = LinearSegmentedColormap.from_list("snr", ["#8FBEE0", style.BLUE, "#06283D"])
    return [scale(index / max(count - 1, 1)) if count > 1 else style.BLUE for index in range(count)]


def _places(sizes: Sequence[float]) -> dict[float, float]:
    """Where numbers of bytes stand on a logarithmic axis; nothing at all stands a step before the smallest."""
    some = [size for size in sizes if size > 0]
    zero = math.log10(min(some)) - max(0.35, 0.3 * (math.log10(max(some)) - math.log10(min(some))))
    return {size: math.log10(size) if size > 0 else zero for size in sizes}


def _byte_axis(axes: Axes, place: dict[float, float]) -> None:
    """Ticks in bytes at 1, 2 and 5 times powers of ten, and one for nothing."""
    some = [x for size, x in place.items() if size > 0]
    low, high = min(some) - 0.1, max(some) + 0.1
    steps = [each * 10.0**power for power in range(-1, 12) for each in (1, 2, 5)]
    ticks = {math.log10(step): _plain(step) for step in steps if low <= math.log10(step) <= high}
    if len(ticks) > 7:
        ticks = {x: text for x, text in ticks.items() if text.startswith("1")}
    if 0.0 in place:
        ticks[place[0.0]] = "0"
        axes.axvline((place[0.0] + min(some)) / 2, color=style.GREY, linewidth=0.6, linestyle=(0, (2, 2)))
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xlabel("backhaul bytes per slot" + (" (logarithmic beyond 0)" if 0.0 in place else ""))


def _plain(size: float) -> str:
    return f"{size / 1e6:g} M" if size >= 1e6 else f"{size / 1e3:g} k" if size >= 1e3 else f"{size:g}"


def _largest(axes: Axes) -> float:
    values = [float(v) for line in axes.get_lines() for v in np.asarray(line.get_ydata(), float) if v > 0]
    return max(values, default=math.nan)


def _smallest(axes: Axes) -> float:
    values = [float(v) for line in axes.get_lines() for v in np.asarray(line.get_ydata(), float) if v > 0]
    return min(values, default=math.nan)


def _mark_events(run: RunData, upper: Axes, lower: Axes) -> None:
    """A thin line where something happened to a service, named above."""
    events: dict[int, list[str]] = {}
    for event in run.happened:
        words = EVENT_WORDS.get(event["event"])
        if words is not None:
            text = words.format(**{"service": "", "detector": "", **event})
            events.setdefault(int(event["at_burst"]), []).append(text)
    for row, (burst, texts) in enumerate(sorted(events.items())):
        for axes in (upper, lower):
            axes.axvline(burst, color=style.GREY, linewidth=0.7, zorder=0.5)
        upper.annotate(
            "; ".join(texts), xy=(burst, 1), xycoords=upper.get_xaxis_transform(), xytext=(0, 3 + 8 * (row % 3)),
            textcoords="offset points", ha="center", va="bottom", fontsize=6,
        )  # fmt: skip


def _columns(records: Sequence[ServiceRecord]) -> int:
    longest = max((len(record.name) for record in records), default=1)
    return min(len(records), 2 if longest > 30 else 3 if longest > 18 else 4)


def _legend_rows(records: Sequence[Any], columns: int | None = None) -> int:
    return -(-len(records) // (columns or max(_columns(records), 1)))
