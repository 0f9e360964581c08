"""What a sweep measured, and what it would run, as tables of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cellfree_sim.results.formats import amount, mean_and_error
from cellfree_sim.scenario.sweep import short_name
from cellfree_sim.studies.points import Outcome
from cellfree_sim.studies.sweeps.measured import SNR, Metric, keys_of, means, metrics_of, unchanged_references

if TYPE_CHECKING:
    from cellfree_sim.studies.results import Results
    from cellfree_sim.studies.runner import Task

_HEADS = {
    "sum_rate": "sum rate, bit/s/Hz",
    "min_rate_satisfied": "users meeting r_min",
    "training_bytes": "training, MB",
    "bytes_per_slot": "bytes per slot",
    "ser": "SER",
}


def rows(results: Results) -> list[list[str]]:
    """Means over seeds with standard errors, one row for each algorithm at each place; a head row first.

    References that all cases ran, and none changes, are there once.
    """
    metrics, keys = metrics_of(results), keys_of(results)
    ran = results.table.groupby("algorithm")["case"].nunique()
    alone = {name for name in unchanged_references(results) if ran[name] == len(set(results.cases))}
    columns = [*(["case"] if any(results.cases) else []), *keys, "algorithm"]
    found: dict[tuple[Any, ...], dict[str, str]] = {}
    for metric in metrics:
        for _, row in means(results, metric).iterrows():
            every = "case" in columns and row["algorithm"] in alone
            place = tuple("all" if every and column == "case" else row[column] for column in columns)
            found.setdefault(place, {})[metric.column] = _cell(metric, row)
    if not found:
        return [["nothing was measured"]]
    names = ["SNR, dB" if column == SNR else short_name(column) for column in columns]
    head = [*names, *(_HEADS.get(metric.column, metric.label) for metric in metrics)]
    lines = [
        [*(f"{each:g}" if isinstance(each, float) else str(each) for each in place)]
        + [cells.get(metric.column, "") for metric in metrics]
        for place, cells in found.items()
    ]
    return [head, *lines]


def _cell(metric: Metric, row: Any) -> str:
    mean, error = float(row["mean"]), float(row["error"])
    if metric.log and metric.column != "training_bytes":
        return f"{mean:.3g} ± {error:.1g}" if math.isfinite(error) else f"{mean:.3g}"
    if metric.column == "min_rate_satisfied":
        return f"{mean:.1f} %"
    return mean_and_error(mean, error) if metric.column == "sum_rate" else amount(mean)


def planned(tasks: Sequence[Task]) -> list[list[str]]:
    """The points of a sweep, and what is left of each from before; a head row first."""
    first = tasks[0].point
    cases = any(task.point.case for task in tasks)
    head = [*(["case"] if cases else []), *(short_name(key) for key in first.at), "seed", "folder", "so far"]
    seen = set[str]()
    lines = []
    for task in tasks:
        point, name = task.point, task.folder.name
        outcome = Outcome.read(task.folder)
        so_far = "the same run as above" if name in seen else "-" if outcome is None else outcome.status
        seen.add(name)
        values = [str(value) for value in point.at.values()]
        lines.append([*([point.case] if cases else []), *values, str(point.seed), name, so_far])
    return [head, *lines]
