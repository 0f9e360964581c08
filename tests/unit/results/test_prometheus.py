"""What a run tells Prometheus, and the dashboard that shows it, agree with each other and with what a run knows."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from agents import exporter
from agents.exporter import Exporter
from cellfree_sim.cli import main
from cellfree_sim.results.prometheus import METRICS, dashboard, readings

TOLD = {
    "step": 20,
    "steps": 75,
    "sum_rate": 21.5,
    "simulated_s": 0.25,
    "by_kind": {"join": 462, "loss_feedback": 1_000_000},
    "links": [
        {"a": "mbs", "b": "sbs-0", "bytes": 900, "utilisation": 0.25, "queue_s": 1e-3, "up": True, "bytes_per_s": 3.0},
        {"a": "mbs", "b": "sbs-1", "bytes": 0, "utilisation": 0.0, "queue_s": 0.0, "up": False, "bytes_per_s": 0.0},
    ],
    "stations": [{"name": "mbs", "load": 0.5, "sum_rate": None}, {"name": "sbs-0", "load": 0.1, "sum_rate": 9.5}],
    "services": [
        {"name": "near", "ser": 0.01, "latency_ms": 2.0, "latency_p99_ms": None, "requests": 12, "refused": 0}
    ],
    "burst": 4,
    "curves": {"training": {"step": [20], "joint_loss": [-3.5]}, "validation": {"min_rate_satisfied": [0.5, 0.75]}},
}
PROMQL = {"by", "deriv", "max", "min", "rate", "sum", "run", "kind", "link", "station", "service", "m"}


class FakeMetric:
    """In the place of Ray's metrics: a table of series."""

    series: dict[tuple[Any, ...], float] = {}

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.name, self.tag_keys = name, tag_keys

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert tuple(tags) == self.tag_keys
        self.series[self.name, *tags.values()] = value

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert tuple(tags) == self.tag_keys and value > 0
        key = (self.name, *tags.values())
        self.series[key] = self.series.get(key, 0) + value


@pytest.fixture
def series(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[Any, ...], float]:
    monkeypatch.setattr(FakeMetric, "series", {})
    monkeypatch.setattr("ray.util.metrics.Counter", FakeMetric)
    monkeypatch.setattr("ray.util.metrics.Gauge", FakeMetric)
    return FakeMetric.series


def test_every_metric_is_read_from_what_is_known_with_its_labels() -> None:
    found = list(readings(TOLD))
    assert {reading.metric.name for reading in found} == set(METRICS)
    for metric, labels, _ in found:
        assert tuple(labels) == metric.labels
    assert list(readings({})) == [r for r in readings({}) if r.value is None]  # a run of which nothing is known yet


def test_an_exporter_keeps_series_at_what_was_told_and_counts_nothing_twice(series) -> None:
    exporter = Exporter("mine")
    exporter.tell(TOLD)
    assert series["cellfree_backhaul_bytes", "mine", "loss_feedback"] == 1_000_000
    assert series["cellfree_link_up", "mine", "mbs-sbs-1"] == 0 and series["cellfree_joint_loss", "mine"] == -3.5
    assert series["cellfree_service_latency_seconds", "mine", "near"] == 2e-3
    assert ("cellfree_station_sum_rate", "mine", "mbs") not in series  # it serves nobody
    for size in (900_000, 1_000_000, 1_200_000):  # a run that went back, and goes on
        exporter.tell(TOLD | {"by_kind": {"loss_feedback": size}})
    assert series["cellfree_backhaul_bytes", "mine", "loss_feedback"] == 1_200_000
    Exporter("mine").tell(TOLD | {"by_kind": {"loss_feedback": 1_300_000}})  # of a controller that was restarted
    assert series["cellfree_backhaul_bytes", "mine", "loss_feedback"] == 2_500_000  # in Ray: another series, of its own


