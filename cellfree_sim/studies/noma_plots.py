"""What the figures of grant-free NOMA share: curves of error rates against SNR, and claims as paired numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellfree_sim.results.figures import style
from cellfree_sim.studies.plots import Look, legend_below
from cellfree_sim.studies.verdicts import ERRORS, Number, Verdict, positive

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cellfree_sim.studies.results import Results

BROWN = "#7A5230"
FEW = 8.0  # errors below which a rate is not drawn


@dataclass(frozen=True)
class Panel:
    """Axes of a figure: which case, which rate of it, and its title."""

    case: str
    rate: str
    title: str
    ylabel: str


def seeds_of(results: Results, case: str, scheme: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The rows of rates of a scheme in a case, of all seeds; with those of `columns` that there are."""
    table = results.table
    if "snr_db" not in table:
        return table.iloc[:0]
    here = (table["case"] == case) & (table["algorithm"] == scheme) & table["snr_db"].notna()
    return table.loc[here, slice(None) if columns is None else [name for name in columns if name in table]]


def rows_of(results: Results, case: str, scheme: str, rate: str) -> pd.DataFrame:
    """Mean over seeds of a rate of a scheme: columns snr_db, value, error, seeds, errors (expected number of them)."""
    import pandas as pd

    rows = []
    columns = ("snr_db", rate, f"{rate}_error")
    for snr_db, found in seeds_of(results, case, scheme, columns).groupby("snr_db"):
        values, errors = found[rate].to_numpy(float), found[f"{rate}_error"].to_numpy(float)
        mean, error = _mean(values, errors)
        within = float((errors**2).sum() ** 0.5 / len(errors))
        worth = (mean / within) ** 2 if within > 0 else 0.0
        rows.append({"snr_db": snr_db, "value": mean, "error": error, "seeds": len(values), "errors": worth})
    return pd.DataFrame(rows, columns=["snr_db", "value", "error", "seeds", "errors"]).sort_values("snr_db")


def _mean(values: Any, errors: Any) -> tuple[float, float]:
    """Mean, and the larger of its errors within and between seeds."""
    within = float((errors**2).sum() ** 0.5) / len(errors)
    between = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(values.mean()), max(within, between)


