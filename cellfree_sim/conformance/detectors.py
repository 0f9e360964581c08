"""Detectors of all families: what they answer, on what it depends, and how many errors they make."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor

from cellfree_sim.conformance import learning, problems
from cellfree_sim.conformance.checks import NotApplicableError, Run, Subject, expect, needs
from cellfree_sim.detection import create_detector
from cellfree_sim.detection.detector import Detection, Detector
from cellfree_sim.errors import DetectorError
from cellfree_sim.uplink.problem import Batch


def detector(subject: Subject, problem: Any) -> Detector:
    """The detector for a problem; a learned one with the weights of a short training (`learning`)."""
    if not getattr(subject.options, "learned", False):
        try:
            return Detector(subject.options, problem)
        except DetectorError as error:
            raise NotApplicableError(f"it refuses the problem: {error}") from None
    return learning.trained_detector(subject, problem)


def problem_of(subject: Subject) -> Any:
    """The problem that most checks are made on; for a learned detector, what it was trained for."""
    if getattr(subject.options, "learned", False):
        return learning.problem_of(subject)
    return problems.small(subject.family)


def _detected(made: Detector, batch: Batch) -> Detection:
    return made(batch.y, batch.h_known, batch.noise_variance)


def _small(subject: Subject) -> tuple[Detector, Any, Batch]:
    """The detector, its problem and nine slots."""
    if "small" not in subject.cache:
        problem = problem_of(subject)
        subject.cache["small"] = detector(subject, problem), problem, problems.slots(problem, 9)
    made: tuple[Detector, Any, Batch] = subject.cache["small"]
    return made


def _shapes(subject: Subject) -> str | None:
    made, problem, batch = _small(subject)
    found = _detected(made, batch)
    size = (9, *problem.answers(batch.y, batch.h_known))
    fits = found.logits.shape == size and found.logits.dtype == torch.float32
    expect(fits, f"logits: found {found.logits.dtype} {[*found.logits.shape]}; expected float32 {[*size]}")
    total = found.logits.exp().sum(-1)
    worst = float((total - 1).abs().max())
    expect(worst < 1e-4, f"probabilities of a user add up to 1 +- {worst:.2g}; use Detection.of or Detection.hard")
    empty = made(batch.y[:0], None if batch.h_known is None else batch.h_known[:0], batch.noise_variance[:0])
    expect(empty.logits.shape == (0, *size[1:]), f"no slots: found {[*empty.logits.shape]}")
    return None


def _extremes(subject: Subject) -> str | None:
    """From no signal to no noise, with a user whose channel is zero, and with two that have the same channel."""
    made, problem, _ = _small(subject)
    silent, refused = getattr(problem, "log_prior", torch.zeros(1)).isneginf(), ""
    for snr_db in (-20.0, 60.0):
        batch = problems.slots(problem, 10, snr_db)
        h = None if batch.h_known is None else batch.h_known.clone()
        if h is not None and subject.family == "mimo":
            h[:5, :, 1] = h[:5, :, 0]
            h[2:7, :, 2] = 0
        elif h is not None and subject.family == "noma":
            h[:5, 1] = h[:5, 0]
            h[2:7, 2] = 0
        try:
            found = made(batch.y, h, batch.noise_variance).logits
        except DetectorError as error:
            refused = str(error)
            continue
        bad = ~(found.isfinite() | (silent.expand_as(found) if subject.family == "noma" else False))
        expect(not bad.any(), f"at {snr_db:g} dB: found log-probabilities that are not finite")
    return f"refused: {refused}" if refused else None


def _apart(subject: Subject) -> str | None:
    made, _, batch = _small(subject)
    whole = _detected(made, batch).logits
    alone = [
        made(batch.y[[i]], None if batch.h_known is None else batch.h_known[[i]], batch.noise_variance[[i]]).logits
        for i in range(len(batch.y))
    ]
    close = torch.isclose(whole.exp(), torch.cat(alone).exp(), rtol=1e-3, atol=2e-3)
    expect(close.all(), f"{int((~close).sum())} of {close.numel()} probabilities depend on the other slots of a batch")
    return None


def _users_apart(subject: Subject) -> str | None:
    """MIMO alone: users of the other families have codebooks and pilots, by which they differ."""
    needs(subject.family == "mimo", "users have codebooks of their own")
    needs("n_tx" not in getattr(subject.options, "sizes", ()), "its weights are for users in an order (sizes)")
    made, problem, _ = _small(subject)
    batch = problems.slots(problem, 50)
    order = torch.randperm(problem.n_tx, generator=torch.Generator().manual_seed(3))
    plain = made(batch.y, batch.h, batch.noise_variance)
    moved = made(batch.y, batch.h[:, :, order].contiguous(), batch.noise_variance)
    close = torch.isclose(moved.logits.exp(), plain.logits[:, order].exp(), rtol=1e-2, atol=1e-2)
    expect(close.double().mean() > 0.98, f"{100 * (~close).double().mean():.0f} % of probabilities depend on the order")
    return None


def _repeats(subject: Subject) -> str | None:
    made, _, batch = _small(subject)
    kept = [each.clone() for each in (batch.y, batch.h, batch.noise_variance)]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = _detected(made, batch).logits
    expect(torch.equal(torch.get_rng_state(), before), "moves torch's own generator")
    torch.manual_seed(2)
    expect(torch.equal(first, _detected(made, batch).logits), "the same slots gave two answers")
    for name, old, new in zip(
        ("y", "h", "noise_variance"), kept, (batch.y, batch.h, batch.noise_variance), strict=True
    ):
        expect(torch.equal(old, new), f"changes {name}, which it is given")
    return None


def _device(subject: Subject) -> str | None:
    """On the GPU, where there is one; the processor's answer is what is expected."""
    made, _, batch = _small(subject)
    wanted = _detected(made, batch)
    expect(wanted.logits.device == batch.y.device, f"logits: found on {wanted.logits.device}; y is on {batch.y.device}")
    if not torch.cuda.is_available():
        return "on the CPU; no GPU here"
    there = batch.to("cuda")
    found = _detected(made, there)
    expect(found.logits.device == there.y.device, f"logits: found on {found.logits.device}; y is on {there.y.device}")
    same = (found.messages.cpu() == wanted.messages).double().mean()
    expect(same > 0.95, f"{100 * (1 - same):.0f} % of decisions on the GPU are others than on the CPU")
    return "on the GPU, too"


