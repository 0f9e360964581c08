"""Points of studies of grant-free NOMA: codes and receivers of `scenario.link`, on the same frames.

Rates, of each frame errors and trials: `ber` (bits of active users, by the most probable message), `ber_missed` (the
same, a user taken for silent costing half of its bits), `ser` (answers of all users, silence being one), `bler`
(messages of active users), `bler_<bits>` (those of users with so many bits), `missed`, `false_alarms`, and
`ber_user_<n>` of each user.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import CodebookError, DetectorError, UserError
from cellfree_sim.studies.schemes import Counted, Row, Scheme, measure

if TYPE_CHECKING:
    from cellfree_sim.scenario.link_noma import NomaLink
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.uplink.problem import Batch


def evaluate(scenario: Scenario) -> list[Row]:
    """Rows of `Study.evaluate`: rates of each scheme of `scenario.link` at each SNR, as `schemes.measure` says.

    A scheme that cannot serve the problem, for lack of trained weights for example, has one row with a `note`.

    Raises:
        UserError: the scenario has no link of NOMA, or none of its schemes can serve.
    """
    from cellfree_sim.scenario.link_noma import NomaLink

    link = scenario.link
    if not isinstance(link, NomaLink):
        raise UserError("link: found none of the family noma; allowed: a problem, schemes and SNRs to measure")
    ready, rows = _prepared(link)
    if not ready:
        raise UserError(f"link.schemes: none can serve: {'; '.join(row['note'] for row in rows)}")
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


def count(scheme: Scheme, frames: Batch, detection: Any) -> Counted:
    """Errors and trials of each frame: see the module."""
    import torch

    from cellfree_sim.uplink.noma import NomaProblem

    problem = scheme.problem
    assert isinstance(problem, NomaProblem)
    bits = problem.bits
    distance = (bits.unsqueeze(1) != bits.unsqueeze(0)).sum(dim=-1)
    rates = torch.tensor(problem.rates)
    sent, active, answer = frames.messages, frames.active, detection.logits.argmax(dim=-1)
    silent = answer == len(bits)
    wrong = torch.where(silent, active, ~active | (answer != sent))
    own = active * rates
    best = detection.logits[..., : len(bits)].argmax(dim=-1)
    wrong_bits = distance[best, sent.clamp_min(0)] * active
    counted: dict[str, tuple[Any, Any]] = {
        "ber": (wrong_bits, own),
        "ber_missed": (torch.where(silent & active, own / 2, wrong_bits), own),
        "ser": (wrong, torch.ones_like(active)),
        "bler": (wrong & active, active),
        "missed": (silent & active, active),
        "false_alarms": (~silent & ~active, ~active),
    }
    for rate in sorted(set(problem.rates)):
        theirs = active & (rates == rate)
        counted[f"bler_{rate}"] = (wrong & theirs, theirs)
    totals = {name: (errors.sum(1).double(), trials.sum(1).double()) for name, (errors, trials) in counted.items()}
    for user in range(problem.users):
        totals[f"ber_user_{user}"] = (wrong_bits[:, user].double(), own[:, user].double())
    return totals


def _prepared(link: NomaLink) -> tuple[dict[str, Scheme], list[Row]]:
    from cellfree_sim.detection import Detector
    from cellfree_sim.uplink import NomaProblem

    ready: dict[str, Scheme] = {}
    notes: list[Row] = []
    for each in link.schemes:
        try:
            problem = NomaProblem(**link.problem.options(), codebook=each.codebook)
            detector = Detector(each.detector, problem)
        except (CodebookError, DetectorError) as error:
            notes.append({"algorithm": each.label, "note": str(error)})
            continue
        told = partial(_told, detector) if getattr(each.detector, "told", False) else None
        learned = any(getattr(part, "learned", False) for part in (each.detector, each.codebook))
        ready[each.label] = Scheme(problem, detector, learned, _misfit(detector), told)
    return ready, notes


def _misfit(detector: Any) -> str:
    """In what the weights of a learned receiver were not made for its problem, or nothing."""
    if not getattr(detector.options, "learned", False):
        return ""
    from cellfree_sim.detection.learned.trained import chosen

    return chosen(detector.options, detector.problem).misfit(detector.problem) or ""


def _told(detector: Any, frames: Batch) -> Any:
    assert frames.h_known is not None
    return detector(frames.y, frames.h_known * frames.active.unsqueeze(-1), frames.noise_variance)
