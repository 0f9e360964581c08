"""Detectors that work on the covariance of what the antennas receive: the likelihood, relaxed or exact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cellfree_sim.detection.detector import Detection
from cellfree_sim.detection.mmtc.stating import Frames, Stating
from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario.extensions import MMTC_DETECTORS

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.detection.mmtc.algorithms.covariance import Setting
    from cellfree_sim.uplink.mmtc import MmtcProblem

DENSE_NUMBERS = 2**24
STATES_AT_MOST = 2**14
MAX_LENGTH = 4096


class _Likelihood(Stating):
    """What these share. They compute in double precision: in single, what 50 dB above the noise leaves is rounding."""

    def refuse(self, problem: MmtcProblem) -> None:
        """See `Stating.refuse`: pilots have to be written out, and covariances of their length squared."""
        numbers = problem.devices * problem.per_device * problem.pilot_length
        if numbers > DENSE_NUMBERS:
            raise DetectorError(
                f"detector '{self.name}': found pilots of {numbers} numbers; allowed: up to {DENSE_NUMBERS}"
            )
        if problem.pilot_length > MAX_LENGTH:
            raise DetectorError(
                f"detector '{self.name}': found pilot_length {problem.pilot_length}; allowed: at most {MAX_LENGTH}, "
                "for a covariance of that size squared, or amp-section"
            )

    def numbers(self, problem: MmtcProblem, gains: int) -> int:
        """See `Stating.numbers`: the covariances, and all products of a device's pilots, may be larger."""
        squares = problem.pilot_length**2 + problem.devices * problem.per_device**2
        return max(super().numbers(problem, gains), problem.stations * squares)

    def setting(self, frames: Frames) -> Setting:
        """The frames as the likelihood wants them."""
        from cellfree_sim.detection.mmtc.algorithms.covariance import Setting

        return Setting.of(frames.y, frames.noise, frames.pilots, frames.grid, frames.prior)


@MMTC_DETECTORS.register
class Covariance(_Likelihood):
    """Maximum likelihood gains of all pilots by coordinate ascent (Fengler, Haghighatshoar, Jung and Caire), and a
    threshold. Only the threshold needs to know the gains of devices, and only `ratio` does without.

    `half` and `quarter` of a device's gain are hard decisions; half is what is published, quarter makes fewer errors.
    `ratio` compares likelihoods with the prior, all other pilots being sent with their estimated gains.
    """

    name: Literal["covariance"] = "covariance"
    threshold: Literal["half", "quarter", "ratio"] = Field("half", description="what makes a device active")
    steps: int = Field(1000, ge=1, le=1_000_000, description="of one coordinate each, at most")
    tolerance: float = Field(1e-3, gt=0, le=1e3, description="gain in log-likelihood that a step must be worth")

    def refuse(self, problem: MmtcProblem) -> None:
        """See `Stating.refuse`."""
        super().refuse(problem)
        if problem.gains == "unknown" and self.threshold != "ratio":
            raise DetectorError(
                f"detector 'covariance': threshold: found '{self.threshold}' with unknown gains; allowed: ratio"
            )

    def states(self, frames: Frames) -> Detection:
        """See `Stating.states`."""
        import torch

        from cellfree_sim.detection.mmtc.algorithms.covariance import relaxed, relaxed_ratios
        from cellfree_sim.detection.mmtc.algorithms.denoiser import state_logits

        setting = self.setting(frames)
        gains, field = relaxed(setting, steps=self.steps, tolerance=self.tolerance)
        if self.threshold == "ratio":
            ratios = relaxed_ratios(setting, gains, field).logsumexp(dim=-1)
            return Detection.of(state_logits(ratios, setting.prior))
        share = 0.5 if self.threshold == "half" else 0.25
        middle = setting.grid.values[..., setting.grid.values.shape[-1] // 2]  # of estimates, the estimate itself
        most, pilot = gains.sum(dim=1).max(dim=-1)
        decided = torch.where(most > share * middle.sum(dim=1), pilot + 1, 0)
        return Detection.hard(decided, 1 + gains.shape[-1])


@MMTC_DETECTORS.register
class MapAscent(_Likelihood):
    """Discrete coordinate ascent of the exact posterior of all states: the best detector here where L N Q is small.

    Each step changes the state of one device, that which gains most. It ends where no single change gains anything;
    starts differ in where that is, and with `both` the more probable end counts. The probabilities of a device's states
    are those given all other states as decided.
    """

    name: Literal["map-cd"] = "map-cd"
    start: Literal["empty", "amp", "both"] = Field(
        "empty", description="from nobody, from what amp-section decides in 20 iterations, or both"
    )
    steps: int = Field(1000, ge=1, le=1_000_000, description="changes of one state each, at most")

    def states(self, frames: Frames) -> Detection:
        """See `Stating.states`."""
        import torch

        from cellfree_sim.detection.mmtc.algorithms.covariance import ascend

        setting = self.setting(frames)
        starts = []
        if self.start != "amp":
            starts.append(torch.zeros(frames.y.shape[0], len(frames.prior.silent), dtype=torch.long))
        if self.start != "empty":
            starts.append(self._passed(frames))
        ends = [ascend(setting, start.to(frames.y.device), steps=self.steps) for start in starts]
        best = ends[0]
        for other in ends[1:]:
            best = best.better(other)
        return Detection.of(setting.logits(best.scores))

    def _passed(self, frames: Frames) -> Tensor:
        """What message passing would choose, among all pilots and gains."""
        from cellfree_sim.detection.mmtc.message_passing import AmpSection

        return AmpSection(iterations=20).states(frames).messages


@MMTC_DETECTORS.register
class Exact(_Likelihood):
    """The posterior of each device by adding up the likelihoods of all joint states: for a few devices only.

    Estimated gains are taken for true ones.
    """

    name: Literal["exact"] = "exact"

    def refuse(self, problem: MmtcProblem) -> None:
        """See `Stating.refuse`."""
        super().refuse(problem)
        joint = problem.states**problem.devices
        if joint > STATES_AT_MOST:
            raise DetectorError(f"detector 'exact': found {joint:.3g} joint states; allowed: up to {STATES_AT_MOST}")
        if problem.gains == "unknown":
            raise DetectorError("detector 'exact': found unknown gains; allowed: known or estimated ones")

    def states(self, frames: Frames) -> Detection:
        """See `Stating.states`."""
        from cellfree_sim.detection.mmtc.algorithms.enumeration import enumerated

        return Detection.of(enumerated(self.setting(frames)))
