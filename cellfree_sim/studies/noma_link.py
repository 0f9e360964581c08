"""Points of studies of grant-free NOMA: codes and receivers of `scenario.link`, on the same frames.

Rates, of each frame errors and trials: `ber` (bits of active users, by the most probable message), `ber_missed` (the
same, a user taken for silent costing half of its bits), `ser` (answers of all users, silence being one), `bler`
(messages of active users), `bler_<bits>` (those of users with so many bits), `missed`, `false_alarms`, and
`ber_user_<n>` of each user.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import CodebookError, DetectorError, UserError
from cellfree_sim.studies.schemes import Counted, Row, Scheme, measure
from cellfree_sim.studies.training import trained_once

if TYPE_CHECKING:
    from cellfree_sim.scenario.link_noma import NomaLink
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.scenario.training import NomaTraining
    from cellfree_sim.uplink.problem import Batch


def evaluate(scenario: Scenario) -> list[Row]:
    """Rows of `Study.evaluate`: rates of each scheme of `scenario.link` at each SNR, as `schemes.measure` says.

    A scheme that cannot serve the problem, for lack of trained weights for example, has one row with a `note`. One that
    is trained here also has a row for each point of its training curve: iteration, loss, training_ser.

    Raises:
        UserError: the scenario has no link of NOMA, or none of its schemes can serve.
    """
    link = _link_of(scenario)
    with tempfile.TemporaryDirectory(prefix="cellfree-") as folder:
        ready, rows = _prepared(link, scenario, Path(folder))
        return rows + _measured(link, ready, rows, scenario)


def _link_of(scenario: Scenario) -> NomaLink:
    from cellfree_sim.scenario.link_noma import NomaLink

    if not isinstance(scenario.link, NomaLink):
        raise UserError("link: found none of the family noma; allowed: a problem, schemes and SNRs to measure")
    return scenario.link


def _measured(link: NomaLink, ready: dict[str, Scheme], notes: list[Row], scenario: Scenario) -> list[Row]:
    if not ready:
        raise UserError(f"link.schemes: none can serve: {'; '.join(row['note'] for row in notes)}")
    rows: list[Row] = []
    for snr_db in link.snr_db:
        rows += measure(
            ready,
            snr_db,
            seed=scenario.seed,
            frames_max=link.frames_max,
            target_errors=link.target_errors,
            batch=link.batch,
            count=count,
            primary=link.rate,
        )
    return rows


def evaluate_codes(scenario: Scenario) -> list[Row]:
    """Rows of `evaluate`, and of each scheme's code.

    One row with `cross_correlation` (weighted by the activity), one for each pair of users `user`, `other` with their
    `correlation` |c_i^H c_j| / (|c_i| |c_j|) of signatures (of first codewords where it has none), and one for each
    `user`, `message` and `resource` with the parts `real` and `imag` of the codeword.

    Raises:
        UserError: see `evaluate`.
    """
    link = _link_of(scenario)
    with tempfile.TemporaryDirectory(prefix="cellfree-") as folder:
        ready, rows = _prepared(link, scenario, Path(folder))
        return rows + _measured(link, ready, rows, scenario) + [row for each in ready.items() for row in _code(*each)]


def _code(label: str, scheme: Scheme) -> list[Row]:
    import numpy as np

    from cellfree_sim.uplink.noma import NomaProblem

    problem = scheme.problem
    assert isinstance(problem, NomaProblem)
    book = problem.book
    spread = book.spreading()
    signatures = book.codewords[:, 0] if spread is None else spread[0]
    unit = signatures / np.linalg.norm(signatures, axis=1, keepdims=True)
    aligned = np.abs(unit.conj() @ unit.T)
    rows: list[Row] = []
    if spread is not None and problem.activity is not None:
        rows.append({"algorithm": label, "cross_correlation": book.cross_correlation(problem.activity)})
    users = range(book.users)
    rows += [
        {"algorithm": label, "user": i, "other": j, "correlation": float(aligned[i, j])} for i in users for j in users
    ]
    words = [(user, message) for user in users for message in range(book.counts[user])]
    for user, message in words:
        for resource, value in enumerate(book.codewords[user, message].tolist()):
            at = {"user": user, "message": message, "resource": resource}
            rows.append({"algorithm": label, **at, "real": value.real, "imag": value.imag})
    return rows


def count(scheme: Scheme, frames: Batch, detection: Any) -> Counted:
    """Errors and trials of each frame: see the module."""
    from cellfree_sim.uplink.noma import NomaProblem
    from cellfree_sim.uplink.noma_metrics import marked

    problem = scheme.problem
    assert isinstance(problem, NomaProblem)
    marks = marked(problem, frames, detection.logits)
    totals = {name: (errors.sum(1).double(), trials.sum(1).double()) for name, (errors, trials) in marks.items()}
    errors, trials = marks["ber"]
    for user in range(problem.users):
        totals[f"ber_user_{user}"] = (errors[:, user].double(), trials[:, user].double())
    return totals


def _prepared(link: NomaLink, scenario: Scenario, folder: Path) -> tuple[dict[str, Scheme], list[Row]]:
    from cellfree_sim.detection import Detector
    from cellfree_sim.uplink import NomaProblem

    ready: dict[str, Scheme] = {}
    notes: list[Row] = []
    made: dict[str, tuple[Any, Any, list[Row]]] = {}
    for each in link.schemes:
        codebook, options = each.codebook, each.detector
        try:
            if each.training is not None:
                key = each.training.model_dump_json()
                if key not in made:
                    made[key] = _trained(each.training, scenario, folder, len(made))
                codebook, receiver, curve = made[key]
                options = each.detector if each.code_alone else receiver
                notes += [{"algorithm": each.label, **row} for row in curve]
            problem = NomaProblem(**link.problem.options(), codebook=codebook)
            detector = Detector(options, problem)
        except (CodebookError, DetectorError) as error:
            notes.append({"algorithm": each.label, "note": str(error)})
            continue
        told = partial(_told, detector) if getattr(options, "told", False) else None
        learned = each.training is not None or any(getattr(part, "learned", False) for part in (options, codebook))
        ready[each.label] = Scheme(problem, detector, learned, _misfit(detector), told)
    return ready, notes


def _trained(training: NomaTraining, scenario: Scenario, folder: Path, number: int) -> tuple[Any, Any, list[Row]]:
    """The codebook and the receiver that a training section makes, and the rows of its curve."""
    from cellfree_sim.scenario.extensions import CODEBOOKS

    trained, path = trained_once(training, scenario, folder / f"{number}.detector")
    codebook = training.codebook
    if getattr(codebook, "learned", False):
        codebook = CODEBOOKS.create("trained", file=str(path)).design(0, 0, (), None)
    receiver = training.detector.model_copy(update={"checkpoint": str(path)})
    curve = [
        {"iteration": iteration, "loss": loss, "training_ser": ser}
        for iteration, loss, ser in zip(*(trained.curve[key] for key in ("iteration", "loss", "ser")), strict=True)
    ]
    return codebook, receiver, curve


def _misfit(detector: Any) -> str:
    """In what the weights of a learned receiver were not made for its problem, or nothing."""
    if not getattr(detector.options, "learned", False):
        return ""
    from cellfree_sim.detection.learned.trained import chosen

    return chosen(detector.options, detector.problem).misfit(detector.problem) or ""


def _told(detector: Any, frames: Batch) -> Any:
    assert frames.h_known is not None
    return detector(frames.y, frames.h_known * frames.active.unsqueeze(-1), frames.noise_variance)
