"""Error rates by Monte Carlo, with confidence intervals that count only what is independent."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, TypeAlias

from cellfree_sim.errors import UserError
from cellfree_sim.seeds import integer
from cellfree_sim.uplink.checks import real, whole

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from cellfree_sim.uplink.problem import Batch, CoherentProblem

Receiver: TypeAlias = "Callable[[Tensor, Any, Tensor], Any]"
"""A detector: function of (y, h, noise_variance) whose answer has `messages` int64 [S, N]."""

BATCH = 1000
MAX_SLOTS = 10**12


@dataclass(frozen=True)
class Rate:
    """Errors among trials that came in independent groups of `group` trials (the symbols of one fading block).

    Errors of one group go together: a bad channel hurts all users. `squares` is the sum of the squared numbers of
    errors of the groups, from which follows by how much the variance of the rate exceeds that of independent trials
    (the design effect). Intervals and standard errors are those of so many fewer independent trials.

    >>> rate = Rate(errors=20, trials=1000, group=1, squares=20)
    >>> rate.value, [round(end, 4) for end in rate.interval()]
    (0.02, [0.013, 0.0307])
    """

    errors: int
    trials: int
    group: int
    squares: int

    @property
    def value(self) -> float:
        """Errors per trial."""
        return self.errors / self.trials

    @property
    def design_effect(self) -> float:
        """Variance of the rate over that of as many independent trials; 1 where the errors are too few to tell."""
        groups = self.trials // self.group
        binomial = self.group * self.value * (1 - self.value)
        if binomial == 0:
            return 1.0
        variance = self.squares / groups - (self.errors / groups) ** 2
        return max(variance / binomial, 1.0)

    @property
    def standard_error(self) -> float:
        """Standard deviation of `value`; 0 where there are no errors, or nothing else."""
        return math.sqrt(self.value * (1 - self.value) * self.design_effect / self.trials)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Wilson's interval around the rate, with as many trials as are worth an independent one."""
        return wilson(self.value, self.trials / self.design_effect, confidence)


def grouped_interval(
    errors: Sequence[int], trials: Sequence[int], confidence: float = 0.95, *, units: int | None = None
) -> tuple[float, float, float]:
    """Rate of errors in independent groups of different sizes, and the ends of its interval; NaN without trials.

    As `Rate.interval`, with the variance of the ratio r = sum e / sum n of group sums, G / (G - 1) sum (e - r n)^2 /
    (sum n)^2, and the quantile of Student's t for G - 1 degrees of freedom. A single group, or one without errors (or
    with nothing else), says nothing of the variance: it is worth as many trials as there are independent `units`, by
    default the trials themselves.

    >>> [round(end, 4) for end in grouped_interval([20], [1000])]
    [0.02, 0.013, 0.0307]
    >>> [round(end, 4) for end in grouped_interval([0, 0], [500, 500], units=10)]
    [0.0, 0.0, 0.2775]
    >>> [round(end, 4) for end in grouped_interval([20, 0, 0, 0], [250, 250, 250, 250])]
    [0.02, 0.0016, 0.2028]
    """
    total, wrong = sum(trials), sum(errors)
    if total == 0:
        return math.nan, math.nan, math.nan
    rate = wrong / total
    groups = sum(each > 0 for each in trials)
    if groups < 2 or not 0 < wrong < total:
        return rate, *wilson(rate, total if units is None else min(units, total), confidence)
    squares = sum((e - rate * n) ** 2 for e, n in zip(errors, trials, strict=True))
    effect = max(groups / (groups - 1) * squares / (total * rate * (1 - rate)), 1.0)
    return rate, *wilson(rate, total / effect, confidence, groups)


def wilson(rate: float, trials: float, confidence: float, groups: int | None = None) -> tuple[float, float]:
    """Wilson's interval of a rate seen in so many independent trials; its ends are 0 and 1 where the rate is.

    Where the number of trials was estimated from so many `groups`, the quantile is that of Student's t.
    """
    upto = (1 + real("confidence", confidence, 0.01, 0.999999)) / 2
    if groups is None:
        z = NormalDist().inv_cdf(upto)
    else:
        from scipy.special import stdtrit

        z = float(stdtrit(groups - 1, upto))
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(rate * (1 - rate) / trials + (z / (2 * trials)) ** 2) / (1 + z * z / trials)
    return (max(centre - half, 0.0) if rate > 0 else 0.0), (min(centre + half, 1.0) if rate < 1 else 1.0)


