"""Detectors of device states: what they share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from cellfree_sim.detection.detector import Algorithm, Detection, DetectorOptions

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.detection.mmtc.algorithms.denoiser import GainGrid, Prior
    from cellfree_sim.uplink.mmtc import MmtcProblem
    from cellfree_sim.uplink.pilots import Pilots

NUMBERS_AT_ONCE = 2**18
"""Numbers, antennas times pilots, of the frames that are detected together: what a processor's cache holds."""
MOST_ERRORS = 9
"""Errors that are weighed where gains are estimates: more tell no more."""


class Frames(NamedTuple):
    """Frames to detect, and what belongs to them, on one device.

    Attributes:
        y: received, complex64 [S, L, M], over the standard deviation of the noise.
        noise: variances, float32 [S]: 1.
        grid: gains in question.
        prior: of the states.
        pilots: of all devices.
    """

    y: Tensor
    noise: Tensor
    grid: GainGrid
    prior: Prior
    pilots: Pilots


class Stating(DetectorOptions):
    """Options of a detector that says by `states` how likely each state of each device is."""

    gain_points: int = Field(
        24,
        ge=1,
        le=1000,
        description="gains that are weighed where the receiver does not know them; for estimates odd, and at most 9",
    )

    @abstractmethod
    def states(self, frames: Frames) -> Detection:
        """The detection of some frames."""

    def refuse(self, problem: MmtcProblem) -> None:
        """Raise `DetectorError` where this detector cannot serve `problem`."""

    def numbers(self, problem: MmtcProblem, gains: int) -> int:
        """Numbers of the largest array that a frame takes, with so many gains in question."""
        return max(problem.antennas, problem.stations * gains) * problem.devices * problem.per_device

    def build(self, problem: MmtcProblem) -> Algorithm:
        """See `DetectorOptions.build`. Frames are taken some at a time, so that memory does not grow with them."""
        self.refuse(problem)

        def detect(y: Tensor, h: Tensor | None, noise_variance: Tensor) -> Detection:
            from cellfree_sim.detection.mmtc.algorithms.denoiser import Prior
            from cellfree_sim.detection.mmtc.algorithms.gains import gain_grid, grid_size

            if h is None and problem.gains != "unknown":
                self.refuse(problem.changed(gains="unknown", gain_error_db=0.0))
            prior, pilots = Prior.of(problem).to(y.device), problem.operator.to(y.device)
            points = self.gain_points if h is None else min((self.gain_points - 1) | 1, MOST_ERRORS)
            at_once = max(1, NUMBERS_AT_ONCE // self.numbers(problem, grid_size(problem, h is not None, points)))
            parts = []
            for first in range(0, len(y), at_once):
                some = slice(first, first + at_once)
                noise = noise_variance[some]
                over_noise = None if h is None else h[some] / noise.reshape(-1, *(1,) * (h.ndim - 1))
                received = y[some] / noise.sqrt()[:, None, None]
                ones = noise.new_ones(len(noise))
                grid = gain_grid(problem, over_noise, ones, points)
                parts.append(self.states(Frames(received, ones, grid, prior, pilots)))
            return joined(parts)

        return detect


def joined(parts: list[Detection]) -> Detection:
    """Detections of parts of the frames as one."""
    import torch

    if len(parts) == 1:
        return parts[0]
    made = [part.iterations for part in parts if part.iterations is not None]
    logits = torch.cat([part.logits for part in parts])
    return Detection(logits, soft=parts[0].soft, iterations=max(made) if made else None, details=parts[0].details)
