"""The curves of a run while it runs: what its tables hold, thinned to as many points as a screen can show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellfree_sim.results.files import json_safe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_POINTS = 240


class Curve:
    """Rows of a table, of which every first, second, fourth … is kept, so that there are never too many.

    Which are kept depends on the rows alone, and the last one is always there.

    Args:
        columns: names of what is kept of a row.
        most: points at most.

    >>> curve = Curve(("step", "rate"), most=4)
    >>> for step in range(6):
    ...     curve.add({"step": step, "rate": 0.5})
    >>> curve.points()
    {'step': [0, 2, 4, 5], 'rate': [0.5, 0.5, 0.5, 0.5]}
    """

    def __init__(self, columns: Sequence[str], most: int = MOST_POINTS) -> None:
        self._columns = tuple(columns)
        self._most = most
        self._kept: list[list[Any]] = []
        self._last: list[Any] | None = None
        self._seen = 0
        self._every = 1

    def add(self, row: Mapping[str, Any]) -> None:
        """One more row."""
        self._last = [json_safe(row[name]) for name in self._columns]
        if self._seen % self._every == 0:
            self._kept.append(self._last)
            if len(self._kept) >= self._most:
                self._kept = self._kept[::2]
                self._every *= 2
        self._seen += 1

    def points(self) -> dict[str, list[Any]]:
        """The columns of what is kept; NaN is None."""
        rows = self._kept
        if self._last is not None and rows[-1] is not self._last:
            rows = [*rows, self._last]
        return {name: [row[place] for row in rows] for place, name in enumerate(self._columns)}

    def state(self) -> dict[str, Any]:
        """For a checkpoint, in types that JSON has."""
        return {"kept": [*self._kept], "last": self._last, "seen": self._seen, "every": self._every}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        self._kept, self._last = [list(row) for row in state["kept"]], state["last"]
        if self._kept and self._last == self._kept[-1]:
            self._last = self._kept[-1]
        self._seen, self._every = int(state["seen"]), int(state["every"])


class RateCurve:
    """An error rate over bursts: errors and trials of neighbours are put together where there are too many points.

    Args:
        group: bursts of a point at the beginning.
        most: points at most.

    >>> curve = RateCurve(group=1, most=4)
    >>> for burst, errors in enumerate([0, 2, 1, 1, 4]):
    ...     curve.add(burst, errors, 10)
    >>> curve.points()
    {'burst': [1, 3, 4], 'ser': [0.1, 0.1, 0.4]}
    """

    def __init__(self, group: int = 1, most: int = MOST_POINTS) -> None:
        self._group = group
        self._most = most
        self._sums: dict[int, list[int]] = {}  # by number of the group: last burst, errors, trials

    def add(self, burst: int, errors: int, trials: int) -> None:
        """One more burst."""
        self._put(burst // self._group, [burst, errors, trials])
        if len(self._sums) >= self._most:
            self._group *= 2
            before, self._sums = self._sums, {}
            for each in before.values():
                self._put(each[0] // self._group, each)

    def points(self) -> dict[str, list[Any]]:
        """Columns `burst`, the last one of each point, and `ser`; points without a trial are left out."""
        found = [each for each in self._sums.values() if each[2]]
        return {"burst": [each[0] for each in found], "ser": [each[1] / each[2] for each in found]}

    def state(self) -> dict[str, Any]:
        """For a checkpoint, in types that JSON has."""
        return {"group": self._group, "sums": [list(each) for each in self._sums.values()]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        self._group = int(state["group"])
        self._sums = {int(each[0]) // self._group: list(each) for each in state["sums"]}

    def _put(self, place: int, counts: list[int]) -> None:
        own = self._sums.setdefault(place, [0, 0, 0])
        self._sums[place] = [max(own[0], counts[0]), own[1] + counts[1], own[2] + counts[2]]


class Curves:
    """All curves of a run.

    Args:
        bursts_of_a_point: of the uplink at the beginning: as many as there are SNRs in turn.
    """

    def __init__(self, bursts_of_a_point: int = 1) -> None:
        self._group = bursts_of_a_point
        self._of_rounds = {
            "training": Curve(("step", "joint_loss")),
            "validation": Curve(("step", "sum_rate", "min_rate_satisfied")),
        }
        self._of_services: dict[str, RateCurve] = {}

    def round(self, row: Mapping[str, Any]) -> None:
        """A row of `metrics.parquet`."""
        if row["phase"] in self._of_rounds:
            self._of_rounds[row["phase"]].add(row)

    def burst(self, row: Mapping[str, Any]) -> None:
        """A row of `uplink.parquet`."""
        curve = self._of_services.setdefault(str(row["service"]), RateCurve(self._group))
        curve.add(int(row["burst"]), int(row["symbol_errors"]), int(row["symbols"]))

    def points(self) -> dict[str, Any]:
        """As in `RunStatus.curves`."""
        found: dict[str, Any] = {name: curve.points() for name, curve in self._of_rounds.items()}
        return found | {"uplink": {name: curve.points() for name, curve in self._of_services.items()}}

    def state(self) -> dict[str, Any]:
        """For a checkpoint, in types that JSON has."""
        rounds = {name: curve.state() for name, curve in self._of_rounds.items()}
        return {"rounds": rounds, "services": {name: curve.state() for name, curve in self._of_services.items()}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        for name, curve in self._of_rounds.items():
            curve.load_state(state["rounds"][name])
        self._of_services = {name: RateCurve(self._group) for name in state["services"]}
        for name, rates in self._of_services.items():
            rates.load_state(state["services"][name])
