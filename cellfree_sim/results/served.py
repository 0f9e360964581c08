"""What the edge services of a run have done so far, from the rows of its bursts."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellfree_sim.scenario.schema import Scenario

LATENCIES_KEPT = 1000
_SUMMED = {"symbols": "symbols", "errors": "symbol_errors", "requests": "requests", "refused": "refused"}
_NOTHING: dict[str, Any] = {**dict.fromkeys(_SUMMED, 0), "latency_s": None}


class Served:
    """What the services of an uplink did in all bursts that are over."""

    def __init__(self, scenario: Scenario) -> None:
        self._own: dict[str, dict[str, Any]] = {}
        self._latencies: dict[str, deque[float]] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        if scenario.uplink is not None:
            for name, each in zip(scenario.uplink.service_names, scenario.uplink.services, strict=True):
                self._facts[name] = {"detector": each.detector.name, "cooperation": each.cooperation}

    def take(self, row: Mapping[str, Any]) -> None:
        """A row of `uplink.parquet`."""
        name, latency_s = str(row["service"]), float(row["latency_s"])
        own = self._own.setdefault(name, dict(_NOTHING))
        for key, column in _SUMMED.items():
            own[key] += int(row[column])
        own["latency_s"] = latency_s if math.isfinite(latency_s) else None
        if math.isfinite(latency_s):
            self._latencies.setdefault(name, deque(maxlen=LATENCIES_KEPT)).append(latency_s)
        if row["detector"]:
            self._facts.setdefault(name, {})["detector"] = row["detector"]

    def told(self) -> list[dict[str, Any]]:
        """See `RunStatus.services`."""
        found = []
        for name in dict.fromkeys([*self._facts, *self._own]):
            own = self._own.get(name, _NOTHING)
            latencies = sorted(self._latencies.get(name, ()))
            p99_s = latencies[math.ceil(0.99 * len(latencies)) - 1] if latencies else None
            found.append(
                {
                    "name": name,
                    **self._facts.get(name, {}),
                    "ser": own["errors"] / own["symbols"] if own["symbols"] else None,
                    "latency_ms": _ms(own["latency_s"]),
                    "latency_p99_ms": _ms(p99_s),
                    "requests": own["requests"],
                    "refused": own["refused"],
                }
            )
        return found

    def state(self) -> dict[str, dict[str, Any]]:
        """For a checkpoint, in types that JSON has."""
        return {name: dict(own) for name, own in self._own.items()}

    def load_state(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on from what `state` gave."""
        self._own = {name: dict(own) for name, own in state.items()}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds
