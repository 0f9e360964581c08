"""A made-up run, cheap to write and rich enough for every figure and table."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from cellfree_sim.results import RunFolder, build_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = datetime(2026, 5, 4, 12, 30, 15, tzinfo=UTC)
SCENARIO = """\
name: {name}
seed: 7
network:
  area_m: [100.0, 100.0]
  users: {{count: 4, antennas: 2, min_rate_bps_hz: 0.02}}
radio: {{carrier_frequency_hz: 2100000000.0, bandwidth_hz: 20000000.0, subcarriers: 4, noise_dbm: -26.0}}
channel: {{model: {{name: tr38901-uma}}, realisations: {{train: 300, validation: 100, test: 200}}}}
downlink:
  algorithm: {{name: dmtssl}}
  loss_scheme: {{name: penalty, weight: 20.0}}
"""
LINK = {"capacity_bps": 1e10, "latency_s": 5e-4, "kind": "backhaul"}


class Page(HTMLParser):
    """Tables by caption, as rows of text; all text; every tag and attribute."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.text, self.tags = "", []
        self._caption, self._open = "", ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "caption":
            self._caption = ""
        elif tag == "tr":
            self.tables.setdefault(self._caption, []).append([])
        elif tag in ("td", "th"):
            self.tables[self._caption][-1].append("")

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        if self._open in ("script", "style"):
            return
        self.text += data
        if self._open == "caption":
            self._caption += data
        elif self._open in ("td", "th"):
            self.tables[self._caption][-1][-1] += data

    def table(self, caption: str) -> pd.DataFrame:
        head, *rows = self.tables[caption]
        return pd.DataFrame(rows, columns=head).set_index(head[0])


