"""Errors of NOMA by Monte Carlo: bits, messages and activity, with intervals that count only what is independent."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.errors import UserError
from cellfree_sim.seeds import integer
from cellfree_sim.uplink.checks import whole
from cellfree_sim.uplink.mmtc_metrics import FrameRate

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from cellfree_sim.uplink.noma import NomaProblem
    from cellfree_sim.uplink.problem import Batch

BATCH = 4000
MAX_FRAMES = 10**12


@dataclass(frozen=True)
class Fairness:
    """Jain's index of the users' bit error rates, (sum b)^2 / (N sum b^2): 1 where all are the same, 1 / N at worst.

    Attributes:
        value: of the index; NaN where no bit was wrong.
        standard_error: to first order, from the covariance of the users' rates over frames.
    """

    value: float
    standard_error: float


@dataclass(frozen=True)
class NomaRates:
    """What a receiver got wrong at one SNR. A frame is one codeword of each active user; frames are independent.

    Attributes:
        snr_db: SNR.
        frames: frames sent.
        ser: wrong answers of all users, silence being one of the answers.
        ber: wrong bits of active users, when the most probable message is taken even where silence is more probable.
        ber_missed: the same, but half of the bits of an active user that was taken for silent count as wrong.
        bler: wrong messages of active users (taken for silent included).
        bler_by_rate: the same of users of each rate, by bits.
        missed: active users taken for silent.
        false_alarms: silent users taken for active, of the silent ones.
        ber_by_user: `ber` of each user, over its own bits while active.
        fairness: of `ber_by_user`.
    """

    snr_db: float
    frames: int
    ser: FrameRate
    ber: FrameRate
    ber_missed: FrameRate
    bler: FrameRate
    bler_by_rate: dict[int, FrameRate]
    missed: FrameRate
    false_alarms: FrameRate
    ber_by_user: tuple[FrameRate, ...]
    fairness: Fairness


def noma_error_rates(
    problem: NomaProblem,
    detector: Callable[..., Any],
    snr_db: float,
    *,
    frames_max: int = 100_000,
    target_errors: int | None = 500,
    seed: int = 1,
    device: torch.device | str = "cpu",
    batch: int = BATCH,
) -> NomaRates:
    """Send frames until `target_errors` answers were wrong, or `frames_max` frames were sent.

    The frames follow from the problem, `seed`, `batch` and the SNR, not from the receiver: receivers are compared on
    the same frames. Errors are looked at after each batch.

    Args:
        problem: what is sent.
        detector: what is measured: function of (y, h as the receiver knows it, noise_variance) whose answer has
            `logits` [S, N, A]. One whose options are `told` who is active gets channels that are zero for all others.
        snr_db: SNR, dB.
        frames_max: at most this many frames.
        target_errors: wrong answers; None: send all frames.
        seed: of everything drawn.
        device: where the frames are drawn and detected.
        batch: frames at a time.

    >>> from cellfree_sim.detection import create_detector
    >>> from cellfree_sim.uplink import NomaProblem
    >>> problem = NomaProblem(6, 4, 2, 0.5, "flat")
    >>> rates = noma_error_rates(problem, create_detector("mf", problem), 20.0, frames_max=1000)
    >>> rates.frames, 0.05 < rates.ber.value < 0.2
    (1000, True)
    """
    import torch

    whole("frames_max", frames_max, 1, MAX_FRAMES)
    whole("batch", batch, 1, MAX_FRAMES)
    if target_errors is not None:
        whole("target_errors", target_errors, 1, MAX_FRAMES)
    generator = torch.Generator(device=device).manual_seed(integer(seed, "noma-error-rates", repr(float(snr_db))))
    told = bool(getattr(getattr(detector, "options", None), "told", False))
    counts = NomaCounts(problem, device)
    while counts.frames < frames_max and (target_errors is None or counts.errors < target_errors):
        now = min(batch, frames_max - counts.frames)
        frames = problem.sample(now, snr_db, generator=generator, device=device)
        assert frames.h_known is not None
        h = frames.h_known * frames.active.unsqueeze(-1) if told else frames.h_known
        counts.add(frames, detector(frames.y, h, frames.noise_variance).logits)
    return counts.rates(float(snr_db))


def marked(problem: NomaProblem, frames: Batch, logits: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Errors and trials of each user in each frame, whole numbers [S, N] both, by the name of the rate in `NomaRates`.

    Those of `ber_missed` are half bits; the messages of users of each rate are under ``bler_<bits>``.

    Raises:
        UserError: logits have another shape than [S, N, A] of the problem.
    """
    import torch

    bits = problem.bits.to(logits.device)
    expected = (*frames.messages.shape, len(bits) + problem.silence)
    if logits.shape != expected:
        shapes = f"found logits {list(logits.shape)}; expected {list(expected)}"
        raise UserError(f"detector: {shapes}: frames, users, answers")
    distance = (bits.unsqueeze(1) != bits.unsqueeze(0)).sum(dim=-1)  # [M, M]
    rates = torch.tensor(problem.rates, device=logits.device)
    sent, active, answer = frames.messages, frames.active, logits.argmax(dim=-1)
    silent = answer == len(bits)
    wrong = torch.where(silent, active, ~active | (answer != sent))
    own = active * rates
    wrong_bits = distance[logits[..., : len(bits)].argmax(dim=-1), sent.clamp_min(0)] * active
    found = {
        "ser": (wrong, torch.ones_like(active)),
        "ber": (wrong_bits, own),
        "ber_missed": (torch.where(silent, own, 2 * wrong_bits) * active, 2 * own),
        "bler": (wrong & active, active),
        "missed": (silent & active, active),
        "false_alarms": (~silent & ~active, ~active),
    }
    of_rate = {rate: active & (rates == rate) for rate in sorted(set(problem.rates))}
    return found | {f"bler_{rate}": (wrong & theirs, theirs) for rate, theirs in of_rate.items()}


