"""What one service of the uplink achieved over a run: error rates by SNR, simulated latencies, work, bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.detection.serving.reports import Errors
from cellfree_sim.uplink.metrics import grouped_interval
from cellfree_sim.uplink.population import drop_of

if TYPE_CHECKING:
    from cellfree_sim.scenario.uplink import Uplink

MOST_GROUPS = 1000
"""Drops are put together in so many groups; errors of different ones are independent, those of one drop are not."""
STEPS_PER_E = 200
"""Latencies are counted in steps of 1/200 of their logarithm: percentiles are right to 0.3 %."""
_RATES = {"ser": ("symbol_errors", "symbols"), "ber": ("bit_errors", "bits"), "bler": ("block_errors", "blocks")}
_STATE_RATES = {"missed_detection": ("missed", "active"), "false_alarm": ("false_alarms", "silent")}
_COUNTS = ("undecided", "requests", "refused", "bytes", "slots")


class Tally:
    """Sums over the rows of a service; memory does not grow with them."""

    def __init__(self, uplink: Uplink) -> None:
        self._uplink = uplink
        self._groups = min(uplink.realisations, MOST_GROUPS)
        self._errors = np.zeros((len(uplink.snr_db), self._groups, len(Errors._fields)), np.int64)
        self._bursts = [0] * len(uplink.snr_db)  # of which something was decided
        self._counts = dict.fromkeys(_COUNTS, 0)
        self._flops = 0.0
        self._latencies: dict[int, int] = {}
        self._seconds = {"latency_s": 0.0, "queue_s": 0.0, "compute_s": 0.0, "backhaul_s": 0.0}
        self._detectors: list[str] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a row (see `Fusion.drain_rows`)."""
        burst = row["burst"]
        group = drop_of(self._uplink, burst) % self._groups
        at = burst % len(self._uplink.snr_db)
        self._errors[at, group] += [row[key] for key in Errors._fields]
        self._bursts[at] += row["blocks"] > 0
        for key in _COUNTS:
            self._counts[key] += row[key]
        self._flops += row["flops"]
        if row["detector"] and row["detector"] not in self._detectors:
            self._detectors.append(row["detector"])
        if not math.isnan(row["latency_s"]):
            step = math.floor(math.log(max(row["latency_s"], 1e-12)) * STEPS_PER_E)
            self._latencies[step] = self._latencies.get(step, 0) + 1
            for key in self._seconds:
                self._seconds[key] += row[key]

    def facts(self, simulated_s: float) -> dict[str, Any]:
        """See `Fusion.facts`; `simulated_s` is the simulated time that all of it took."""
        facts: dict[str, Any] = {"detectors": list(self._detectors), "snr_db": list(self._uplink.snr_db)}
        sums = {name: self._errors[:, :, place] for place, name in enumerate(Errors._fields)}
        counts = sums | {"silent": sums["symbols"] - sums["active"]}
        rates = _RATES | _STATE_RATES if self._uplink.silence else _RATES
        for rate, (errors, trials) in rates.items():
            found = [
                grouped_interval(e.tolist(), n.tolist(), units=units)
                for e, n, units in zip(counts[errors], counts[trials], self._bursts, strict=True)
            ]
            for key, values in zip((rate, f"{rate}_low", f"{rate}_high"), zip(*found, strict=True), strict=True):
                facts[key] = [None if math.isnan(value) else value for value in values]
        slots = self._counts["slots"]
        facts |= self._counts | {name: int(each.sum()) for name, each in sums.items()}
        facts["flops"] = self._flops
        facts["bytes_per_slot"] = self._counts["bytes"] / slots if slots else None
        facts["slots_per_second"] = slots / simulated_s if simulated_s else None
        return facts | self._latency_facts()

    def work(self) -> dict[str, Any]:
        """Requests, those refused, and operations, all together."""
        return {"requests": self._counts["requests"], "refused": self._counts["refused"], "flops": self._flops}

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {
            "errors": self._errors.copy(),
            "bursts": list(self._bursts),
            "counts": dict(self._counts),
            "flops": self._flops,
            "latencies": dict(self._latencies),
            "seconds": dict(self._seconds),
            "detectors": list(self._detectors),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        self._errors, self._bursts = state["errors"].copy(), list(state["bursts"])
        self._counts, self._latencies = dict(state["counts"]), dict(state["latencies"])
        self._flops, self._seconds = float(state["flops"]), dict(state["seconds"])
        self._detectors = list(state["detectors"])

    def _latency_facts(self) -> dict[str, Any]:
        count = sum(self._latencies.values())
        means = {f"{key[:-2]}_ms": 1e3 * total / count if count else None for key, total in self._seconds.items()}
        return {
            **{f"latency_ms_p{share}": self._percentile_ms(share / 100, count) for share in (50, 99)},
            **means,
        }

    def _percentile_ms(self, share: float, count: int) -> float | None:
        """The smallest step that so large a share of all latencies does not exceed, its middle, in ms."""
        below = 0
        for step, number in sorted(self._latencies.items()):
            below += number
            if below >= share * count:
                return 1e3 * math.exp((step + 0.5) / STEPS_PER_E)
        return None