def test_nodes_without_an_exporter_are_no_endpoints(monkeypatch) -> None:
    nodes = [
        {"Alive": True, "NodeManagerAddress": "10.0.0.1", "MetricsExportPort": 8080},
        {"Alive": True, "NodeManagerAddress": "10.0.0.2", "MetricsExportPort": -1},  # Ray without its extra
        {"Alive": False, "NodeManagerAddress": "10.0.0.3", "MetricsExportPort": 8080},
    ]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    assert exporter.endpoints() == ["10.0.0.1:8080"]


def test_every_expression_of_the_dashboard_is_of_metrics_and_labels_that_there_are() -> None:
    board = json.loads(dashboard())
    exposed = {metric.exposed_name: metric for metric in METRICS.values()}
    asked = set()
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            names = set(re.findall(r"ray_cellfree_\w+", expression))
            assert names and names <= set(exposed), expression
            asked |= names
            labels = {"run"} | {label for name in names for label in exposed[name].labels}
            for group in re.findall(r"by \(([^)]*)\)", expression):
                assert set(group.split(", ")) <= labels, expression
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels
            assert expression.count('{run=~"$run"}') == len(re.findall(r"ray_cellfree_\w+", expression)), expression
            for name in names:  # counters only as rates and totals, gauges never as rates
                is_rate = f"rate({name}" in expression
                assert (exposed[name].kind == "counter") == (is_rate or f"kind) ({name}" in expression), expression
            words = set(re.findall(r"[a-z_]\w*", re.sub(r'"[^"]*"|ray_cellfree_\w+|\$\w+', "", expression)))
            assert words <= PROMQL, expression
            assert expression.count("(") == expression.count(")")
    assert asked == set(exposed)  # nothing is told in vain


def test_the_dashboard_has_variables_for_source_and_run_and_panels_that_do_not_overlap() -> None:
    board = json.loads(dashboard())
    source, run = board["templating"]["list"]
    assert (source["type"], source["query"], run["type"]) == ("datasource", "prometheus", "query")
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", run["definition"]).groups()
    assert metric in {each.exposed_name for each in METRICS.values()} and label == "run"
    assert run["multi"] and run["datasource"]["uid"] == "${datasource}"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel.get("targets", []))


class TestCommands:
    def test_list_names_every_metric(self, capsys) -> None:
        assert main(["metrics", "list", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [each["name"] for each in found] == [metric.exposed_name for metric in METRICS.values()]
        assert main(["metrics", "list"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 1 + len(METRICS)

    def test_dashboard_is_written_as_it_is(self, tmp_path, capsys) -> None:
        assert main(["metrics", "dashboard", "--out", str(tmp_path / "board.json")]) == 0
        assert capsys.readouterr().out == f"{tmp_path}/board.json\n"
        assert json.loads((tmp_path / "board.json").read_text())["uid"] == "cellfree-sim"

    def test_settings_for_prometheus_are_yaml_with_the_targets(self, capsys) -> None:
        assert main(["metrics", "prometheus", "--target", "10.0.0.1:8080", "--target", "[::1]:8080"]) == 0
        settings = YAML(typ="safe", pure=True).load(capsys.readouterr().out)
        (job,) = settings["scrape_configs"]
        assert job["static_configs"] == [{"targets": ["10.0.0.1:8080", "[::1]:8080"]}]

    def test_a_target_without_a_port_is_refused(self, capsys) -> None:
        assert main(["metrics", "prometheus", "--target", "here"]) == 2
        assert capsys.readouterr().err == (
            "cellfree: error: --target: found 'here'; allowed: host:port of a node's metrics\n"
        )


def test_text_of_the_format_that_prometheus_reads_has_no_such_name_twice() -> None:
    """Names and help are legal in the exposition format."""
    text = "".join(
        f"# HELP {each.exposed_name} {each.help}\n# TYPE {each.exposed_name} {each.kind}\n{each.exposed_name} 1\n"
        for each in METRICS.values()
    )
    assert len(list(text_string_to_metric_families(text))) == len(METRICS)
