"""A cluster of three nodes on this machine, a run whose stations are spread over them, and nodes that are killed.

Run as a process of its own, because a process has one Ray connection: ``python three_nodes.py FOLDER``. Writes what
came out to stdout, as JSON. The first node that dies leaves room elsewhere, so its station moves; the second one leaves
none.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
os.environ["RAY_AUTH_MODE"] = "disabled"

import ray
from ray.cluster_utils import Cluster

from agents import Simulation
from cellfree_sim.results.observer import Quiet
from cellfree_sim.scenario.schema import Scenario

STEPS = 250
FAST_HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 4,
}
SCENARIO = {
    "name": "three-nodes",
    "seed": 7,
    "network": {"sbs": {"count": 2}, "users": {"count": 3}},
    "radio": {"subcarriers": 2},
    "channel": {
        "model": "rayleigh",
        "realisations": {"train": 20, "validation": 4, "test": 4},
        "cache": False,
    },
    "downlink": {"epochs": STEPS // 2, "batch": 10, "validate_every_steps": 50, "references": []},
    "placement": {"strategy": "SPREAD", "mbs": {"cpus": 2}, "sbs": {"cpus": 1, "gpus": 0}},
    "checkpoint_every_steps": 25,
}


class NodeKiller(Quiet):
    """Kills the node of a station when it hears of a step."""

    def __init__(self, cluster: Cluster, kills: list[tuple[int, str]]) -> None:
        self.cluster = cluster
        self.kills = kills
        self.killed: list[str] = []
        self.simulation: Simulation | None = None

    def round(self, metrics: Any) -> None:
        if not (self.simulation and self.kills and metrics["phase"] == "training"):
            return
        step, station = self.kills[0]
        if metrics["step"] >= step:
            self.kills.pop(0)
            self.killed.append(self.node_of(station))
            node = next(n for n in self.cluster.list_all_nodes() if n.node_id == self.killed[-1])
            self.cluster.remove_node(node, allow_graceful=False)

    def node_of(self, station: str) -> str:
        assert self.simulation is not None
        seats: dict[str, Any] = self.simulation._engine._seats  # type: ignore[attr-defined]
        return str(seats[station].node)


def main(folder: Path) -> None:
    """The run; its facts go to stdout."""
    small = {"object_store_memory": 80 * 2**20}
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 3, "_system_config": FAST_HEALTH_CHECKS, **small}
    )
    # while there is one node, this process can belong to no other
    ray.init(address=cluster.address, namespace="nodes", log_to_driver=False, logging_level=logging.ERROR)
    for _ in range(2):
        cluster.add_node(num_cpus=1, **small)
    killer = NodeKiller(cluster, [(60, "sbs-0"), (160, "sbs-1")])
    try:
        scenario = Scenario.model_validate(SCENARIO)
        with Simulation.launch(scenario, engine="ray", out=folder, observer=killer) as simulation:
            killer.simulation = simulation
            spread = {station: killer.node_of(station) for station in ("mbs", "sbs-0", "sbs-1")}
            simulation.advance()
            result = simulation.result(report=False)
    finally:
        ray.shutdown()
        cluster.shutdown()
    facts = {"spread": spread, "killed": killer.killed, "summary": result.summary}
    sys.stdout.write(json.dumps(facts, default=str))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
