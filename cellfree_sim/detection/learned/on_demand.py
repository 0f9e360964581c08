"""Training inside a run: learned detectors of its services for which no trained file fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario import dump_scenario
from cellfree_sim.scenario.training import DetectorTraining

if TYPE_CHECKING:
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.uplink.mimo import MimoProblem

Problems = Callable[[str], "MimoProblem"]
"""What each service is made for, by its name."""


def with_trained_detectors(
    scenario: Scenario, problems: Problems, folder: Path, note: Callable[[str], None]
) -> Scenario:
    """The scenario with a checkpoint for each learned detector that has none and that no shipped file fits.

    What is missing is trained as `uplink.training` says, where that is of the same detector, constellation and number
    of antennas; else, with its defaults, on independent Rayleigh channels of the antennas that the service sees and all
    numbers of users that may be active. It goes to `folder`, and serves all services that ask for the same.

    Raises:
        DetectorError: the detector cannot be trained for what the service sees.
    """
    if scenario.uplink is None:
        return scenario
    made: dict[str, Path] = {}

    def ready(detector: Any, service: str) -> Any:
        if not getattr(detector, "learned", False) or detector.checkpoint is not None:
            return detector
        problem = problems(service)
        training = _training(scenario, detector, problem)
        key = training.model_dump_json()
        if key not in made and not _fits(detector, problem):
            path = folder / f"{detector.name}-{len(made)}.detector"
            note(f"{service}: no trained {detector.name} fits: it is trained for {training.iterations} iterations")
            made[key] = _train(scenario, training, service, path)
        return detector.model_copy(update={"checkpoint": str(made[key])}) if key in made else detector

    uplink = scenario.uplink
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


def _training(scenario: Scenario, detector: Any, problem: MimoProblem) -> DetectorTraining:
    uplink = scenario.uplink
    assert uplink is not None
    given = uplink.training
    same = given is not None and (given.detector.name, given.constellation) == (detector.name, problem.modulation)
    if given is not None and same and given.n_rx == problem.n_rx:
        return given
    most = min(scenario.network.users.count, problem.n_rx)
    counts = [problem.n_tx] if "n_tx" in detector.sizes else list(range(1, most + 1))
    return DetectorTraining(detector=detector, n_rx=problem.n_rx, n_tx=counts, constellation=problem.modulation)


def _fits(detector: Any, problem: MimoProblem) -> bool:
    from cellfree_sim.detection.learned.trained import chosen

    try:
        chosen(detector, problem)
    except DetectorError:
        return False
    return True


def _train(scenario: Scenario, training: DetectorTraining, service: str, path: Path) -> Path:
    from cellfree_sim.detection.learned.trained import save_trained
    from cellfree_sim.detection.learned.trainer import DetectorTrainer
    from cellfree_sim.threads import one_torch_thread

    with one_torch_thread():
        trainer = DetectorTrainer(training, seed=scenario.seed)
        trainer.run()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_trained(trainer.trained(name=f"{scenario.name}-{service}", scenario=dump_scenario(scenario)), path)
    return path.resolve()
