"""What edge services made of the uplink, as tables of the report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cellfree_sim.results.formats import signed
from cellfree_sim.results.report_tables import Row, Table
from cellfree_sim.results.uplink import STATE_METRICS, symbols_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellfree_sim.results.uplink import ErrorRate, ServiceRecord

RATES_NOTE = (
    "Error rates over all users and bursts at one SNR, the one that power control aims at; in brackets the 95 % "
    "interval. Symbols of a burst share its channel, and bursts of a drop the places of its users: the interval counts "
    "only what is independent. A block is all that a user sends in a burst."
)
STATES_NOTE = (
    "A state is what a user did in a slot: silence, or one of its messages. Missed (active, and taken for silent), "
    "false alarms (silent, and taken for active) and wrong data are shares of all states, and add up to the state "
    "error rate. The last column is the error rate of a detector that finds nobody: above it is worse than none."
)
SERVICES_NOTE = (
    "Latency is simulated time from the end of a burst on the air to its last decision; its parts are means, and add "
    "up to the mean latency. A request is a burst at a place that detects. Bytes are those of frames on the backhaul."
)


def error_table(records: Sequence[ServiceRecord]) -> Table | None:
    """Error rates of each service at each SNR; None without an uplink."""
    rows = [
        Row(
            [
                record.name,
                signed(snr_db, "g"),
                *(rate_with_interval(record.rates[metric][place]) for metric in ("ser", "ber", "bler")),
            ]
        )
        for record in records
        for place, snr_db in enumerate(record.snr_db)
    ]
    ser = "state error rate" if symbols_in_words(records) == "state" else "SER"
    columns = ["service", "SNR (dB)", ser, "BER", "BLER"]
    return Table("Error rates", columns, rows, RATES_NOTE) if rows else None


def states_table(records: Sequence[ServiceRecord]) -> Table | None:
    """What the errors in users' states are; None where users are never silent."""
    rows = [
        Row(
            [
                record.name,
                f"{_mean([rate.value for rate in record.rates['ser']]):.3g}",
                *(f"{record.states[metric]:.3g}" for metric in STATE_METRICS),
                f"{_mean(record.active):.3g}",
            ]
        )
        for record in records
        if record.active and record.slots
    ]
    columns = ["service", "state error rate", "missed", "false alarms", "wrong data", "nobody found"]
    return Table("Errors in users' states", columns, rows, STATES_NOTE) if rows else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def services_table(records: Sequence[ServiceRecord]) -> Table | None:
    """What each service took: bytes, time, requests; None without an uplink."""
    if not records:
        return None
    columns = [
        *("service", "detector", "cooperation", "slots", "bytes per slot", "latency (ms)", "queue", "compute"),
        *("backhaul", "median", "99th percentile", "requests", "refused", "undecided"),
    ]
    rows = [
        Row(
            [
                record.name,
                record.detector,
                record.cooperation.replace("_", " "),
                f"{record.slots:,}",
                f"{record.bytes_per_slot:,.0f}" if math.isfinite(record.bytes_per_slot) else "–",
                *(milliseconds(each) for each in (record.latency_s, *record.parts_s.values())),
                *(milliseconds(each) for each in (record.latency_p50_s, record.latency_p99_s)),
                *(f"{number:,}" for number in (record.requests, record.refused, record.undecided)),
            ]
        )
        for record in records
    ]
    return Table("Edge services", columns, rows, SERVICES_NOTE, layout="tight")


def rate_with_interval(rate: ErrorRate) -> str:
    """An error rate and its interval.

    >>> from cellfree_sim.results.uplink import ErrorRate
    >>> rate_with_interval(ErrorRate(0.0123, 0.0101, 0.0149)), rate_with_interval(ErrorRate(0.5))
    ('0.0123 [0.0101, 0.0149]', '0.5')
    """
    if not math.isfinite(rate.value):
        return "–"
    interval = f" [{rate.low:.3g}, {rate.high:.3g}]" if math.isfinite(rate.low) and math.isfinite(rate.high) else ""
    return f"{rate.value:.3g}{interval}"


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds, to three digits.

    >>> milliseconds(0.00123456), milliseconds(float("nan"))
    ('1.23', '–')
    """
    return f"{1e3 * seconds:.3g}" if math.isfinite(seconds) else "–"
