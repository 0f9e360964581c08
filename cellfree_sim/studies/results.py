"""What a study's runs gave: one tidy table, and the numbers that figures and verdicts are made of.

A *line* is what a figure would draw: a case of the sweep means the algorithm that its runs learned; the name of a
reference means that algorithm, in whichever case ran it; ``case/algorithm`` means just that one. A *place* is a
combination of the grid's values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.results.files import read_json
from cellfree_sim.results.formats import algorithm_label
from cellfree_sim.scenario.sweep import short_name
from cellfree_sim.studies.points import Outcome
from cellfree_sim.studies.verdicts import Number

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from cellfree_sim.results.uplink import ServiceRecord
    from cellfree_sim.scenario.sweep import Point
    from cellfree_sim.studies.runner import Task

Place = Mapping[str, Any]
ANYWHERE: Place = {}
EXACT = frozenset(  # columns that the same scenario and seed give without any error
    {
        "steps",
        "parameters",
        "flops_per_realisation",
        "training_bytes",
        "setup_bytes",
        "execution_bytes_per_realisation",
        "simulated_seconds",
    }
)


@dataclass(frozen=True)
class Ended:
    """A point that has ended, with its outcome and folder."""

    point: Point
    outcome: Outcome
    folder: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        """`summary.json` of its run."""
        return read_json(self.folder / "summary.json")

    @cached_property
    def rates(self) -> dict[str, NDArray[np.float64]]:
        """Rates [realisation, user] of each algorithm on the test realisations, bit/s/Hz."""
        from cellfree_sim.results.run_folder import RunFolder

        if self.outcome.status != "done" or self.outcome.rows:
            return {}
        frame = RunFolder(self.folder).rates()
        found = {}
        for name, rows in frame.groupby("algorithm", sort=False):
            table = rows.pivot(index="realisation", columns="user", values="rate")
            found[str(name)] = table.to_numpy(float)
        return found

    @cached_property
    def services(self) -> list[ServiceRecord]:
        """What the edge services of its uplink did; none where it has no uplink, or is not done."""
        from cellfree_sim.results.analysis import load_run
        from cellfree_sim.results.uplink import service_records

        if self.outcome.status != "done" or self.outcome.rows or self.point.scenario.uplink is None:
            return []
        return service_records(load_run(self.folder))

    @property
    def learned(self) -> str:
        """Name of the algorithm that was trained."""
        return str(self.point.scenario.downlink.algorithm.name)


class Results:
    """The points of a study that have ended.

    Attributes:
        name: of the study.
        scale: "quick" or "full".
        ended: all of them, case by case.
    """

    def __init__(
        self,
        name: str,
        scale: str,
        tasks: Sequence[Task],
        outcomes: Sequence[Outcome],
        columns: Callable[[Ended], dict[str, Any]] | None = None,
    ) -> None:
        self.name = name
        self.scale = scale
        self.ended = [Ended(task.point, out, task.folder) for task, out in zip(tasks, outcomes, strict=True)]
        self._columns = columns

    @property
    def cases(self) -> list[str]:
        """Names of the cases."""
        return list(dict.fromkeys(each.point.case for each in self.ended))

    @property
    def seeds(self) -> list[int]:
        """All seeds."""
        return list(dict.fromkeys(each.point.seed for each in self.ended))

    @property
    def places(self) -> list[Place]:
        """The combinations of the grid's values."""
        found: list[Place] = []
        for each in self.ended:
            if each.point.at not in found:
                found.append(each.point.at)
        return found

    def at(self, line: str, place: Place = ANYWHERE) -> Iterator[tuple[Ended, str]]:
        """The points that have `line` at `place`, one for each seed, each with the name of the algorithm meant.

        `place` may leave out keys of the grid that have one value only.
        """
        case, _, algorithm = line.rpartition("/")
        if not case and line in self.cases:
            case, algorithm = line, ""
        seen = set[int]()
        for each in self.ended:
            wanted = algorithm or each.learned
            fits = all(each.point.at.get(key) == value for key, value in place.items())
            if not fits or each.point.seed in seen or (case and each.point.case != case):
                continue
            if case or wanted in each.rates or any(row["algorithm"] == wanted for row in each.outcome.rows):
                seen.add(each.point.seed)
                yield each, wanted

    def sums(self, line: str, place: Place = ANYWHERE) -> dict[int, NDArray[np.float64]]:
        """Sum rate of each test realisation by seed, bit/s/Hz; seeds whose run failed are missing."""
        return {each.point.seed: each.rates[name].sum(1) for each, name in self.at(line, place) if name in each.rates}

    def sum_rate(self, line: str, place: Place = ANYWHERE) -> Number:
        """Mean sum rate, over test realisations and seeds."""
        what = f"sum rate of {_label(line)}{_where(place)}"
        return _mean(what, self.sums(line, place), trained=self._trained(line, place))

    def difference(self, first: str, second: str, place: Place = ANYWHERE, second_place: Place | None = None) -> Number:
        """Mean sum rate of line `first` minus that of `second`, paired over the test realisations of each seed."""
        other = place if second_place is None else second_place
        ours, theirs = self.sums(first, place), self.sums(second, other)
        gaps = {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs}
        what = f"{_label(first)} minus {_label(second)}{_where(place)}"
        if second_place is not None:
            what = f"{_label(first)}{_where(place)} minus {_label(second)}{_where(second_place)}"
        return _mean(what, gaps, trained=self._trained(first, place) or self._trained(second, other))

    def satisfied(self, line: str, place: Place = ANYWHERE) -> Number:
        """Share of users that meet r_min."""
        shares = {}
        for each, name in self.at(line, place):
            if name in each.rates:
                least = each.point.scenario.network.users.min_rate_bps_hz
                shares[each.point.seed] = (each.rates[name] >= least).mean(1)
        what = f"users of {_label(line)} that meet r_min{_where(place)}"
        return _mean(what, shares, unit="", trained=self._trained(line, place))

    def column(
        self, name: str, line: str, place: Place = ANYWHERE, unit: str = "", *, exact: bool | None = None
    ) -> Number:
        """Mean over seeds of a column of the table; not a number where no row has it.

        Its error is that between seeds. With one seed it is 0 where the column is `exact` (by default: one of `EXACT`),
        else not known.
        """
        table = self.table
        exact = name in EXACT if exact is None else exact
        values: dict[int, NDArray[np.float64]] = {}
        for each, algorithm in self.at(line, place) if name in table else ():
            rows = table[(table["folder"] == each.folder.name) & (table["algorithm"] == algorithm)]
            found = rows[name].dropna().to_numpy(float)
            if len(found):
                values[each.point.seed] = found[:1]
        what, trained = f"{name} of {_label(line)}{_where(place)}", not exact and self._trained(line, place)
        return _mean(what, values, unit=unit, trained=trained, unknown=0.0 if exact else math.nan)

    def _trained(self, line: str, place: Place) -> bool:
        """Whether a line is what runs learned, and not a formula or a policy that came trained."""
        return any(name == each.learned and each.point.scenario.steps > 0 for each, name in self.at(line, place))

    def curve(self, line: str, along: str, column: str = "", place: Place = ANYWHERE) -> pd.DataFrame:
        """Mean sum rate (or a `column` of the table) along a key of the grid: columns `at`, `mean`, `error`.

        Values without a run that is done are left out.
        """
        import pandas as pd

        rows = []
        for value in dict.fromkeys(each.point.at[along] for each in self.ended):
            here = {**place, along: value}
            number = self.column(column, line, here) if column else self.sum_rate(line, here)
            if math.isfinite(number.value):
                rows.append({"at": value, "mean": number.value, "error": number.error})
        return pd.DataFrame(rows, columns=["at", "mean", "error"])

    def metrics(self, line: str, place: Place = ANYWHERE) -> dict[int, pd.DataFrame]:
        """The rounds of the runs of a case, by seed; those of a run that diverged, too."""
        from cellfree_sim.results.run_folder import RunFolder

        return {each.point.seed: RunFolder(each.folder).metrics() for each, _ in self.at(line, place)}

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each point and algorithm; the values of the grid under their keys."""
        import pandas as pd

        return pd.DataFrame([row for each in self.ended for row in _rows(each, self._columns)])


def _rows(each: Ended, columns: Callable[[Ended], dict[str, Any]] | None) -> list[dict[str, Any]]:
    point, outcome = each.point, each.outcome
    head = {"case": point.case, **_flat(point.at), "seed": point.seed}
    tail = {
        "status": outcome.status,
        "reason": outcome.reason,
        "wall_seconds": outcome.wall_seconds,
        "cpu_seconds": outcome.cpu_seconds,
        "folder": each.folder.name,
    }
    if outcome.rows:
        return [{**head, **row, **tail} for row in outcome.rows]
    if outcome.status != "done":
        return [{**head, "algorithm": each.learned, "learned": True, **tail}]
    learned = each.learned
    minimum = point.scenario.network.users.min_rate_bps_hz
    downlink = [
        {
            **head,
            "algorithm": name,
            "learned": name == learned,
            **_of_rates(rates, minimum, each.rates[learned]),
            **(_of_run(each.summary) if name == learned else {}),
            **(columns(each) if columns and name == learned else {}),
            **tail,
        }
        for name, rates in each.rates.items()
    ]
    return downlink + [{**head, **row, **tail} for record in each.services for row in _of_service(record)]


def _of_rates(rates: NDArray[np.float64], minimum: float, learned: NDArray[np.float64]) -> dict[str, Any]:
    sums, gap = rates.sum(1), learned.sum(1) - rates.sum(1)
    return {
        "realisations": len(sums),
        "sum_rate": float(sums.mean()),
        "sum_rate_error": _error(sums),
        "min_rate_satisfied": float((rates >= minimum).mean()),
        "min_rate_satisfied_error": _error((rates >= minimum).mean(1)),
        "learned_minus_it": float(gap.mean()),
        "learned_minus_it_error": _error(gap),
    }


def _of_service(record: ServiceRecord) -> Iterator[dict[str, Any]]:
    """One row for each SNR; errors are those of the 95 % intervals."""
    for index, snr_db in enumerate(record.snr_db):
        rates: dict[str, float] = {}
        for metric, found in record.rates.items():
            rates[metric], rates[f"{metric}_error"] = found[index].value, (found[index].high - found[index].low) / 4
            rates[f"{metric}_high"] = found[index].high
        yield {
            "algorithm": record.name,
            "learned": False,
            "snr_db": snr_db,
            **rates,
            "bytes_per_slot": record.bytes_per_slot,
            "latency_p50_s": record.latency_p50_s,
            "latency_p99_s": record.latency_p99_s,
        }


def _of_run(summary: Mapping[str, Any]) -> dict[str, Any]:
    downlink, backhaul = summary["downlink"], summary["backhaul"]
    return {
        "steps": summary["steps"],
        "parameters": sum(downlink["parameters"].values()),
        "flops_per_realisation": max(downlink["flops"].values()),
        "power_violation": downlink["power_violation"],
        "training_bytes": backhaul["training_bytes"],
        "setup_bytes": backhaul.get("by_phase", {}).get("setup", 0),
        "execution_bytes_per_realisation": backhaul["execution_bytes_per_realisation"],
        "simulated_seconds": summary["simulated_seconds"],
    }


def _mean(
    what: str,
    values: Mapping[int, NDArray[np.float64]],
    unit: str = "bit/s/Hz",
    *,
    trained: bool = False,
    unknown: float = math.nan,
) -> Number:
    """Mean over seeds of the mean of each, with its standard error; `unknown` where nothing tells it.

    A seed draws another training and other realisations, so that means of seeds differ by both; where few seeds happen
    to agree, the error within them is the larger one, and is taken.
    """
    import numpy as np

    if not values:
        return Number(what, math.nan, math.nan, unit)
    means = np.array([each.mean() for each in values.values()])
    parts = [_error(each) for each in values.values() if len(each) > 1]
    within = math.sqrt(sum(error**2 for error in parts)) / len(parts) if parts else -math.inf
    between = _error(means) if len(means) > 1 else -math.inf
    seeds = len(means) if between > within else 0
    error = max(within, between)
    return Number(
        what,
        float(means.mean()),
        error if error >= 0 else unknown,
        unit,
        seeds,
        one_training=trained and len(means) == 1,
    )


def _error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _flat(at: Place) -> dict[str, Any]:
    """Values of the grid as cells of a table."""
    return {key: value if isinstance(value, str | int | float | bool) else str(value) for key, value in at.items()}


def _label(line: str) -> str:
    return " of ".join(algorithm_label(part) for part in reversed(line.split("/")))


def _where(place: Place) -> str:
    values = ", ".join(f"{short_name(key)} {value}" for key, value in place.items())
    return f" at {values}" if values else ""
