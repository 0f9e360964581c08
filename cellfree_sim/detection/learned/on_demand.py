"""Training inside a run: learned detectors of its services for which no trained file fits."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.detection.learned.curricula import curriculum_class, curriculum_of
from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario import dump_scenario

if TYPE_CHECKING:
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.scenario.training import DetectorTraining
    from cellfree_sim.uplink.problem import Problem

Problems = Callable[[str], "Problem"]
"""What each service is made for, by its name."""

NOTE_EVERY_S = 10.0


def with_trained_detectors(
    scenario: Scenario, problems: Problems, folder: Path, note: Callable[[str], None]
) -> Scenario:
    """The scenario with a checkpoint for each learned detector that has none and that no shipped file fits.

    What is missing is trained as `uplink.training` says, where that makes a network that the service can load; else
    with the defaults of the family of its problem (`Curriculum.default`). It goes to `folder`, and serves all services
    that ask for the same.

    Raises:
        DetectorError: the detector cannot be trained for what the service sees; nothing was trained for it.
    """
    uplink = scenario.uplink
    if uplink is None:
        return scenario
    made: dict[str, Path] = {}

    def ready(detector: Any, service: str) -> Any:
        if not getattr(detector, "learned", False) or detector.checkpoint is not None:
            return detector
        problem = problems(service)
        _check_users(scenario, detector, service, problem)
        if _fits(detector, problem):
            return detector
        training = _training(scenario, detector, problem)
        key = training.model_dump_json()
        if key not in made:
            path = folder / f"{detector.label}-{len(made)}.detector"
            note(f"{service}: no trained {detector.name} fits: it is trained for {training.iterations} iterations")
            made[key] = _train(scenario, training, service, path, note)
        return detector.model_copy(update={"checkpoint": str(made[key])})

    services = [
        each.model_copy(update={"detector": ready(each.detector, name)})
        for name, each in zip(uplink.service_names, uplink.services, strict=True)
    ]
    events = []
    for event in uplink.events:
        swap = event.swap_detector
        if swap is not None:
            swap = swap.model_copy(update={"detector": ready(swap.detector, swap.service)})
        events.append(event.model_copy(update={"swap_detector": swap}))
    if not made:
        return scenario
    return scenario.model_copy(update={"uplink": uplink.model_copy(update={"services": services, "events": events})})


def _check_users(scenario: Scenario, detector: Any, service: str, problem: Problem) -> None:
    """DetectorError where the network is for one number of users, and the service will see others."""
    from cellfree_sim.uplink.mimo import MimoProblem

    uplink = scenario.uplink
    assert uplink is not None
    if "n_tx" not in detector.sizes or not isinstance(problem, MimoProblem):
        return
    activity, count = uplink.activity, scenario.network.users.count
    chosen = uplink.services[uplink.service_names.index(service)]
    found = None
    if activity.trace is not None:
        found = f"uplink.activity.trace: found {activity.trace.name}; allowed: none"
    elif activity.by_user is not None:
        found = "uplink.activity.by_user: found probabilities; allowed: none"
    elif activity.probability < 1:
        found = f"uplink.activity.probability: found {activity.probability:g}; allowed: 1"
    elif chosen.cluster is not None:
        found = f"uplink.services: cluster: found {chosen.cluster}; allowed: none"
    elif count > problem.n_rx:
        found = f"network.users.count: found {count}; allowed: at most {problem.n_rx}, the antennas of the service"
    if found is not None:
        raise DetectorError(
            f"service '{service}': detector '{detector.name}' is for one number of users, and it would see others: "
            f"{found}, or another detector"
        )


def _training(scenario: Scenario, detector: Any, problem: Problem) -> DetectorTraining:
    uplink = scenario.uplink
    assert uplink is not None
    if uplink.training is not None and curriculum_of(uplink.training).makes(detector, problem):
        return uplink.training
    return curriculum_class(problem.family).default(detector, problem, scenario.network.users.count)


def _fits(detector: Any, problem: Problem) -> bool:
    from cellfree_sim.detection.learned.trained import chosen

    try:
        chosen(detector, problem)
    except DetectorError:
        return False
    return True


def _train(
    scenario: Scenario, training: DetectorTraining, service: str, path: Path, note: Callable[[str], None]
) -> Path:
    from cellfree_sim.detection.learned.trained import save_trained
    from cellfree_sim.detection.learned.trainer import DetectorTrainer
    from cellfree_sim.threads import one_torch_thread

    said = time.monotonic()

    def report(iteration: int, loss: float, ser: float) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= NOTE_EVERY_S or iteration == training.iterations:
            said = now
            of = f"{iteration} of {training.iterations} iterations"
            note(f"{service}: {training.detector.name} is trained, {of}: loss {loss:.4g}, SER {ser:.4g}")

    with one_torch_thread():
        trainer = DetectorTrainer(training, seed=scenario.seed)
        trainer.run(report=report)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_trained(trainer.trained(name=f"{scenario.name}-{service}", scenario=dump_scenario(scenario)), path)
    return path.resolve()
