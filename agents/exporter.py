"""The series of a run for Prometheus, through Ray's own exporter.

    driver ── what is known of the run, every 0.4 s ──► controller: Exporter ──► Ray's agent on its node ──► Prometheus

One process of a run tells, its controller, so that nothing is counted twice. Where no node of the cluster exports
anything (Ray without its extra ``default``), nothing is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellfree_sim.results.prometheus import METRICS, readings


class Exporter:
    """Keeps Ray's metrics at what was told last.

    Counters never go back, whatever a run forgets and does again. Gauges are set each time, since the agent forgets
    those that are not: what is gone from the network has no value any more after a while.
    """

    def __init__(self, run: str) -> None:
        from ray.util.metrics import Counter, Gauge

        kinds = {"counter": Counter, "gauge": Gauge}
        self._run = run
        self._metrics: dict[str, Any] = {
            metric.name: kinds[metric.kind](metric.name, metric.help, ("run", *metric.labels))
            for metric in METRICS.values()
        }
        self._counted: dict[tuple[str, ...], float] = {}

    def tell(self, told: Mapping[str, Any]) -> None:
        """What is known of the run now."""
        for metric, labels, value in readings(told):
            tags = {"run": self._run, **labels}
            if value is None:
                continue
            if metric.kind == "gauge":
                self._metrics[metric.name].set(float(value), tags)
                continue
            series = metric.name, *labels.values()
            more = value - self._counted.get(series, 0)
            if more > 0:
                self._counted[series] = value
                self._metrics[metric.name].inc(more, tags)


def endpoints() -> list[str]:
    """Where Prometheus reads the metrics of the cluster that this process is connected to, host:port of each node."""
    import ray

    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return [
        f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}"
        for node in nodes
        if node["Alive"] and node.get("MetricsExportPort", 0) > 0
    ]
