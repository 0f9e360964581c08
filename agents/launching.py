"""What a run is made of: where it begins, its trained detectors, its engine and its uplink, of whichever kind."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from cellfree_sim.channel import check_channels
from cellfree_sim.errors import UserError
from cellfree_sim.network import Network, build_network
from cellfree_sim.network.changes import check_events
from cellfree_sim.results.checkpoints import Checkpoint, Checkpoints
from cellfree_sim.results.observer import Observer, create_observer
from cellfree_sim.results.run_file import NAME as RUN_FILE
from cellfree_sim.results.run_file import RunFile
from cellfree_sim.results.run_folder import RunFolder
from cellfree_sim.scenario import load_scenario

if TYPE_CHECKING:
    from pathlib import Path

    from cellfree_sim.detection.serving.deployment import Uplink
    from cellfree_sim.engine import Engine
    from cellfree_sim.scenario.schema import Scenario


@dataclass(frozen=True)
class Beginning:
    """Where a run begins: anew, or at a `checkpoint`; `started` is of the clock that only grows."""

    scenario: Scenario
    network: Network
    engine: str
    folder: RunFolder
    address: str | None
    observer: Observer
    checkpoint: Checkpoint | None = None
    started: float = field(default_factory=time.perf_counter)


def begin_anew(
    scenario: Scenario, engine: str | None, out: Path | str | None, address: str | None, observer: Observer | None
) -> Beginning:
    """A new run in a folder of its own; for the arguments see `Simulation.launch`.

    Raises:
        UserError: scenario, engine or folder cannot be used.
    """
    kind = engine or scenario.engine
    if kind not in ("ray", "inline"):
        raise UserError(f"engine '{kind}' is unknown; allowed are ray and inline")
    if address is not None and kind == "inline":
        raise UserError("--address has no meaning with the inline engine, which uses no cluster")
    if scenario.sweep is not None:
        raise UserError(f"scenario {scenario.name} has a sweep: expand it with cellfree_sim.scenario.expand")
    network = build_network(scenario)
    check_channels(scenario)
    check_events(scenario, network)
    folder = RunFolder.create(out, scenario.name, datetime.now(UTC))
    watcher = observer or create_observer(title=f"{scenario.name} · {kind}")
    return Beginning(scenario, network, kind, folder, address, watcher)


def begin_again(folder: Path | str, address: str | None, observer: Observer | None) -> Beginning:
    """A run that was interrupted or killed, at its last checkpoint.

    Raises:
        UserError: there is no such run, it is done, or it has no checkpoint that is whole.
    """
    found = RunFolder.open(folder)
    driver = RunFile.read(found.path)
    if driver is not None and driver.alive():
        elsewhere = driver.host != socket.gethostname()
        hint = f"; if {driver.host} is gone, delete {found.path / RUN_FILE}" if elsewhere else ""
        raise UserError(f"{folder}: this run is still going, driven by process {driver.pid} on {driver.host}{hint}")
    if found.summary().get("status") == "done":
        raise UserError(f"{folder}: this run is done; nothing is left to resume")
    checkpoint = Checkpoints(found.checkpoints_path).latest()
    if checkpoint is None:
        raise UserError(f"{folder}: there is no checkpoint to resume from; start the scenario anew")
    imported: list[str] = []
    scenario = load_scenario(found.scenario_path, begun=True, announce=imported.append)
    kind = checkpoint.notes["engine"]
    watcher = observer or create_observer(title=f"{scenario.name} · {kind}")
    for text in (*imported, *(f"passed over: {damaged}" for damaged in checkpoint.skipped)):
        found.log(text)
        watcher.note(text)
    network = Network.from_json(checkpoint.notes["network"])
    return Beginning(scenario, network, kind, found, address, watcher, checkpoint)


def train_detectors(scenario: Scenario, folder: RunFolder, observer: Observer) -> Scenario:
    """The scenario, once every learned detector of its uplink has trained weights; those that are missing are trained.

    Raises:
        DetectorError: a detector cannot be trained for what its service sees.
    """
    if scenario.uplink is None:
        return scenario
    from cellfree_sim.detection.learned.on_demand import with_trained_detectors
    from cellfree_sim.detection.serving.deployment import service_problem

    def note(text: str) -> None:
        folder.log(text)
        observer.note(text)

    return with_trained_detectors(scenario, partial(service_problem, scenario), folder.path / "detectors", note)


def make_engine(
    scenario: Scenario, network: Network, kind: str, folder: RunFolder, address: str | None, observer: Observer
) -> Engine:
    """The engine called `kind`; on Ray it takes its place in a cluster."""
    if kind == "inline":
        from cellfree_sim.inline import InlineEngine

        if scenario.placement.metrics_port is not None:
            observer.note("placement.metrics_port is ignored: without Ray nothing tells Prometheus")
        return InlineEngine(scenario, network)
    from agents.engine import RayEngine

    def note(text: str) -> None:
        folder.log(text)
        observer.note(text)

    return RayEngine(scenario, network, address=address, run_name=folder.path.name, note=note)


def make_uplink(scenario: Scenario, network: Network, engine: Engine) -> Uplink | None:
    """The uplink beside that engine; None where the scenario has none."""
    if scenario.uplink is None:
        return None
    if engine.name == "inline":
        from cellfree_sim.detection.serving.deployment import InlineUplink

        return InlineUplink(scenario, network)
    from agents.engine import RayEngine
    from agents.uplink import RayUplink

    if not isinstance(engine, RayEngine):
        raise AssertionError(f"no uplink is known for engine {engine.name}")
    return RayUplink(scenario, network, engine)
