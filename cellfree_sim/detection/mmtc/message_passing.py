"""Approximate message passing for activity and data: with pilots each for itself, or by the sections of devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cellfree_sim.detection.detector import Detection
from cellfree_sim.detection.mmtc.stating import Frames, Stating
from cellfree_sim.scenario.extensions import MMTC_DETECTORS

if TYPE_CHECKING:
    from cellfree_sim.detection.mmtc.algorithms.passing import Passed


class _MessagePassing(Stating):
    """What both forms have to choose."""

    iterations: int = Field(50, ge=1, le=10_000, description="at most so many")
    onsager: Literal["scalar", "matrix"] = Field(
        "scalar", description="correction by the mean derivative, or by the Jacobian between the antennas of a station"
    )
    tolerance: float = Field(0, ge=0, lt=1, description="end when no variance moves by more than this part; 0: never")
    damping: float = Field(0.3, ge=0, lt=1, description="weight of the old messages; undamped it may diverge")

    def passed(self, frames: Frames, *, sections: bool) -> Passed:
        """Where message passing ends."""
        from cellfree_sim.detection.mmtc.algorithms.passing import Passing, message_passing

        how = Passing(self.iterations, self.damping, self.onsager, sections, self.tolerance)
        return message_passing(frames.y, frames.grid, frames.prior, frames.pilots, how)


@MMTC_DETECTORS.register
class Amp(_MessagePassing):
    """AMP with a denoiser for each pilot by itself, by default as printed (Ma, Wu, Gao and Shen): undamped, no prior.

    As printed it diverges in a cell with path loss. `damping: 0.3` mends that, and `prior: true` halves what errors are
    left: the threshold of a device is then that of the maximum a posteriori, not of maximum likelihood.
    """

    name: Literal["amp"] = "amp"
    damping: float = Field(0.0, ge=0, lt=1, description="weight of the old messages")
    prior: bool = Field(False, description="whether the decision knows the activity of devices, as the denoiser does")

    def states(self, frames: Frames) -> Detection:
        """See `Stating.states`."""
        import torch

        passed = self.passed(frames, sections=False)
        ratios = passed.ratios + frames.prior.element[:, None] if self.prior else passed.ratios
        scores = torch.cat([torch.zeros_like(ratios[..., :1]), ratios], dim=-1)
        return Detection.of(scores, iterations=passed.iterations)


@MMTC_DETECTORS.register
class AmpSection(_MessagePassing):
    """AMP with the exact denoiser of a device, which sends at most one of its pilots; damped."""

    name: Literal["amp-section"] = "amp-section"

    def states(self, frames: Frames) -> Detection:
        """See `Stating.states`."""
        from cellfree_sim.detection.mmtc.algorithms.denoiser import state_logits

        passed = self.passed(frames, sections=True)
        return Detection.of(state_logits(passed.ratios, frames.prior), iterations=passed.iterations)