def topology(stations: int, users: int) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    side = int(np.ceil(np.sqrt(stations)))
    nodes = [{"id": "mbs", "kind": "mbs", "x_m": 50.0, "y_m": 50.0, "z_m": 25.0, "antennas": 0, "mec_flop_per_s": 1e12}]
    for index in range(stations):
        x, y = (100 * (index % side + 0.5) / side, 100 * (index // side + 0.5) / side)
        nodes.append({"id": f"sbs-{index}", "kind": "sbs", "x_m": x, "y_m": y, "z_m": 25.0, "antennas": 4})
        nodes[-1] |= {"power_dbm": 40.0, "mec_flop_per_s": 1e11}
    for index, (x, y) in enumerate(rng.uniform(0, 100, (users, 2)).tolist()):
        nodes.append({"id": f"user-{index}", "kind": "user", "x_m": x, "y_m": y, "z_m": 1.5, "antennas": 2})
    links = [{"source": "mbs", "target": f"sbs-{index}", **LINK} for index in range(stations)]
    return {"directed": False, "multigraph": False, "graph": {}, "nodes": nodes, "links": links}


def frames(steps: int, stations: int) -> list[dict[str, Any]]:
    """Frames of a run in which sbs-1 sends one frame again and the network loses one of it."""
    rows: list[dict[str, Any]] = []
    kinds = {"up": [("channel_report", 256_090), ("policy_output", 149_690)], "down": [("loss_feedback", 149_780)]}
    for step in range(1, steps + 1):
        for phase in ["training"] + (["validation"] if step % 5 == 0 else []):
            for index in range(stations):
                for way, sent in kinds.items():
                    for kind, size in sent if phase == "training" or way == "up" else []:
                        ends = (f"sbs-{index}", "mbs") if way == "up" else ("mbs", f"sbs-{index}")
                        rows.append({"phase": phase, "step": step, "kind": kind})
                        rows[-1] |= {
                            "sender": ends[0],
                            "receiver": ends[1],
                            "bytes": size + index,
                            "payload_bytes": size - 90,
                            "link_class": "backhaul",
                        }
    for row_number, row in enumerate(rows):
        sent_s = 0.01 * row["step"]
        row |= {"sequence": row_number, "path": f"{row['sender']}>{row['receiver']}", "attempt": 0}
        row |= {"status": "delivered", "sent_s": sent_s, "arrival_s": sent_s + 7e-4, "queue_s": 0.0, "transfer_s": 7e-4}
    rows.append(rows[-1] | {"attempt": 1})
    rows.append(rows[0] | {"sequence": len(rows), "status": "dropped"})
    return rows


def rounds(steps: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    rows = []
    for step in range(1, steps + 1):
        level = 22 - 16 * np.exp(-4 * step / steps)
        base = {"step": step, "simulated_s": 0.01 * step, "bytes": 1_600_000 * step, "wall_s": 0.1 * step}
        times = {"compute_s": 6e-3, "queue_s": 2e-4 + 1e-5 * (step % 3), "transfer_s": 1.7e-3}
        training = {"joint_loss": -level + rng.normal(), "sum_rate": level + rng.normal(), "min_rate_satisfied": 0.85}
        rows.append({"phase": "training", **base, **times, **training, "power_violation": 0.0})
        if step % 5 == 0:
            measured = {"sum_rate": level + 0.2, "sum_rate_error": 0.3, "min_rate_satisfied": 0.9}
            rows.append({"phase": "validation", **base, **measured})
    rows.append({"phase": "test", "step": steps, "sum_rate": 21.9, "min_rate_satisfied": 0.91, "power_violation": 0.0})
    return rows


def user_rates(realisations: int, users: int) -> dict[str, Any]:
    rng = np.random.default_rng(11)
    share = rng.gamma(1.2, 1.0, (realisations, users))
    made = {}
    means = {"dmtssl": (22, 0.08), "gsa-zf": (21.4, 0.6), "rsa-zf": (6.6, 0.4), "ascent": (25.6, 0.4)}
    for name, (mean, outage) in means.items():
        rates = share * rng.gamma(8, 1 / 8, share.shape) * (rng.random(share.shape) > outage)
        rates += 1e-3 * rng.random(share.shape)
        made[name] = rates * mean / rates.sum(1).mean()
    return made


def write_run(
    path: Path, *, name: str = "synthetic", steps: int = 20, users: int = 4, realisations: int = 40
) -> RunFolder:
    folder = RunFolder.create(path, name, NOW)
    folder.write_scenario(SCENARIO.format(name=name))
    folder.write_topology(topology(3, users))
    with folder.metrics_writer() as writer:
        for row in rounds(steps):
            writer.append(row)
    with folder.backhaul_writer() as writer:
        for row in frames(steps, 3):
            writer.append(row)
    folder.write_rates(user_rates(realisations, users))
    folder.write_summary(
        {
            "name": name,
            "seed": 7,
            "engine": "ray",
            "status": "done",
            "steps": steps,
            "wall_seconds": 61.5,
            "simulated_seconds": 0.01 * steps,
            "versions": {"cellfree-sim": "0.1.0", "torch": "2.13.0"},
            "stations": ["mbs", "sbs-0", "sbs-1", "sbs-2"],
            "downlink": {"algorithm": "dmtssl", "loss_scheme": "penalty"},
            "backhaul": {"balanced": True, "unmatched": []},
        }
    )
    folder.log("run finished")
    return folder


def change_network(folder: RunFolder) -> RunFolder:
    """Let a made-up run be one in which the network changed: the records that such a run leaves."""
    graph = folder.topology()
    nodes, links = ({key(each): each for each in graph[name]} for name, key in (("nodes", _id), ("links", _ends)))
    for name in ("sbs-0", "sbs-1", "sbs-2"):
        nodes[name] |= {"status": "active", "learns": True}
    nodes["sbs-0"]["status"], nodes["sbs-1"]["status"] = "removed", "isolated"
    links["mbs", "sbs-1"]["up"] = False
    links["mbs", "sbs-2"] |= {"capacity_bps": 2e6, "built_capacity_bps": 1e10}
    new = {"id": "sbs-3", "x_m": 75.0, "y_m": 75.0, "status": "active", "learns": False}
    graph["nodes"].append(nodes["sbs-2"] | new)
    graph["links"].append({"source": "mbs", "target": "sbs-3", **LINK})
    folder.write_topology(graph)
    injection = {"station": "sbs-3", "position": [75.0, 75.0], "nearest": "sbs-1", "donor": "sbs-1"}
    injection |= {"transfer": "nearest", "after": "execute", "at_step": 5, "transfer_bytes": 151218}
    injection |= {"sum_rate_before": 11.2346, "sum_rate_after": 17.8912, "sum_rate_end": 21.5, "seconds": 0.3699}
    summary = folder.summary()
    summary["downlink"]["injection"] = [injection | {"simulated_seconds": 0.058161}]
    summary["backhaul"] |= {"retransmissions": {"frames": 31, "bytes": 4_000_000}}
    removal = {"station": "sbs-0", "sum_rate_before": 20.5, "sum_rate_after": 14.25}
    summary["events"] = [
        {"event": "slow_link", "at_step": 0, "link": ["mbs", "sbs-2"], "capacity_bps": 2e6, "latency_s": 5e-4},
        {"event": "inject_sbs", "at_step": 5, "station": "sbs-3", "donor": "sbs-1"},
        {"event": "restart", "stations": ["mbs", "sbs-1"], "at_step": 9, "from_step": 6, "seconds": 1.25},
        {"event": "remove_sbs", "at_step": 10, **removal},
        {"event": "cut_link", "at_step": 12, "link": ["mbs", "sbs-1"], "isolated": ["sbs-1"]},
        {"event": "remove_sbs", "at_step": 15, "refused": "station 'sbs-9' is unknown"},
    ]
    folder.write_summary(summary)
    return folder


def _id(node: dict[str, Any]) -> str:
    return str(node["id"])


def _ends(link: dict[str, Any]) -> tuple[str, str]:
    return link["source"], link["target"]


@pytest.fixture
def changed_folder(run_folder: RunFolder) -> RunFolder:
    """A run whose network changed."""
    return change_network(run_folder)


@pytest.fixture(scope="session")
def changed_page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The report of such a run."""
    folder = change_network(write_run(tmp_path_factory.mktemp("changed") / "run"))
    return Page(build_report(folder.path))


@pytest.fixture
def run_folder(tmp_path: Path) -> RunFolder:
    return write_run(tmp_path / "run")


@pytest.fixture(scope="session")
def make_run() -> Callable[..., RunFolder]:
    """Writes a made-up run: see `write_run`."""
    return write_run


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run whose name would be markup, with its report and figures."""
    folder = write_run(tmp_path_factory.mktemp("reported") / "run", name="'<b>&\"net'")
    build_report(folder.path)
    return folder


@pytest.fixture(scope="session")
def read_page() -> type[Page]:
    """Reads a report: a call with its path gives a `Page`."""
    return Page
