"""Several runs in one figure: learning curves, rates, gains, error rates, bytes; a colour for each run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cellfree_sim.results.analysis import CONFIDENCE_95, user_rates
from cellfree_sim.results.comparison import rate_difference
from cellfree_sim.results.figures import style
from cellfree_sim.results.figures.distributions import draw_distribution, draw_gains, name_panels, rate_axis
from cellfree_sim.results.figures.traffic import COLOURS as PURPOSE_COLOURS
from cellfree_sim.results.figures.uplink import LEGEND_ROW_IN, draw_curve, error_bars, looks, shifts
from cellfree_sim.results.formats import byte_size
from cellfree_sim.results.uplink import symbols_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cellfree_sim.results.comparison import Contender


FEW_RUNS = 5  # so many bars beside each other can be labelled
KINDS_SHOWN, LEAST_PART = 6, 0.003  # kinds of messages: so many, and no smaller part of the largest than this
LEGEND_BELOW_IN, LEGEND_LETTERS = 0.36, 54


def draw_learning(compared: Sequence[Contender]) -> Figure | None:
    """Validation sum rate against the training step, with what the test came to; None where nothing was trained."""
    shown = [each for each in compared if (each.run.metrics["phase"] == "validation").any() and each.run.has_downlink]
    if not any((each.run.metrics["phase"] == "training").any() for each in shown):
        return None
    figure, axes = style.new_figure(style.COLUMN_IN, 2.5 + LEGEND_ROW_IN * _rows(shown))
    for each, look, shift in zip(compared, looks(len(compared)), shifts(len(compared)), strict=True):
        if each not in shown:
            continue
        rows = each.run.metrics[each.run.metrics["phase"] == "validation"]
        half = CONFIDENCE_95 * rows["sum_rate_error"]
        if np.isfinite(half).any():
            ends = (rows["sum_rate"] - half, rows["sum_rate"] + half)
            style.band(axes, rows["step"], *ends, each.label, look["color"])
        axes.plot(rows["step"], rows["sum_rate"], label=each.label, markersize=2.6, **look)
        if each.learned is not None:
            error = CONFIDENCE_95 * each.learned.sum_rate_se
            test = axes.errorbar(
                rows["step"].max(), each.learned.sum_rate, yerr=error if math.isfinite(error) else None, marker="*",
                markersize=6.5, color=look["color"], linestyle="none", elinewidth=0.9, capsize=2, zorder=4,
                transform=style.aside(axes, 4 + shift), label="_test", clip_on=False,
            )  # fmt: skip
            axes.update_datalim([(rows["step"].max(), each.learned.sum_rate + (error if math.isfinite(error) else 0))])
            for part in test.get_children():
                style.belongs(part, each.label, "test")
    axes.autoscale_view()
    axes.set_xlabel("training step")
    axes.set_ylabel("sum rate (bit/s/Hz)")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=_columns(shown))
    return figure


def draw_rates(compared: Sequence[Contender]) -> Figure | None:
    """Distributions of the rates of (a) users and (b) realisations; None without held-out rates."""
    shown = [each for each in compared if each.learned is not None]
    if not shown:
        return None
    figure, (users, sums) = style.new_figure(style.PAGE_IN, 2.4 + LEGEND_ROW_IN * _rows(shown, wide=True), 1, 2)
    for each, look in zip(compared, looks(len(compared)), strict=True):
        if each not in shown:
            continue
        of_users = user_rates(each.run.rates, each.run.algorithm)
        line = {key: value for key, value in look.items() if key != "marker"}
        for axes, values in ((users, of_users), (sums, of_users.sum(axis=1, keepdims=True))):
            draw_distribution(axes, values, each.label, line)
    wanted = {each.run.min_rate for each in shown}
    highest = max(float(each.run.rates["rate"].max()) for each in shown)
    rate_axis(users, highest, wanted.pop() if len(wanted) == 1 else None)
    name_panels(users, sums)
    figure.legend(*sums.get_legend_handles_labels(), loc="outside lower center", ncols=_columns(shown, wide=True))
    return figure


def draw_paired(compared: Sequence[Contender]) -> Figure | None:
    """Sum rate of each run minus that of the first on the same realisation; None where no two were paired."""
    first, *others = compared
    colours = [look["color"] for look in looks(len(compared))]
    gains = []
    for other, colour in zip(others, colours[1:], strict=True):
        found = rate_difference(first, other)
        if found.how == "paired":
            own, base = (user_rates(each.run.rates, each.run.algorithm).sum(axis=1) for each in (other, first))
            gains.append((other.label, own - base, found.mean, found.error, colour))
    over = f"sum rate gained (bit/s/Hz)\nover {first.label}"
    return draw_gains(gains, over) if gains else None


def draw_errors(compared: Sequence[Contender]) -> Figure | None:
    """Error rates of all services: a colour for each run, a mark and dash for each service; None without an uplink."""
    shown = [each for each in compared if any(record.snr_db for record in each.services)]
    if not shown:
        return None
    services = list(dict.fromkeys(record.name for each in shown for record in each.services))
    several = any(len(record.snr_db) > 1 for each in shown for record in each.services)
    word = symbols_in_words([record for each in shown for record in each.services])
    return _against_snr(compared, services, word) if several else _at_one_snr(compared, services, word)


def _against_snr(compared: Sequence[Contender], services: list[str], word: str) -> Figure:
    entries = sum(len(each.services) for each in compared)
    columns = 2 if max(map(len, _both_names(compared))) > 30 else 3
    height = 2.8 + LEGEND_ROW_IN * -(-entries // columns)
    figure, axes = style.new_figure(style.PAGE_IN, height)
    places = iter(shifts(entries))
    alone = sum(bool(each.services) for each in compared) == 1
    of_services = looks(len(services))
    for each, look in zip(compared, looks(len(compared)), strict=True):
        for record in each.services:
            own = dict(of_services[services.index(record.name)])
            if not alone:
                own["color"] = look["color"]
            draw_curve(axes, record.snr_db, record.rates["ser"], own, f"{each.label}: {record.name}", next(places))
    axes.set_yscale("log")
    axes.autoscale_view()
    axes.set_xlabel("SNR that power control aims at (dB)")
    axes.set_ylabel(f"{word} error rate")
    axes.grid()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns)
    return figure


def _at_one_snr(compared: Sequence[Contender], services: list[str], word: str) -> Figure:
    height = 1.1 + 0.3 * max(len(services), 2) + LEGEND_ROW_IN * _rows(compared)
    figure, axes = style.new_figure(style.COLUMN_IN, height)
    for number, (each, look) in enumerate(zip(compared, looks(len(compared)), strict=True)):
        row = 0.12 * (number - (len(compared) - 1) / 2) * 4 / max(len(compared), 4)
        label = each.label
        for record in each.services:
            rate = record.rates["ser"][0]
            height_of = services.index(record.name) + row
            if rate.value > 0:
                axes.errorbar(
                    rate.value, height_of, xerr=error_bars(rate), label=label, markersize=4, elinewidth=0.8,
                    capsize=1.5, **{**look, "linestyle": "none"},
                )  # fmt: skip
                label = f"_{each.label}"
            elif rate.high > 0:
                axes.plot(
                    rate.high, height_of, marker="<", markersize=4.5, color=look["color"], markerfacecolor="white"
                )
    axes.set_xscale("log")
    axes.set_yticks(range(len(services)), services)
    axes.set_ylim(len(services) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"{word} error rate")
    axes.grid(axis="x")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=_columns(compared))
    return figure


def draw_bytes(compared: Sequence[Contender]) -> Figure | None:
    """Bytes of each run, (a) by what they were for and (b) by kind of message; None where no frame was sent."""
    frames = [each.run.first_attempts for each in compared]
    if all(table.empty for table in frames):
        return None
    sizes = [table.groupby("kind")["bytes"].sum() for table in frames]
    kinds = sorted(
        {kind for own in sizes for kind in own.index}, key=lambda kind: -max(own.get(kind, 0) for own in sizes)
    )
    least = LEAST_PART * max(max(own, default=0) for own in sizes)
    shown_kinds = [kind for kind in kinds if max(own.get(kind, 0) for own in sizes) >= least][:KINDS_SHOWN]
    bar_in = 0.15 if len(compared) <= FEW_RUNS else 0.08
    height = 1.35 + max(0.26 * len(compared), bar_in * (len(compared) + 1) * len(shown_kinds))
    figure, (purposes, each_kind) = style.new_figure(style.PAGE_IN, height, 1, 2)
    for row, table in enumerate(frames):
        left = 0.0
        for purpose, size in table.groupby("purpose")["bytes"].sum().reindex(list(PURPOSE_COLOURS)).dropna().items():
            look = {"color": PURPOSE_COLOURS[str(purpose)], "label": str(purpose)}
            purposes.barh(row, size / 1e6, left=left, height=min(0.6, 0.25 * len(compared) / (height - 1.2)), **look)
            left += size / 1e6
        _say_size(purposes, 1e6 * left, row)
    _names_of_rows(purposes, [each.label for each in compared])
    thick = 1 / (len(compared) + 1)
    for number, (each, own, look) in enumerate(zip(compared, sizes, looks(len(compared)), strict=True)):
        places = {kind: kinds.index(kind) + thick * (number - (len(compared) - 1) / 2) for kind in own.index}
        shown = [kind for kind in shown_kinds if kind in places]
        lengths = [own[kind] / 1e6 for kind in shown]
        if not shown:
            continue
        each_kind.barh([places[kind] for kind in shown], lengths, 0.92 * thick, color=look["color"], label=each.label)
        for kind in shown if len(compared) <= FEW_RUNS else []:
            _say_size(each_kind, float(own[kind]), places[kind])
    _names_of_rows(each_kind, [kind.replace("_", " ") for kind in shown_kinds])
    some = f", largest {len(shown_kinds)} of {len(kinds)}" if len(kinds) > len(shown_kinds) else ""
    style.panel_letter(purposes, "a", "by purpose")
    style.panel_letter(each_kind, "b", f"by kind of message{some}")
    for axes, names in ((purposes, list(PURPOSE_COLOURS)), (each_kind, [each.label for each in compared])):
        _legend_below(axes, names)
    return figure


def _legend_below(axes: Axes, names: Sequence[str]) -> None:
    """A legend under the label of the horizontal axis, one entry for each of `names` that is drawn."""
    from matplotlib.transforms import ScaledTranslation

    handles, found = axes.get_legend_handles_labels()
    entries = dict(zip(found, handles, strict=True))
    ordered = [name for name in names if name in entries]
    below = axes.transAxes + ScaledTranslation(0, -LEGEND_BELOW_IN, axes.figure.dpi_scale_trans)
    axes.legend(
        [entries[name] for name in ordered], ordered, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below,
        borderaxespad=0, ncols=min(len(ordered), max(1, LEGEND_LETTERS // (max(map(len, ordered)) + 4))),
        columnspacing=1.2,
    )  # fmt: skip


def _say_size(axes: Axes, size: float, row: float) -> None:
    axes.annotate(
        byte_size(size), xy=(size / 1e6, row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=6
    )


def _names_of_rows(axes: Axes, names: Sequence[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1.25 * max(axes.get_xlim()[1], 1e-9) / 1.05)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.set_xlabel("bytes sent (MB)")
    axes.grid(axis="x")


def _both_names(compared: Sequence[Contender]) -> list[str]:
    return [f"{each.label}: {record.name}" for each in compared for record in each.services] or [""]


def _columns(compared: Sequence[Contender], *, wide: bool = False) -> int:
    longest = max((len(each.label) for each in compared), default=1)
    fitting = max(1, (80 if wide else 40) // (longest + 6))
    return min(len(compared), fitting, 4)


def _rows(compared: Sequence[Contender], *, wide: bool = False) -> int:
    return -(-len(compared) // max(_columns(compared, wide=wide), 1))
