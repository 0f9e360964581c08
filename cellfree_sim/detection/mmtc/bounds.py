"""Bounds that are told the truth: for studies, not for services."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from cellfree_sim.detection.detector import Detection
from cellfree_sim.detection.mmtc.stating import NUMBERS_AT_ONCE

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.uplink.mmtc import MmtcProblem


class Genie:
    """Each device as if the states of all others, and all gains, were known: what no detector can beat.

    It is called as a detector is, and told the states that were sent; `state_error_rates` does so.

    >>> from cellfree_sim.uplink import MmtcProblem
    >>> import torch
    >>> problem = MmtcProblem(devices=10, pilot_length=8)
    >>> batch = problem.sample(3, generator=torch.Generator().manual_seed(1))
    >>> Genie(problem)(batch.y, batch.h, batch.noise_variance, messages=batch.messages).logits.shape
    torch.Size([3, 10, 3])
    """

    told: ClassVar[bool] = True
    name: ClassVar[str] = "genie"

    def __init__(self, problem: MmtcProblem) -> None:
        self.problem = problem

    def __call__(self, y: Tensor, h: Tensor, noise_variance: Tensor, *, messages: Tensor) -> Detection:
        """The posterior of each device given the `messages` (states) int64 [S, N] of all others; h are true gains."""
        import torch

        from cellfree_sim.detection.mmtc.algorithms.covariance import Setting, genie
        from cellfree_sim.detection.mmtc.algorithms.denoiser import GainGrid, Prior

        problem = self.problem
        prior, pilots = Prior.of(problem), problem.operator.to(y.device)
        squares = problem.pilot_length**2 + problem.devices * problem.per_device**2
        largest = max(problem.antennas * problem.devices * problem.per_device, problem.stations * squares)
        at_once = max(1, NUMBERS_AT_ONCE // largest)
        parts = []
        with torch.no_grad():
            for first in range(0, len(y), at_once):
                some = slice(first, first + at_once)
                setting = Setting.of(y[some], noise_variance[some], pilots, GainGrid.known(h[some]), prior)
                parts.append(genie(setting, messages[some]))
        return Detection.of(torch.cat(parts) if parts else torch.zeros(0, *problem.answers(y, h), device=y.device))
