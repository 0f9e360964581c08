"""Detectors to measure others against: orthogonal matching pursuit, and one that finds nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cellfree_sim.detection.detector import Algorithm, Detection, DetectorOptions
from cellfree_sim.detection.mmtc.stating import Frames, Stating
from cellfree_sim.scenario.extensions import MMTC_DETECTORS

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.uplink.mmtc import MmtcProblem


@MMTC_DETECTORS.register
class Omp(Stating):
    """Orthogonal matching pursuit over all antennas: the loudest pilot that is left, again and again. Hard decisions.

    It needs no gains. It ends when the loudest pilot of a device that has none yet is no louder than noise would be.
    """

    name: Literal["omp"] = "omp"
    false_alarm: float = Field(1e-3, gt=0, lt=1, description="chance that noise alone looks like one more pilot")

    def states(self, frames: Frames) -> Detection:
        """See `Stating.states`."""
        from cellfree_sim.detection.mmtc.algorithms.pursuit import pursuit

        decided = pursuit(frames.y, frames.noise, frames.pilots, false_alarm=self.false_alarm)
        return Detection.hard(decided, 1 + frames.pilots.per_device)


@MMTC_DETECTORS.register
class AllZero(DetectorOptions):
    """Nobody is active. Its error rate is the activity: a detector that makes more errors than this is worse than none.

    Probabilities are those of the prior.
    """

    name: Literal["all-zero"] = "all-zero"

    def build(self, problem: MmtcProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        import torch

        from cellfree_sim.detection.mmtc.algorithms.denoiser import Prior, state_logits

        prior = Prior.of(problem)

        def detect(y: Tensor, h: Tensor | None, noise_variance: Tensor) -> Detection:
            nothing = torch.zeros(len(y), problem.devices, problem.per_device, device=y.device)
            logits = state_logits(nothing, prior.to(y.device))
            logits[..., 0] = logits[..., 0].maximum(logits[..., 1:].amax(dim=-1) + 1e-6)  # also where most are active
            return Detection.of(logits)

        return detect
