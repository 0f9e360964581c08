"""Points of studies of massive machine-type communication: detectors of `scenario.link`, on the same frames.

Rates, of each frame errors and trials: `ser` (states of all devices), `missed` (active devices that were not found),
`false_alarms` (silent ones that were), `data` (found, with the wrong message, of all active ones), and `activity` (what
a detector that finds nobody has for its `ser`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import DetectorError, UserError
from cellfree_sim.studies.schemes import Counted, Row, Scheme, measure

if TYPE_CHECKING:
    from cellfree_sim.scenario.link_mmtc import MmtcLink
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.uplink.problem import Batch


def evaluate(scenario: Scenario) -> list[Row]:
    """Rows of `Study.evaluate`: rates of each detector of `scenario.link`, as `schemes.measure` says.

    A detector that cannot serve the problem, for lack of trained weights for example, has one row with a `note`.

    Raises:
        UserError: the scenario has no link of mMTC, or none of its detectors can serve.
    """
    link = link_of(scenario)
    ready, rows = _prepared(link, scenario.seed)
    if not ready:
        raise UserError(f"link.detectors: none can serve: {'; '.join(row['note'] for row in rows)}")
    return rows + measure(
        ready,
        None,
        seed=scenario.seed,
        frames_max=link.frames_max,
        target_errors=link.target_errors,
        batch=link.batch,
        count=count,
        primary="ser",
    )


def link_of(scenario: Scenario) -> MmtcLink:
    """The section `link` of a scenario."""
    from cellfree_sim.scenario.link_mmtc import MmtcLink

    if not isinstance(scenario.link, MmtcLink):
        raise UserError("link: found none of the family mmtc; allowed: a problem and detectors to measure")
    return scenario.link


def count(scheme: Scheme, frames: Batch, detection: Any) -> Counted:
    """Errors and trials of each frame: see the module."""
    import torch

    sent, decided = frames.messages, detection.messages
    active, found = sent > 0, decided > 0
    everything = torch.ones_like(active)
    counted = {
        "ser": (decided != sent, everything),
        "missed": (active & ~found, active),
        "false_alarms": (~active & found, ~active),
        "data": (active & found & (decided != sent), active),
        "activity": (active, everything),
    }
    return {name: (errors.sum(1).double(), trials.sum(1).double()) for name, (errors, trials) in counted.items()}


def _prepared(link: MmtcLink, seed: int) -> tuple[dict[str, Scheme], list[Row]]:
    from cellfree_sim.detection import Detector
    from cellfree_sim.detection.mmtc.bounds import Genie
    from cellfree_sim.uplink import MmtcProblem

    problem = MmtcProblem(**link.problem.options(seed))
    ready: dict[str, Scheme] = {}
    notes: list[Row] = []
    for label, options in link.labelled().items():
        try:
            detector = Detector(options, problem)
        except DetectorError as error:
            notes.append({"algorithm": label, "note": str(error)})
            continue
        ready[label] = Scheme(problem, detector, bool(getattr(options, "learned", False)), _misfit(detector))
    if link.genie:
        bound = Genie(problem)
        ready[bound.name] = Scheme(problem, bound, told=partial(_told, bound))
    return ready, notes


def _misfit(detector: Any) -> str:
    """In what the weights of a learned detector were not made for its problem, or nothing."""
    if not getattr(detector.options, "learned", False):
        return ""
    from cellfree_sim.detection.learned.trained import chosen

    return chosen(detector.options, detector.problem).misfit(detector.problem) or ""


def _told(bound: Any, frames: Batch) -> Any:
    return bound(frames.y, frames.h, frames.noise_variance, messages=frames.messages)
