"""A long run of small rounds in a network that never rests: memory of each process, early and at the end.

Stations are injected and removed, and killed with SIGKILL. The network is at its initial size when memory is measured.
Processes that live through the run (the driver, the controller, the MBS, one SBS, Ray's own) must not grow.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from cellfree_sim.results.observer import Quiet

if TYPE_CHECKING:
    from agents import Simulation
    from cellfree_sim.scenario.schema import Scenario

ON_REQUEST = True
CYCLE = 1000  # rounds in which a station comes and goes, and one is killed


def run(quick: bool) -> list[dict[str, Any]]:
    """See `cellfree_sim.benchmarks`."""
    from agents import Simulation
    from agents.cluster import Cluster

    cycles = 3 if quick else 21
    cluster = Cluster(address=None, namespace=f"bench-{os.getpid()}", cpus=16)
    try:
        with tempfile.TemporaryDirectory() as parent:
            killer = _Killer()
            out = Path(parent) / "run"
            with Simulation.launch(_scenario(cycles), engine="ray", out=out, observer=killer) as simulation:
                killer.simulation = simulation
                simulation.advance(CYCLE)
                early = dict(_memory(simulation))
                simulation.advance()
                late = dict(_memory(simulation))
                summary = simulation.result().summary
    finally:
        cluster.close()
    happened = [event["event"] for event in summary["events"]]
    facts = {name: happened.count(name) for name in ("inject_sbs", "remove_sbs", "restart")}
    rows = [
        {
            "case": f"{name}, memory of its own",
            "value": late[name],
            "unit": "MB",
            "ratio": late[name] / early[name],
            "against": f"the same after {CYCLE} rounds, {early[name]:.1f} MB",
        }
        for name in early
        if name in late
    ]
    rows.append({"case": "rounds", "value": summary["steps"], "unit": "", **facts})
    rows.append({"case": "books balanced", "value": int(summary["backhaul"]["balanced"]), "unit": ""})
    return rows


class _Killer(Quiet):
    """Kills sbs-1 once in each cycle."""

    def __init__(self) -> None:
        self.simulation: Simulation | None = None
        self._next = CYCLE // 4

    def round(self, metrics: Mapping[str, Any]) -> None:
        """Perhaps now."""
        if self.simulation is not None and metrics["phase"] == "training" and metrics["step"] >= self._next:
            self._next += CYCLE
            engine: Any = self.simulation._engine
            os.kill(int(engine.places()["sbs-1"].partition(" ")[0]), signal.SIGKILL)


def _scenario(cycles: int) -> Scenario:
    from cellfree_sim.scenario.schema import Scenario

    events = []
    for cycle in range(cycles):
        first = cycle * CYCLE
        events.append({"at_step": first + CYCLE // 2, "inject_sbs": {"name": f"guest-{cycle}", "position_m": [75, 75]}})
        events.append({"at_step": first + 3 * CYCLE // 4, "remove_sbs": f"guest-{cycle}"})
    return Scenario.model_validate(
        {
            "name": "soak",
            "seed": 7,
            "network": {"sbs": {"count": 3}, "users": {"count": 3}},
            "radio": {"subcarriers": 2},
            "channel": {"model": "rayleigh", "realisations": {"train": 20, "validation": 4, "test": 4}, "cache": False},
            "downlink": {
                "epochs": cycles * CYCLE // 2,
                "batch": 10,
                "validate_every_steps": 500,
                "references": [],
                "schedule": "constant",
                "learning_rate": 1e-4,
            },
            "placement": {"mbs": {"cpus": 0}, "sbs": {"cpus": 0, "gpus": 0}},
            "checkpoint_every_steps": 100,
            "events": events,
        }
    )


def _memory(simulation: Simulation) -> Iterator[tuple[str, float]]:
    """Memory that only one process has (USS), MB, of the long-lived ones."""
    engine: Any = simulation._engine
    yield "driver", _own_mb(psutil.Process())
    yield "controller", _own_mb(psutil.Process(engine.controller_pid()))
    for name in ("mbs", "sbs-0", "sbs-2"):
        yield name, _own_mb(psutil.Process(int(engine.places()[name].partition(" ")[0])))
    for child in psutil.Process().children(recursive=True):
        if child.name() in ("gcs_server", "raylet"):
            yield child.name(), _own_mb(child)


def _own_mb(process: psutil.Process) -> float:
    return float(process.memory_full_info().uss) / 1e6
