"""Detectors that cancel what they have decided: V-BLAST and parallel interference cancellation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cellfree_sim.detection.detector import Algorithm, Detection, DetectorOptions
from cellfree_sim.scenario.extensions import DETECTORS

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.uplink.mimo import MimoProblem


@DETECTORS.register
class VBlast(DetectorOptions):
    """V-BLAST: one user after the other, the surest first; each is decided, cancelled, and the rest estimated anew.

    The curve called "V-BLAST" in some publications is not this, but `zf-pic`.
    """

    overloaded: ClassVar[bool] = False
    name: Literal["vblast"] = "vblast"
    criterion: Literal["zf", "mmse"] = Field("zf", description="of the estimates: zero-forcing, or least squared error")

    def build(self, problem: MimoProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        from cellfree_sim.detection.mimo.algorithms.cancellation import successive
        from cellfree_sim.detection.mimo.algorithms.common import Alphabet

        alphabet = Alphabet(problem.constellation)

        def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
            scores = successive(y, h, noise_variance, alphabet.to(y.device), criterion=self.criterion)
            return Detection.of(scores)

        return detect


@DETECTORS.register
class ZeroForcingPic(DetectorOptions):
    """Zero-forcing decisions, one parallel cancellation, a matched filter: published as "V-BLAST"."""

    overloaded: ClassVar[bool] = False
    name: Literal["zf-pic"] = "zf-pic"

    def build(self, problem: MimoProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        from cellfree_sim.detection.mimo.algorithms.cancellation import zf_pic
        from cellfree_sim.detection.mimo.algorithms.common import Alphabet

        alphabet = Alphabet(problem.constellation)

        def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
            return Detection.of(zf_pic(y, h, noise_variance, alphabet.to(y.device)))

        return detect


@DETECTORS.register
class MmsePic(DetectorOptions):
    """Soft parallel interference cancellation with MMSE filters; one iteration is LMMSE."""

    name: Literal["mmse-pic"] = "mmse-pic"
    iterations: int = Field(4, ge=1, le=1000, description="filters in a row, each with the means of the last")

    def build(self, problem: MimoProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        from cellfree_sim.detection.mimo.algorithms.cancellation import mmse_pic
        from cellfree_sim.detection.mimo.algorithms.common import Alphabet

        alphabet = Alphabet(problem.constellation)

        def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
            scores = mmse_pic(y, h, noise_variance, alphabet.to(y.device), iterations=self.iterations)
            return Detection.of(scores, iterations=self.iterations)

        return detect
