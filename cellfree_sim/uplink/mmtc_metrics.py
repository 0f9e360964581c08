"""Errors in the states of devices by Monte Carlo: wrong states, missed devices, false alarms, wrong data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import UserError
from cellfree_sim.seeds import integer
from cellfree_sim.uplink.checks import whole
from cellfree_sim.uplink.metrics import wilson

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from cellfree_sim.uplink.mmtc import MmtcProblem
    from cellfree_sim.uplink.problem import Batch

BATCH = 64
MAX_FRAMES = 10**9


@dataclass(frozen=True)
class FrameRate:
    """Errors among trials, counted frame by frame: the errors of a frame go together, and trials may differ in number.

    Its standard error is that of the ratio of the two sums over independent frames, and at least that of as many
    independent trials. The sums of two runs add (`+`).

    >>> rate = FrameRate(frames=100, errors=20, trials=1000, error_squares=20, products=200, trial_squares=10000)
    >>> rate.value, round(rate.standard_error, 5), [round(end, 4) for end in rate.interval()]
    (0.02, 0.00443, [0.013, 0.0307])

    Attributes:
        frames: independent frames G.
        errors: sum of the errors e of the frames.
        trials: sum of their trials n.
        error_squares: sum of e^2.
        products: sum of e n.
        trial_squares: sum of n^2.
    """

    frames: int
    errors: int
    trials: int
    error_squares: int
    products: int
    trial_squares: int

    def __add__(self, other: FrameRate) -> FrameRate:
        mine, its = vars(self), vars(other)
        return FrameRate(**{key: mine[key] + its[key] for key in mine})

    @property
    def value(self) -> float:
        """Errors per trial; NaN without trials."""
        return self.errors / self.trials if self.trials else math.nan

    @property
    def design_effect(self) -> float:
        """Variance of the rate over that of as many independent trials, at least 1."""
        binomial = self.trials * self.value * (1 - self.value)
        if self.frames < 2 or not binomial > 0:
            return 1.0
        squares = self.error_squares - 2 * self.value * self.products + self.value**2 * self.trial_squares
        return max(self.frames / (self.frames - 1) * squares / binomial, 1.0)

    @property
    def standard_error(self) -> float:
        """Standard deviation of `value`; 0 where there are no errors, or nothing else; NaN without trials."""
        if not self.trials:
            return math.nan
        return math.sqrt(self.value * (1 - self.value) * self.design_effect / self.trials)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Wilson's interval around the rate, with as many trials as are worth an independent one."""
        if not self.trials:
            return math.nan, math.nan
        return wilson(self.value, self.trials / self.design_effect, confidence)


@dataclass(frozen=True)
class StateRates:
    """What a detector got wrong. Rates of two runs (of two pilot seeds, say) add.

    Attributes:
        frames: frames sent.
        ser: wrong states of all devices, those included that are not active: a detector that finds nobody has the
            activity for its rate, and whatever is above it is worse than no detector.
        missed: active devices that were not found.
        false_alarms: devices found active that are not, of those that are not.
        data: active devices that were found, but with the wrong message, of all active ones.
    """

    frames: int
    ser: FrameRate
    missed: FrameRate
    false_alarms: FrameRate
    data: FrameRate

    def __add__(self, other: StateRates) -> StateRates:
        mine, its = vars(self), vars(other)
        return StateRates(**{key: mine[key] + its[key] for key in mine})


def state_error_rates(
    problem: MmtcProblem,
    detector: Callable[..., Any],
    snr_db: float | None = None,
    *,
    frames_max: int = 1000,
    target_errors: int | None = 500,
    seed: int = 1,
    device: torch.device | str = "cpu",
    batch: int = BATCH,
) -> StateRates:
    """Send frames until `target_errors` states were wrong, or `frames_max` frames were sent.

    The frames follow from the problem, `seed` and `batch`, not from the detector: detectors are compared on the same
    frames. Errors are looked at after each batch.

    Args:
        problem: what is sent.
        detector: what is measured: a function of (y, h as the receiver knows it, noise variance) whose answer has
            `messages` int64 [S, N]. One with an attribute `told` that is true (a bound) is given the true gains, and
            the true states as `messages`, too.
        snr_db: see `MmtcProblem.sample`.
        frames_max: at most this many frames.
        target_errors: wrong states; None: send all frames.
        seed: of everything drawn but the pilots.
        device: where the frames are drawn and detected.
        batch: frames at a time.
    """
    import torch

    whole("frames_max", frames_max, 1, MAX_FRAMES)
    whole("batch", batch, 1, MAX_FRAMES)
    if target_errors is not None:
        whole("target_errors", target_errors, 1, MAX_FRAMES)
    generator = torch.Generator(device=device).manual_seed(integer(seed, "state-error-rates", repr(snr_db)))
    told = bool(getattr(detector, "told", False))
    counts, sent = StateCounts(device), 0
    while sent < frames_max and (target_errors is None or counts.errors < target_errors):
        frames = problem.sample(min(batch, frames_max - sent), snr_db, generator=generator, device=device)
        if told:
            found = detector(frames.y, frames.h, frames.noise_variance, messages=frames.messages)
        else:
            found = detector(frames.y, frames.h_known, frames.noise_variance)
        counts.add(frames, found.messages)
        sent += len(frames.y)
    return counts.rates()


class StateCounts:
    """Running sums over frames, from which follow all rates."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        import torch

        self._frames = 0
        self._sums = torch.zeros(4, 5, dtype=torch.int64, device=device)

    def add(self, frames: Batch, decided: Tensor) -> None:
        """Count the errors of decided states int64 [S, N]."""
        self.add_states(frames.messages, decided)

    def add_states(self, sent: Tensor, decided: Tensor) -> None:
        """Count the errors of decided states int64 [S, N] beside those sent."""
        import torch

        if decided.shape != sent.shape:
            found, expected = list(decided.shape), list(sent.shape)
            raise UserError(f"detector: found decisions {found}; expected {expected}: frames, devices")
        active, found_active = sent > 0, decided > 0
        everything = torch.ones_like(active)
        errors = torch.stack([
            decided != sent, active & ~found_active, ~active & found_active, active & found_active & (decided != sent)
        ]).sum(dim=-1)  # fmt: skip
        trials = torch.stack([everything, active, ~active, active]).sum(dim=-1)
        sums = [errors, trials, errors * errors, errors * trials, trials * trials]
        self._sums += torch.stack([each.sum(dim=-1) for each in sums], dim=-1)
        self._frames += len(sent)

    @property
    def errors(self) -> int:
        """Wrong states so far."""
        return int(self._sums[0, 0])

    def rates(self) -> StateRates:
        """The rates so far."""
        return StateRates(self._frames, *(FrameRate(self._frames, *sums) for sums in self._sums.tolist()))
