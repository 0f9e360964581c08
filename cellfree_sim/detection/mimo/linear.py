"""Linear detectors: matched filter, zero-forcing, LMMSE, and the "MMSE" of published curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from cellfree_sim.detection.detector import Algorithm, Detection, DetectorOptions
from cellfree_sim.scenario.extensions import DETECTORS

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.uplink.mimo import MimoProblem


@DETECTORS.register
class MatchedFilter(DetectorOptions):
    """Each user by itself, the others as noise: the least that a receiver can do."""

    name: Literal["mf"] = "mf"

    def build(self, problem: MimoProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        from cellfree_sim.detection.mimo.algorithms.common import Alphabet
        from cellfree_sim.detection.mimo.algorithms.linear import matched_filter

        alphabet = Alphabet(problem.constellation)

        def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
            return Detection.of(matched_filter(y, h, noise_variance, alphabet.to(y.device)))

        return detect


@DETECTORS.register
class ZeroForcing(DetectorOptions):
    """All interference nulled, at the price of more noise."""

    overloaded: ClassVar[bool] = False
    name: Literal["zf"] = "zf"

    def build(self, problem: MimoProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        from cellfree_sim.detection.mimo.algorithms.common import Alphabet
        from cellfree_sim.detection.mimo.algorithms.linear import zero_forcing

        alphabet = Alphabet(problem.constellation)

        def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
            return Detection.of(zero_forcing(y, h, noise_variance, alphabet.to(y.device)))

        return detect


@DETECTORS.register
class Lmmse(DetectorOptions):
    """The linear estimate of least mean square error, made unbiased before it is compared with the points."""

    name: Literal["lmmse"] = "lmmse"

    def build(self, problem: MimoProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        from cellfree_sim.detection.mimo.algorithms.common import Alphabet
        from cellfree_sim.detection.mimo.algorithms.linear import lmmse

        alphabet = Alphabet(problem.constellation)

        def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
            return Detection.of(lmmse(y, h, noise_variance, alphabet.to(y.device)))

        return detect


@DETECTORS.register
class MmseAsPublished(DetectorOptions):
    """What published curves call "MMSE": half the loading that LMMSE needs, and a biased estimate. Use `lmmse`."""

    name: Literal["mmse-as-published"] = "mmse-as-published"

    def build(self, problem: MimoProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        from cellfree_sim.detection.mimo.algorithms.common import Alphabet
        from cellfree_sim.detection.mimo.algorithms.linear import mmse_as_published

        alphabet = Alphabet(problem.constellation)

        def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
            return Detection.of(mmse_as_published(y, h, noise_variance, alphabet.to(y.device)))

        return detect
