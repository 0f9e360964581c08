"""Training while a run goes on: a service of grant-free NOMA learns of the users' activity as it is now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.detection.learned.curricula import curriculum_class, curriculum_of
from cellfree_sim.detection.serving.changes import Change
from cellfree_sim.detection.serving.deployment import service_problem
from cellfree_sim.errors import DetectorError
from cellfree_sim.results.files import write_atomically
from cellfree_sim.scenario.extensions import CODEBOOKS
from cellfree_sim.seeds import integer
from cellfree_sim.uplink.noma import LEAST_ACTIVITY
from cellfree_sim.uplink.population import activity_prior, section

if TYPE_CHECKING:
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.scenario.training import DetectorTraining
    from cellfree_sim.scenario.uplink import UplinkEvent

Train = Callable[["DetectorTraining", int, str], Callable[[], bytes]]
"""Begins to train, with a seed and a name; returns what waits for the file. See `Uplink.train`."""


def begun(scenario: Scenario, event: UplinkEvent, train: Train, folder: Path) -> Callable[[], Change]:
    """Begin what an event `retrain` asks for; returns what waits for its end, with the trained file in `folder`.

    A receiver with nothing to learn is told of the activity, and that is all.

    Raises:
        DetectorError: the receiver cannot be trained for what its service sees.
    """
    uplink, name = section(scenario), str(event.service)
    detector = _in_use(scenario, name, event.at_burst)
    activity = tuple(max(float(p), LEAST_ACTIVITY) for p in activity_prior(scenario, event.at_burst))
    ready_at = event.at_burst + event.ready_after
    if not getattr(detector, "learned", False):
        return lambda: Change(ready_at, name, detector, activity)
    problem: Any = service_problem(scenario, name)
    given: Any = uplink.training
    if given is not None and given.detector.name == detector.name:
        training = type(given).model_validate(given.model_dump(mode="json") | {"activity": list(activity)})
    else:
        blank = detector.model_copy(update={"checkpoint": None})
        training = curriculum_class(problem.family).default(blank, problem.changed(activity=activity), problem.users)
    _check(training, problem.changed(codebook=problem.book, activity=activity), name)
    trained = train(
        training, integer(scenario.seed, "uplink", "retrain", name, event.at_burst), f"{name}-{event.at_burst}"
    )

    def ended() -> Change:
        path = folder.resolve() / f"{name}-{event.at_burst}.detector"
        data = trained()
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
        learned = getattr(training.codebook, "learned", False)
        codebook = CODEBOOKS.create("trained", file=str(path)) if learned else None
        return Change(ready_at, name, detector.model_copy(update={"checkpoint": str(path)}), activity, codebook)

    return ended


def _check(training: DetectorTraining, problem: Any, service: str) -> None:
    """DetectorError where what is trained could not serve what the service sees."""
    codebook: Any = getattr(training, "codebook", None)
    wrong = curriculum_of(training).unusable(problem)
    if wrong is None or (wrong[0] == "codebook" and getattr(codebook, "learned", False)):
        return
    key, seen, trained = wrong
    if key == "codebook":
        found = f"found '{codebook.name}', which is another one for other activity than users were assigned it for"
        raise DetectorError(f"service '{service}': codebook: {found}; allowed: one that does not depend on it")
    raise DetectorError(f"service '{service}': uplink.training: found {key} {trained}; allowed: {seen}")


def _in_use(scenario: Scenario, service: str, burst: int) -> Any:
    """The detector of a service before a burst, as scenario and swaps have it."""
    uplink = section(scenario)
    swaps = [
        event
        for event in uplink.events
        if event.swap_detector is not None and event.service == service and event.at_burst <= burst
    ]
    last = max(swaps, key=lambda event: event.at_burst, default=None)
    if last is not None and last.swap_detector is not None:
        return last.swap_detector.detector
    return uplink.services[uplink.service_names.index(service)].detector