class NomaCounts:
    """Running sums over frames, from which follow all rates."""

    def __init__(self, problem: NomaProblem, device: torch.device | str = "cpu") -> None:
        import torch

        self._problem = problem
        self._classes = sorted(set(problem.rates))
        self._sums: Tensor = torch.zeros(5, 6 + len(self._classes), dtype=torch.int64, device=device)
        users = problem.users
        self._pairs = torch.zeros(3, users, users, dtype=torch.float64, device=device)  # of errors and trials of bits
        self._totals = torch.zeros(2, users, dtype=torch.int64, device=device)
        self.frames = 0

    def add(self, frames: Batch, logits: Tensor) -> None:
        """Count the errors of logits [S, N, A] beside what was sent."""
        import torch

        marks = marked(self._problem, frames, logits)
        e, n = (torch.stack([pair[place].sum(dim=1) for pair in marks.values()]) for place in (0, 1))
        self._sums += torch.stack([each.sum(dim=1) for each in (e, n, e * e, e * n, n * n)])
        wrong_bits, bits = marks["ber"]
        e, n = wrong_bits.double(), bits.double()
        self._pairs += torch.stack([e.T @ e, e.T @ n, n.T @ n])
        self._totals += torch.stack([wrong_bits.sum(dim=0), bits.sum(dim=0)])
        self.frames += len(frames.messages)

    @property
    def errors(self) -> int:
        """Wrong answers so far."""
        return int(self._sums[0, 0])

    def rates(self, snr_db: float) -> NomaRates:
        """The rates so far."""
        ser, ber, missed_bits, bler, missed, false, *by_rate = (
            FrameRate(self.frames, *sums) for sums in self._sums.T.tolist()
        )
        errors, trials = self._totals.tolist()
        squares = self._pairs.diagonal(dim1=1, dim2=2).round().long().T.tolist()
        by_user = [FrameRate(self.frames, e, n, *pairs) for e, n, pairs in zip(errors, trials, squares, strict=True)]
        fairness = _fairness(self._pairs.cpu().numpy(), np.array(errors, float), np.array(trials, float), self.frames)
        classes = dict(zip(self._classes, by_rate, strict=True))
        return NomaRates(
            snr_db, self.frames, ser, ber, missed_bits, bler, classes, missed, false, tuple(by_user), fairness
        )


def jain(values: NDArray[np.float64]) -> float:
    """Jain's index (sum b)^2 / (N sum b^2).

    >>> jain(np.array([1.0, 1.0, 0.0, 0.0]))
    0.5
    """
    squares = float((values * values).sum())
    return float(values.sum()) ** 2 / (len(values) * squares) if squares else math.nan


def _fairness(
    pairs: NDArray[np.float64], errors: NDArray[np.float64], trials: NDArray[np.float64], frames: int
) -> Fairness:
    """Jain's index of errors / trials, and its standard error by the gradient and the covariance over frames."""
    if not trials.all() or not errors.any():
        return Fairness(math.nan, math.nan)
    rates = errors / trials
    cross = pairs[1] * rates  # sum over frames of e_i n_j b_j
    residual = pairs[0] - cross - cross.T + pairs[2] * np.outer(rates, rates)
    covariance = residual / np.outer(trials, trials) * frames / max(frames - 1, 1)
    total, squares, users = rates.sum(), (rates * rates).sum(), len(rates)
    slope = (2 * total / squares - 2 * total**2 * rates / squares**2) / users
    return Fairness(jain(rates), math.sqrt(max(float(slope @ covariance @ slope), 0.0)))
