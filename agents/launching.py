"""What a run is made of: its trained detectors, its engine and its uplink, of whichever kind."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellfree_sim.detection.serving.deployment import Uplink
    from cellfree_sim.engine import Engine
    from cellfree_sim.network import Network
    from cellfree_sim.results.observer import Observer
    from cellfree_sim.results.run_folder import RunFolder
    from cellfree_sim.scenario.schema import Scenario


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