def draw_panels(
    results: Results, panels: Sequence[Panel], looks: Mapping[str, Look], *, columns: int, height_in: float
) -> Figure:
    """Error rates against SNR with bars of two standard errors, one panel beside or below the other."""
    from matplotlib.ticker import MaxNLocator

    rows = -(-len(panels) // columns)
    figure, grid = style.new_figure(style.PAGE_IN, height_in, rows, columns, sharey=True, squeeze=False)
    for index, (axes, panel) in enumerate(zip(grid.flat, panels, strict=False)):
        for scheme, look in looks.items():
            draw_curve(axes, rows_of(results, panel.case, scheme, panel.rate), look)
        axes.set_yscale("log")
        axes.grid(which="major")
        if len(panels) > 1:
            style.panel_letter(axes, "abcdefgh"[index], panel.title)
        else:
            axes.set_title(panel.title)
        axes.set_xlabel("SNR (dB)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if index % columns == 0:
            axes.set_ylabel(panel.ylabel)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    most = max(grid.flat, key=lambda axes: len(axes.get_legend_handles_labels()[1]))
    legend_below(figure, most, columns=3, also=grid.flat)
    return figure


def draw_curve(axes: Axes, rows: pd.DataFrame, look: Look) -> None:
    """A line of `rows_of` with bars of two standard errors, where there are errors enough."""
    rows = rows[rows["errors"] >= FEW]
    if len(rows):
        low = (ERRORS * rows["error"]).clip(upper=0.9 * rows["value"])
        bars = [low, ERRORS * rows["error"]]
        axes.errorbar(rows["snr_db"], rows["value"], yerr=bars, capsize=1.8, elinewidth=0.7, **look.points)


def below(
    results: Results,
    case: str,
    rate: str,
    better: str,
    worse: str,
    *,
    within: float = 0.0,
    snrs: Sequence[float] | None = None,
) -> list[Number]:
    """By how much `better` is below (1 + `within`) times `worse`, as a part of `worse`, at each SNR; paired by frame.

    Points at which both made too few errors to be drawn are left out.
    """
    numbers = []
    column = f"{rate} minus {worse}"
    theirs = seeds_of(results, case, worse, ("snr_db", rate))
    unit = rows_of(results, case, worse, rate)
    own = rows_of(results, case, better, rate)
    few = {row["snr_db"] for rows in (unit, own) for _, row in rows.iterrows() if row["errors"] >= FEW}
    columns = ("snr_db", "learned", column, f"{column}, error")
    for snr_db, found in seeds_of(results, case, better, columns).groupby("snr_db"):
        base = theirs[theirs["snr_db"] == snr_db][rate].mean()
        if snr_db not in few or column not in found or not base > 0 or (snrs is not None and snr_db not in snrs):
            continue
        gaps, errors = found[column].to_numpy(float), found[f"{column}, error"].to_numpy(float)
        gap, error = _mean(gaps, errors)
        between = len(gaps) > 1 and error > float((errors**2).sum() ** 0.5) / len(errors)
        numbers.append(
            Number(
                f"{worse} minus {better}{_in(case)}{_of(rate)}, {snr_db:g} dB",
                -gap / base + within,
                error / base,
                f"of the {rate.partition('_')[0].upper()} of {worse}",
                seeds=len(gaps) if between else 0,
                one_training=len(gaps) == 1 and bool(found["learned"].any()),
            )
        )
    return numbers or [Number(f"{worse} minus {better}{_in(case)}", math.nan, math.nan, "")]


def _in(case: str) -> str:
    return f", {case}" if case else ""


def _of(rate: str) -> str:
    """Whose rate it is, where not all users'."""
    bits = rate.partition("_")[2]
    return f", users of {bits} bit{'s' if bits != '1' else ''}" if bits.isdigit() else ""


def over_seeds(what: str, values: Sequence[float], unit: str = "") -> Number:
    """The mean of numbers of which each seed gave one, with its standard error; that of one is not known."""
    if not values:
        return Number(what, math.nan, math.nan, unit)
    mean = sum(values) / len(values)
    if len(values) < 2:
        return Number(what, mean, math.nan, unit)
    error = (sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)) ** 0.5
    return Number(what, mean, error, unit, seeds=len(values))


def claim(
    results: Results,
    text: str,
    pairs: Sequence[tuple[str, str, str, str]],
    *,
    within: float = 0.0,
    snrs: Sequence[float] | None = None,
    because: str = "",
) -> Verdict:
    """A verdict on the first scheme of each pair (case, rate, better, worse) being below the second, at every SNR.

    `because` says why, where it does not hold.
    """
    numbers = [
        number
        for case, rate, better, worse in pairs
        for number in below(results, case, rate, better, worse, within=within, snrs=snrs)
    ]
    notes = [note for _, _, *names in pairs for name in names for note in notes_of(results, name)]
    verdict = positive(text, numbers)
    reasons = [because if verdict.verdict != "holds" else "", *dict.fromkeys(notes)]
    return positive(text, numbers, because=". ".join([reason for reason in reasons if reason][:2]))


def notes_of(results: Results, scheme: str) -> list[str]:
    """Why a scheme could not be measured."""
    table = results.table
    if "note" not in table:
        return []
    return [str(note) for note in table[(table["algorithm"] == scheme) & table["note"].notna()]["note"].unique()]


def draw_training(axes: Axes, results: Results, case: str, looks: Mapping[str, Look], column: str = "loss") -> None:
    """Training curves of schemes that were trained at the point: mean over seeds, and the range of seeds."""
    axes.set_yscale("log")
    plain_decades(axes)
    axes.set_xlabel("iteration")
    axes.grid(which="major")
    table = results.table
    if "iteration" not in table:
        return
    for scheme, look in looks.items():
        rows = table[(table["case"] == case) & (table["algorithm"] == scheme) & table["iteration"].notna()]
        if len(rows):
            by = rows.groupby("iteration")[column]
            axes.plot(by.mean().index, by.mean(), **look.plot)
            axes.fill_between(by.min().index, by.min(), by.max(), color=look.colour, alpha=0.15, linewidth=0)


def plain_decades(axes: Axes) -> None:
    """Ticks of a logarithmic axis of y as 0.2 and 0.03, not as powers of ten."""
    from matplotlib.ticker import LogFormatterSciNotation

    class Plain(LogFormatterSciNotation):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    axes.yaxis.set_major_formatter(Plain())
    axes.yaxis.set_minor_formatter(Plain(labelOnlyBase=False, minor_thresholds=(1.2, 0.5)))


def last_losses(results: Results, case: str, scheme: str, column: str = "loss", at: float = 1.0) -> dict[int, float]:
    """Mean of a training curve around a share `at` of its iterations, by seed (a tenth of the points)."""
    table = results.table
    if "iteration" not in table:
        return {}
    rows = table[(table["case"] == case) & (table["algorithm"] == scheme) & table["iteration"].notna()]
    found = {}
    for seed, own in rows.groupby("seed"):
        own = own.sort_values("iteration")
        end = max(1, round(at * len(own)))
        found[int(str(seed))] = float(own[column].iloc[max(0, end - max(1, len(own) // 10)) : end].mean())
    return found


def lower_loss(results: Results, case: str, better: str, worse: str, column: str = "loss", at: float = 1.0) -> Number:
    """By how much the training curve of `better` is below that of `worse`, as a part of it; over seeds."""
    ours, theirs = (last_losses(results, case, name, column, at) for name in (better, worse))
    gaps = [1 - ours[seed] / theirs[seed] for seed in ours if theirs.get(seed, 0) > 0]
    what = f"{column.replace('_', ' ')} of {worse} minus {better}{_in(case)}" + (f", at {at:.0%}" if at < 1 else "")
    return over_seeds(what, gaps, f"of that of {worse}")


def times_of(results: Results) -> dict[str, float]:
    """CPU time of a frame of each scheme, in microseconds, the shortest first; the mean over seeds."""
    table = results.table
    if "cpu_us_per_slot" not in table:
        return {}
    found = table[table["cpu_us_per_slot"].notna()].groupby("algorithm")["cpu_us_per_slot"].mean().sort_values()
    return {str(name): float(value) for name, value in found.items()}


def draw_times(axes: Axes, results: Results, colours: Mapping[str, str] | None = None) -> None:
    """Points of CPU times on a logarithmic axis, which bars have no foot on, with what they are in figures."""
    times = times_of(results)
    for place, (name, value) in enumerate(times.items()):
        axes.plot([value], [place], "o", color=(colours or {}).get(name, style.BLUE), markersize=5)
        axes.text(value * 1.15, place, f"{value:.3g}", va="center", fontsize=6.5)
    axes.set_yticks(range(len(times)), list(times))
    axes.set_xscale("log")
    axes.margins(y=0.12)
    axes.grid(which="major")
    if times:
        axes.set_xlim(10 ** math.floor(math.log10(min(times.values()))), max(times.values()) * 3)
