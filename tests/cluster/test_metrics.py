"""Prometheus reads from Ray's exporter what the books of a run say."""

from __future__ import annotations

import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agents import Simulation
from agents.cluster import Cluster
from agents.exporter import endpoints
from cellfree_sim.errors import UserError
from cellfree_sim.results.observer import Quiet
from cellfree_sim.results.prometheus import METRICS

PATIENCE_S = 60.0
UPLINK = {"bursts": 20, "snr_db": [10.0], "slots": 3, "services": [{"name": "near", "detector": "lmmse"}]}


def scrape(target: str, run: str) -> dict[tuple[str, str], float]:
    """Series of a run: by name and the label beside the run's."""
    with urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found = {}
    for sample in (sample for family in families for sample in family.samples):
        if sample.labels.get("run") == run and "cellfree" in sample.name:
            own = [value for key, value in sample.labels.items() if key in ("kind", "link", "station", "service")]
            found[sample.name, own[0] if own else ""] = sample.value
    return found


def test_what_is_scraped_is_what_the_books_say(cluster: Any, small_scenario: Any, tmp_path: Path) -> None:
    network = {"sbs": {"count": 2}, "users": {"count": 4, "antennas": 1}}
    scenario = small_scenario(network=network, uplink=UPLINK)
    (target,) = endpoints()
    with Simulation.launch(scenario, engine="ray", out=tmp_path / "scraped", observer=Quiet()) as simulation:
        assert simulation.describe()["metrics"] == [target]
        simulation.advance()
        books = simulation.result(report=False).summary["backhaul"]
        until, found = time.monotonic() + PATIENCE_S, {}
        sizes = {("ray_cellfree_backhaul_bytes_total", kind): size for kind, size in books["by_kind"].items()}
        while not sizes.items() <= found.items() and time.monotonic() < until:  # Ray reports every few seconds
            found = scrape(target, "scraped")
        assert sizes.items() <= found.items()
    by_link = books["by_link"]
    for name in ("sbs-0", "sbs-1"):
        both_ways = by_link[f"mbs>{name}"] + by_link[f"{name}>mbs"]
        assert found["ray_cellfree_link_bytes_total", f"mbs-{name}"] == both_ways
        assert found["ray_cellfree_link_up", f"mbs-{name}"] == 1
    assert found["ray_cellfree_step", ""] == found["ray_cellfree_steps", ""] == scenario.steps
    assert found["ray_cellfree_burst", ""] == 20
    names = {name for name, _ in found}
    assert names == {metric.exposed_name for metric in METRICS.values()} - {"ray_cellfree_service_refused_total"}


def test_a_port_that_is_taken_is_refused_before_ray_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"placement\.metrics_port: found {port}, which cannot be served at: Addr"):
            Cluster(address=None, namespace="tests", cpus=1, metrics_port=port)
        monkeypatch.setattr("agents.cluster.find_spec", lambda name: None)
        with pytest.raises(UserError, match=r"pip install 'cellfree-sim\[metrics\]'"):
            Cluster(address=None, namespace="tests", cpus=1, metrics_port=port)
