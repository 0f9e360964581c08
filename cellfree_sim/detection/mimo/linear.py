"""Linear detectors: matched filter, zero-forcing, LMMSE, and the "MMSE" of published curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from cellfree_sim.detection.mimo.scoring import Scoring
from cellfree_sim.scenario.extensions import DETECTORS

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.detection.mimo.algorithms.common import Alphabet


@DETECTORS.register
class MatchedFilter(Scoring):
    """Each user by itself, the others as noise: the least that a receiver can do."""

    name: Literal["mf"] = "mf"

    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
        """See `Scoring.scores`."""
        from cellfree_sim.detection.mimo.algorithms.linear import matched_filter

        return matched_filter(y, h, noise_variance, alphabet)


@DETECTORS.register
class ZeroForcing(Scoring):
    """All interference nulled, at the price of more noise."""

    overloaded: ClassVar[bool] = False
    name: Literal["zf"] = "zf"

    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
        """See `Scoring.scores`."""
        from cellfree_sim.detection.mimo.algorithms.linear import zero_forcing

        return zero_forcing(y, h, noise_variance, alphabet)


@DETECTORS.register
class Lmmse(Scoring):
    """The linear estimate of least mean square error, made unbiased before it is compared with the points."""

    name: Literal["lmmse"] = "lmmse"

    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
        """See `Scoring.scores`."""
        from cellfree_sim.detection.mimo.algorithms.linear import lmmse

        return lmmse(y, h, noise_variance, alphabet)


@DETECTORS.register
class MmseAsPublished(Scoring):
    """What published curves call "MMSE": half the loading that LMMSE needs, and a biased estimate. Use `lmmse`."""

    name: Literal["mmse-as-published"] = "mmse-as-published"

    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
        """See `Scoring.scores`."""
        from cellfree_sim.detection.mimo.algorithms.linear import mmse_as_published

        return mmse_as_published(y, h, noise_variance, alphabet)
