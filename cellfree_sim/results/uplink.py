"""Numbers of the uplink of a run, from the files of its folder: error rates, bytes, latencies of its edge services.

A run that has come to its end says them in its summary, with intervals; of one that goes on, or was killed, they are
counted from its table of bursts, and have none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellfree_sim.results.analysis import RunData, setting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

METRICS = {"ser": ("symbol_errors", "symbols"), "ber": ("bit_errors", "bits"), "bler": ("block_errors", "blocks")}
STATE_METRICS = ("missed", "false_alarms", "data")
"""Where users may be silent: active ones taken for silent, silent ones taken for active, wrong messages of active ones
that were found. They are shares of all states, and add up to the symbol error rate."""
LATENCY_PARTS = ("queue_s", "compute_s", "backhaul_s")


@dataclass(frozen=True)
class ErrorRate:
    """A share of errors with its 95 % interval; ends are NaN where nothing is known of it."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class ServiceRecord:
    """What one edge service did.

    Attributes:
        name, cooperation: as in the scenario.
        detector: with which it detects; several, joined by arrows, where another took the place of the first.
        snr_db: SNRs that power control aimed at, ascending.
        rates: of "ser", "ber" and "bler", one for each SNR.
        active: share of the states that were no silence, one for each SNR: the symbol error rate of a detector that
            finds nobody. Empty where users are never silent.
        states: of `STATE_METRICS`, at all SNRs together; empty where users are never silent.
        slots: that were decided, at all SNRs together.
        bytes_per_slot: on the backhaul.
        latency_s: from the end of a burst on the air to its last decision, mean; and its parts "queue_s", "compute_s",
            "backhaul_s", which add up to it. Simulated time; NaN where nothing was decided.
        latency_p50_s, latency_p99_s: medians and 99th percentiles over bursts.
        requests, refused: bursts at a station, and those that found no room in its queue, or that its detector cannot
            serve.
        undecided: users without a decision, over all bursts.
    """

    name: str
    detector: str
    cooperation: str
    snr_db: list[float]
    rates: dict[str, list[ErrorRate]]
    active: list[float]
    states: dict[str, float]
    slots: int
    bytes_per_slot: float
    latency_s: float
    parts_s: dict[str, float]
    latency_p50_s: float
    latency_p99_s: float
    requests: int
    refused: int
    undecided: int


def service_records(run: RunData) -> list[ServiceRecord]:
    """One record for each service, in the order of the scenario; none where the run had no uplink."""
    if run.uplink.empty:
        return []
    silence = setting(run.scenario, "uplink", "problem") in ("noma", "mmtc")
    told = {str(each["name"]): each for each in setting(run.summary, "uplink", "services") or []}
    return [
        _record(name, run.uplink[run.uplink["service"] == name], told.get(name), silence=silence)
        for name in dict.fromkeys(run.uplink["service"])
    ]


def _record(name: str, rows: pd.DataFrame, told: Mapping[str, Any] | None, *, silence: bool) -> ServiceRecord:
    slots = int(rows["slots"].sum())
    latency = rows["latency_s"].dropna()
    at = sorted({float(each) for each in rows["snr_db"].dropna()})
    return ServiceRecord(
        name=name,
        detector=" → ".join(dict.fromkeys(used for used in rows["detector"] if used)),
        cooperation=str(rows["cooperation"].iloc[0]),
        snr_db=at,
        rates={metric: [_rate(rows, snr, metric, told) for snr in at] for metric in METRICS},
        active=[_share(rows[rows["snr_db"] == snr], "active") for snr in at] if silence else [],
        states={metric: _share(rows, metric) for metric in STATE_METRICS} if silence else {},
        slots=slots,
        bytes_per_slot=float(rows["bytes"].sum() / slots) if slots else math.nan,
        latency_s=float(latency.mean()),
        parts_s={part: float(rows.loc[latency.index, part].mean()) for part in LATENCY_PARTS},
        latency_p50_s=float(latency.quantile(0.5)),
        latency_p99_s=float(latency.quantile(0.99)),
        requests=int(rows["requests"].sum()),
        refused=int(rows["refused"].sum()),
        undecided=int(rows["undecided"].sum()),
    )


def symbols_in_words(records: Sequence[ServiceRecord]) -> str:
    """What the SER is the rate of: symbols, or users' states where they may be silent."""
    return "state" if any(record.active for record in records) else "symbol"


def _share(rows: pd.DataFrame, metric: str) -> float:
    """So many of all states, of active users or of a kind of errors."""
    sums = rows[["symbols", "symbol_errors", "active", "missed", "false_alarms"]].sum()
    sums["data"] = sums["symbol_errors"] - sums["missed"] - sums["false_alarms"]
    return float(sums[metric] / sums["symbols"]) if sums["symbols"] else math.nan


def _rate(rows: pd.DataFrame, snr_db: float, metric: str, told: Mapping[str, Any] | None) -> ErrorRate:
    """Errors over trials at one SNR, with the interval that the summary has for it."""
    errors, trials = METRICS[metric]
    own = rows[rows["snr_db"] == snr_db]
    value = float(own[errors].sum() / own[trials].sum()) if own[trials].sum() else math.nan
    if told is None or snr_db not in told.get("snr_db", []):
        return ErrorRate(value)
    place = told["snr_db"].index(snr_db)
    low, high = (_float(told.get(f"{metric}_{end}", []), place) for end in ("low", "high"))
    return ErrorRate(value, low, high)


def _float(values: list[float | None], place: int) -> float:
    value = values[place] if place < len(values) else None
    return math.nan if value is None else float(value)
