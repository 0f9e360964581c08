"""What a running network tells Prometheus: names, kinds, units and labels, and their values in what is known of it.

Ray writes ``ray_`` before every name, and ``_total`` behind that of a counter: `exposed_name`. Every series has the
label ``run``, the name of the run folder. Counters count from the beginning of the run, also in one that was resumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

Kind = Literal["counter", "gauge"]


class Metric(NamedTuple):
    """A metric: its name without what Ray adds, what it says, and its labels beside ``run``."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def exposed_name(self) -> str:
        """Its name as Prometheus sees it.

        >>> Metric("cellfree_step", "gauge", "").exposed_name, Metric("cellfree_link_bytes", "counter", "").exposed_name
        ('ray_cellfree_step', 'ray_cellfree_link_bytes_total')
        """
        return f"ray_{self.name}" + ("_total" if self.kind == "counter" else "")


class Reading(NamedTuple):
    """The value of a series, its labels without ``run``; None where it is not known."""

    metric: Metric
    labels: Mapping[str, str]
    value: float | None


_LINK, _SERVICE, _STATION = ("link",), ("service",), ("station",)
METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "cellfree_backhaul_bytes", "counter", "bytes of frames sent, by message kind (the air included)", ("kind",)
        ),
        Metric("cellfree_link_bytes", "counter", "bytes over a link of the backhaul, both directions", _LINK),
        Metric("cellfree_link_utilisation", "gauge", "share of simulated time in which a link was busy, 0 to 1", _LINK),
        Metric("cellfree_link_queue_seconds", "gauge", "longest wait in front of a link, simulated seconds", _LINK),
        Metric("cellfree_link_up", "gauge", "1 where a link is up, 0 where it is cut", _LINK),
        Metric("cellfree_step", "gauge", "training rounds done"),
        Metric("cellfree_steps", "gauge", "training rounds of the scenario"),
        Metric("cellfree_simulated_seconds", "gauge", "the simulated clock, seconds"),
        Metric("cellfree_sum_rate", "gauge", "sum rate of the last validation, bit/s/Hz"),
        Metric("cellfree_joint_loss", "gauge", "joint loss of the last round"),
        Metric("cellfree_users_at_min_rate", "gauge", "share of users at r_min in the last validation, 0 to 1"),
        Metric("cellfree_station_sum_rate", "gauge", "sum rate that a station serves, bit/s/Hz", _STATION),
        Metric(
            "cellfree_station_load", "gauge", "share of simulated time in which a station computed, 0 to 1", _STATION
        ),
        Metric("cellfree_burst", "gauge", "bursts of the uplink that are over"),
        Metric("cellfree_service_requests", "counter", "requests to an edge service", _SERVICE),
        Metric("cellfree_service_refused", "counter", "requests that an edge service refused", _SERVICE),
        Metric("cellfree_service_error_rate", "gauge", "symbol error rate of a service so far, 0 to 1", _SERVICE),
        Metric("cellfree_service_latency_seconds", "gauge", "latency of a service's last burst, simulated", _SERVICE),
        Metric("cellfree_service_latency_p99_seconds", "gauge", "99th percentile of it over bursts", _SERVICE),
    )
}


def readings(told: Mapping[str, Any]) -> Iterator[Reading]:
    """The series of a run, from what is known of it (the content of progress.json; see `RunStatus`).

    >>> told = {"step": 20, "by_kind": {"join": 462}, "services": [{"name": "near", "latency_ms": 0.5}]}
    >>> {reading.metric.name: reading.value for reading in readings(told) if reading.value}
    {'cellfree_backhaul_bytes': 462, 'cellfree_step': 20, 'cellfree_service_latency_seconds': 0.0005}
    """
    for kind, size_bytes in told.get("by_kind", {}).items():
        yield Reading(METRICS["cellfree_backhaul_bytes"], {"kind": kind}, size_bytes)
    for link in told.get("links", []):
        labels = {"link": f"{link['a']}-{link['b']}"}
        yield from _each(
            "link", labels, link, bytes="bytes", utilisation="utilisation", queue_seconds="queue_s", up="up"
        )
    for name in ("step", "steps", "sum_rate", "burst"):
        yield Reading(METRICS[f"cellfree_{name}"], {}, told.get(name))
    yield Reading(METRICS["cellfree_simulated_seconds"], {}, told.get("simulated_s"))
    yield Reading(METRICS["cellfree_joint_loss"], {}, _last(told, "training", "joint_loss"))
    yield Reading(METRICS["cellfree_users_at_min_rate"], {}, _last(told, "validation", "min_rate_satisfied"))
    for station in told.get("stations", []):
        yield from _each("station", {"station": station["name"]}, station, sum_rate="sum_rate", load="load")
    for service in told.get("services", []):
        labels = {"service": service["name"]}
        yield from _each("service", labels, service, requests="requests", refused="refused", error_rate="ser")
        for name, key in (("latency_seconds", "latency_ms"), ("latency_p99_seconds", "latency_p99_ms")):
            value = service.get(key)
            yield Reading(METRICS[f"cellfree_service_{name}"], labels, None if value is None else 1e-3 * value)


def dashboard() -> str:
    """The dashboard for Grafana that comes with the package, as JSON."""
    return (Path(__file__).parent / "grafana.json").read_text(encoding="utf-8")


def _each(of: str, labels: Mapping[str, str], table: Mapping[str, Any], **keys: str) -> Iterator[Reading]:
    """Readings of one thing: metric ``cellfree_<of>_<name>`` is what `table` has under the key given for `name`."""
    for name, key in keys.items():
        yield Reading(METRICS[f"cellfree_{of}_{name}"], labels, table.get(key))


def _last(told: Mapping[str, Any], curve: str, name: str) -> float | None:
    """The newest point of a curve."""
    points = told.get("curves", {}).get(curve, {}).get(name) or [None]
    value: float | None = points[-1]
    return value