@dataclass(frozen=True)
class ErrorRates:
    """What a detector got wrong at one SNR.

    Attributes:
        snr_db: SNR.
        slots: slots sent.
        ser: symbol (message) errors of all users.
        ber: bit errors of all users.
        bler: block errors of all users: a user's block is its messages in one block of slots with the same channel, and
            wrong if any of them is. Where a block is one slot this is `ser`.
        ser_by_user: symbol errors of each user.
        ber_by_user: bit errors of each user.
        bler_by_user: block errors of each user.
    """

    snr_db: float
    slots: int
    ser: Rate
    ber: Rate
    bler: Rate
    ser_by_user: tuple[Rate, ...]
    ber_by_user: tuple[Rate, ...]
    bler_by_user: tuple[Rate, ...]


def error_rates(
    problem: CoherentProblem,
    detector: Receiver,
    snr_db: float,
    *,
    slots_max: int = 100_000,
    target_errors: int | None = 500,
    seed: int = 1,
    device: torch.device | str = "cpu",
    batch: int = BATCH,
) -> ErrorRates:
    """Send slots until `target_errors` symbols were wrong, or `slots_max` were sent.

    The slots follow from `seed`, `batch`, the SNR and the kind of device, not from the detector: detectors are compared
    on the same slots. Errors are looked at after each batch. Stopping at k errors biases a rate upward by at most
    about one part in k (times the design effect), which is small beside its standard error, one part in sqrt(k).

    Args:
        problem: what is sent.
        detector: what is measured; it is given the channels as the receiver knows them.
        snr_db: SNR, dB.
        slots_max: at most this many slots, cut to whole blocks of the same channel.
        target_errors: symbol errors of all users together; None: send all slots.
        seed: of everything drawn.
        device: where the slots are drawn and detected.
        batch: slots at a time, rounded up to whole blocks.
    """
    import torch

    blocks = whole("slots_max", slots_max, 1, MAX_SLOTS) // problem.block
    if blocks == 0:
        raise UserError(f"slots_max: found {slots_max}; allowed: at least one block of {problem.block} slots")
    whole("batch", batch, 1, MAX_SLOTS)
    if target_errors is not None:
        whole("target_errors", target_errors, 1, MAX_SLOTS)
    generator = torch.Generator(device=device).manual_seed(integer(seed, "error-rates", f"{float(snr_db)!r}"))
    at_once = -(-batch // problem.block)
    counts, done = _Counts(problem, device), 0
    while done < blocks and (target_errors is None or counts.symbol_errors < target_errors):
        now = min(at_once, blocks - done)
        slots = problem.sample(now * problem.block, snr_db, generator=generator, device=device)
        counts.add(slots, detector(slots.y, slots.h_known, slots.noise_variance).messages)
        done += now
    return counts.rates(float(snr_db), done)


class _Counts:
    """Sums of errors, and of their squares over blocks; of each user, and of all (the last column)."""

    def __init__(self, problem: CoherentProblem, device: torch.device | str) -> None:
        import torch

        self._block, self._users = problem.block, len(problem.codebook)
        bits = problem.bits.to(device)
        self._width = bits.shape[1]
        self._distance = (bits.unsqueeze(1) != bits.unsqueeze(0)).sum(dim=-1)  # [M, M]
        self._sums = torch.zeros(2, 3, self._users + 1, dtype=torch.int64, device=device)

    def add(self, slots: Batch, decided: Tensor) -> None:
        """Count the errors of a batch of whole blocks."""
        import torch

        if decided.shape != slots.messages.shape:
            found, expected = list(decided.shape), list(slots.messages.shape)
            raise UserError(f"detector: found decisions {found}; expected {expected}: slots, users")
        shape = (-1, self._block, self._users)
        symbols = (decided != slots.messages).long().reshape(shape).sum(dim=1)
        bits = self._distance[decided, slots.messages].reshape(shape).sum(dim=1)
        errors = torch.stack([symbols, bits, (symbols > 0).long()])  # [3, blocks, users]
        errors = torch.cat([errors, errors.sum(dim=-1, keepdim=True)], dim=-1)
        self._sums += torch.stack([errors.sum(dim=1), (errors * errors).sum(dim=1)])

    @property
    def symbol_errors(self) -> int:
        """Wrong symbols of all users so far."""
        return int(self._sums[0, 0, -1])

    def rates(self, snr_db: float, blocks: int) -> ErrorRates:
        """The rates after so many blocks."""
        groups = (self._block, self._block * self._width, 1)
        sums, squares = self._sums.tolist()

        def rate(kind: int, user: int) -> Rate:
            group = groups[kind] * (self._users if user < 0 else 1)
            return Rate(sums[kind][user], blocks * group, group, squares[kind][user])

        by_user = [tuple(rate(kind, user) for user in range(self._users)) for kind in range(3)]
        ser, ber, bler = (rate(kind, -1) for kind in range(3))
        return ErrorRates(snr_db, blocks * self._block, ser, ber, bler, *by_user)
