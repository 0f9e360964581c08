"""What a sweep measured: headline metrics, and their means over seeds at each place of the sweep."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellfree_sim.results.formats import algorithm_label

if TYPE_CHECKING:
    import pandas as pd

    from cellfree_sim.studies.results import Results

SNR = "snr_db"
OF_NETWORKS = ("sum_rate", "min_rate_satisfied", "training_bytes")  # of networks that learn, and their references
RATES = {  # error rates of links and services, the first one that is there counts
    "ser": "symbol error rate",
    "ber": "bit error rate",
    "ber_missed": "bit error rate with misses",
    "bler": "message error rate",
    "missed": "missed",
    "false_alarms": "false alarms",
    "data": "wrong data",
}


@dataclass(frozen=True)
class Metric:
    """A column of the points' table that is worth an axis.

    Attributes:
        column: of the table; its standard error is `<column>_error`, where there is one.
        label: of the axis, with the unit that values have after multiplication by `times`.
        log: whether its axis is logarithmic: an error rate, or bytes of very different sizes.
        learned: whether only what was trained has it.
    """

    column: str
    label: str
    log: bool = False
    times: float = 1.0
    learned: bool = False


def metrics_of(results: Results) -> list[Metric]:
    """The headline metrics that the points have, the most important first.

    Sum rate, users at r_min and training bytes of networks that learn; error rate and bytes per slot of edge services;
    the rate that counts of links.
    """
    table, found = results.table, list[Metric]()
    if _has(table, "sum_rate"):
        found.append(Metric("sum_rate", "sum rate (bit/s/Hz)"))
        shares = table["min_rate_satisfied"].dropna()
        if shares.min() < 1:
            found.append(Metric("min_rate_satisfied", r"users at $r_\mathrm{min}$ (%)", times=100))
        if _has(table, "training_bytes") and table["training_bytes"].max() > 0:
            sent = table["training_bytes"].dropna()
            wide = sent.min() > 0 and sent.max() > 10 * sent.min()
            found.append(Metric("training_bytes", "training, backhaul (MB)", wide, 1e-6, learned=True))
    rate = primary_rate(results)
    if _has(table, rate):
        found.append(Metric(rate, RATES[rate], log=True))
    if _has(table, "bytes_per_slot") and table["bytes_per_slot"].max() > 0:
        found.append(Metric("bytes_per_slot", "backhaul, bytes per slot"))
    return found


def primary_rate(results: Results) -> str:
    """The error rate that counts: that of the link, or symbol errors."""
    return str(getattr(results.ended[0].point.scenario.link, "rate", "ser"))


def keys_of(results: Results) -> list[str]:
    """What tells places apart: keys of the grid with several values, and the SNR where several were measured."""
    table = results.table
    keys = [key for key in results.places[0] if table[key].nunique() > 1]
    return [*keys, *([SNR] if SNR in table and table[SNR].nunique() > 1 else [])]


def means(results: Results, metric: Metric) -> pd.DataFrame:
    """Means over seeds: one row for each line at each place.

    Columns: case, the keys of `keys_of`, algorithm, label (of the line), mean and error (of the mean, standard), high
    (an upper 95 % bound where no error was seen at all, else NaN), seeds. In units of the metric's label.
    """
    import pandas as pd

    table, keys = results.table, keys_of(results)
    if metric.column not in table:
        return pd.DataFrame(columns=["case", *keys, "algorithm", "label", "mean", "error", "high", "seeds"])
    here = table[table[metric.column].notna()]
    rows: list[dict[str, Any]] = []
    for place, group in here.groupby(["case", *keys, "algorithm"], sort=False, dropna=False):
        values = group[metric.column] * metric.times
        row: dict[str, Any] = dict(zip(["case", *keys, "algorithm"], place, strict=True))
        high = group[f"{metric.column}_high"] * metric.times if f"{metric.column}_high" in group else None
        none = metric.log and not values.any() and high is not None
        row |= {"learned": bool(group["learned"].any()), "seeds": group["seed"].nunique()}
        row |= {"mean": float(values.mean()), "error": _error(group, metric)}
        row["high"] = float(high.mean() / len(high)) if none and high is not None else math.nan  # trials of all seeds
        rows.append(row)
    alone = unchanged_references(results)
    kinds = {(str(row["case"]), bool(row["learned"]), str(row["algorithm"])) for row in rows}
    algorithms = Counter(case for case, _, name in kinds if name not in alone)
    trained = Counter(case for case, learned, _ in kinds if learned and metric.column in OF_NETWORKS)
    for row in rows:
        only = row["learned"] and trained[str(row["case"])] == 1
        row["label"] = _label(row, alone, several=algorithms[str(row["case"])] > 1 and not only)
    return pd.DataFrame(rows).drop_duplicates(["label", *keys]).reset_index(drop=True)


def _error(group: pd.DataFrame, metric: Metric) -> float:
    """Standard error of the mean over seeds: that between them, or that within them where it is larger, as for few
    seeds that happen to agree; NaN where nothing tells it.
    """
    column = f"{metric.column}_error"
    within = group[column].dropna() if column in group else group[metric.column].iloc[:0]
    found = [math.sqrt(float((within**2).sum())) / len(within)] if len(within) else []
    if len(group) > 1:
        found.append(float(group[metric.column].std(ddof=1)) / math.sqrt(len(group)))
    return metric.times * max(found, default=math.nan)


def _label(row: Mapping[str, Any], alone: Collection[str], *, several: bool) -> str:
    """What a line is called: by its case, its algorithm, or, where the case has `several` algorithms, by both."""
    name, case = algorithm_label(str(row["algorithm"])), str(row["case"])
    if not case or row["algorithm"] in alone:
        return name
    return f"{case}, {name}" if several else case


def unchanged_references(results: Results) -> set[str]:
    """References that no case changes, neither their sum rate nor the users at r_min: they are one line, whichever case
    ran them.
    """
    table = results.table
    if not _has(table, "sum_rate"):
        return set()
    places = [*results.places[0], "seed"]
    found = set()
    for name, rows in table[table["sum_rate"].notna() & ~table["learned"].astype(bool)].groupby("algorithm"):
        by = rows.groupby(places, dropna=False)[["sum_rate", "min_rate_satisfied"]]
        if not ((by.max() - by.min()) > 1e-9 * by.max().abs()).to_numpy().any():
            found.add(str(name))
    return found


def _has(table: pd.DataFrame, column: str) -> bool:
    return column in table and bool(table[column].notna().any())