def _overload(subject: Subject) -> str | None:
    needs(subject.family == "mimo", "a question of MIMO alone")
    needs(not getattr(subject.options, "sizes", ()), "its weights are for one number of users (sizes)")
    made, problem, _ = _small(subject)
    crowd = problem.changed(n_rx=4, n_tx=8)
    batch = problems.slots(crowd, 5, 10.0)
    if subject.options.overloaded:
        expect(_detected(made, batch).logits.isfinite().all(), "more users than antennas: found what is not finite")
        return None
    try:
        _detected(made, batch)
    except DetectorError:
        return "refused, as overloaded = False says"
    raise AssertionError("serves more users than antennas, although overloaded = False")


def _beside_baseline(subject: Subject) -> str | None:
    needs(not getattr(subject.options, "told", False), "it is told who is active")
    made, problem, _ = _small(subject)
    batch = problems.slots(problem, _count(subject), seed=5)
    own = problems.errors(_detected(made, batch), problem, batch)
    name, other = _simplest(subject, problem, batch)
    users = batch.messages.shape[1]
    remark = f"error rate {float(own.mean()) / users:.3g}, {name} {float(other.mean()) / users:.3g}"
    gap = own - other
    expect(float(gap.mean()) <= 4 * _error(gap), remark + "; expected no more")
    return remark


def _simplest(subject: Subject, problem: Any, batch: Batch) -> tuple[str, Tensor]:
    """What must not be better, and its errors: a simple detector; beside a short training, one answer always."""
    if getattr(subject.options, "learned", False):
        sent = problems.answers(problem, batch)
        return "one answer for all", (sent != sent.mode(dim=0).values).sum(-1).double()
    name = problems.BASELINE[subject.family]
    return name, problems.errors(_detected(create_detector(name, problem), batch), problem, batch)


def _not_too_good(subject: Subject) -> str | None:
    """Against the decisions of the largest posterior, which have the fewest errors that there can be."""
    learned = getattr(subject.options, "learned", False)
    problem = problem_of(subject) if learned else problems.tiny(subject.family)
    needs(not getattr(subject.options, "told", False), "it is told who is active")
    made = _small(subject)[0] if learned else detector(subject, problem)
    batch = problems.slots(problem, _count(subject), seed=6)
    own = problems.errors(_detected(made, batch), problem, batch)
    least = problems.errors(problems.best(problem, batch), problem, batch)
    users = batch.messages.shape[1]
    remark = f"error rate {float(own.mean()) / users:.3g}, by enumeration {float(least.mean()) / users:.3g}"
    gap = own - least
    expect(float(gap.mean()) >= -4 * _error(gap), remark + "; nothing can be better: does it see what was sent?")
    return remark


def _count(subject: Subject) -> int:
    """Slots in which errors are counted; a frame of massive access holds more than a slot, and takes longer."""
    return (100 if subject.family == "mmtc" else 400) * (1 if subject.quick else 10)


def _error(gap: Tensor) -> float:
    """Standard error of a mean over slots, at least that of one event."""
    return max(float(gap.std()) / math.sqrt(len(gap)), 1 / len(gap))


def _speed(subject: Subject) -> str | None:
    made, problem, _ = _small(subject)
    batch = problems.slots(problem, 60 if subject.quick else 300)
    name = problems.YARDSTICK[subject.family]
    if subject.family == "noma" and problem.book.spreading() is None:
        name = "ml"
    other = create_detector(name, problem)
    times = []
    for each in (made, other):
        _detected(each, batch)
        began = time.process_time()
        for _ in range(3):
            _detected(each, batch)
        times.append(max((time.process_time() - began) / 3 / len(batch.y), 1e-9))
    return f"{1e6 * times[0]:.3g} CPU-us a slot, {times[0] / times[1]:.2g} times {other.name}"


CHECKS: dict[str, Run] = {
    "answers are log-probabilities of each user": _shapes,
    "extreme SNR and degenerate channels have finite answers": _extremes,
    "slots do not influence each other": _apart,
    "the order of users does not matter": _users_apart,
    "it repeats itself and changes nothing": _repeats,
    "it works where its input is": _device,
    "more users than antennas": _overload,
    "no more errors than the simplest detector": _beside_baseline,
    "no fewer errors than the best there can be": _not_too_good,
    "time": _speed,
}
