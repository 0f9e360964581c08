"""Semidefinite relaxation of maximum likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cellfree_sim.detection.detector import Algorithm, Detection, DetectorOptions
from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario.extensions import DETECTORS

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.uplink.mimo import MimoProblem


@DETECTORS.register
class SemidefiniteRelaxation(DetectorOptions):
    """Maximum likelihood with its symbol vectors relaxed to a semidefinite matrix, within bounds for QAM.

    Solved by an interior-point method in float64 for all slots at once, to the same accuracy for any number of users;
    the time for one grows with the third power of their number. Hard decisions.
    """

    name: Literal["sdr"] = "sdr"
    iterations: int = Field(60, ge=1, le=1000, description="at most so many Newton steps; about 17 are needed")
    tolerance: float = Field(1e-2, gt=0, le=1, description="gap between both bounds of the optimum at which it ends")

    def build(self, problem: MimoProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        from cellfree_sim.detection.mimo.algorithms.common import Alphabet
        from cellfree_sim.detection.mimo.algorithms.semidefinite import semidefinite

        alphabet = Alphabet(problem.constellation)
        if alphabet.levels is None:
            raise DetectorError(f"detector '{self.name}': found other points; allowed: square QAM")

        def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
            here = alphabet.to(y.device)
            assert here.levels is not None
            estimate, taken = semidefinite(y, h, here.levels, iterations=self.iterations, tolerance=self.tolerance)
            return Detection.hard(here.nearest(estimate), len(here.points), iterations=taken)

        return detect
