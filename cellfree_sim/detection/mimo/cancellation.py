"""Detectors that cancel what they have decided: V-BLAST and parallel interference cancellation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cellfree_sim.detection.mimo.scoring import Scoring
from cellfree_sim.scenario.extensions import DETECTORS

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.detection.mimo.algorithms.common import Alphabet


@DETECTORS.register
class VBlast(Scoring):
    """V-BLAST: one user after the other, the surest first; each is decided, cancelled, and the rest estimated anew.

    The curve called "V-BLAST" in some publications is not this, but `zf-pic`.
    """

    overloaded: ClassVar[bool] = False
    name: Literal["vblast"] = "vblast"
    criterion: Literal["zf", "mmse"] = Field("zf", description="of the estimates: zero-forcing, or least squared error")

    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
        """See `Scoring.scores`."""
        from cellfree_sim.detection.mimo.algorithms.cancellation import successive

        return successive(y, h, noise_variance, alphabet, criterion=self.criterion)


@DETECTORS.register
class ZeroForcingPic(Scoring):
    """Zero-forcing decisions, one parallel cancellation, a matched filter: published as "V-BLAST"."""

    overloaded: ClassVar[bool] = False
    name: Literal["zf-pic"] = "zf-pic"

    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
        """See `Scoring.scores`."""
        from cellfree_sim.detection.mimo.algorithms.cancellation import zf_pic

        return zf_pic(y, h, noise_variance, alphabet)


@DETECTORS.register
class MmsePic(Scoring):
    """Soft parallel interference cancellation with MMSE filters; one iteration is LMMSE."""

    name: Literal["mmse-pic"] = "mmse-pic"
    iterations: int = Field(4, ge=1, le=1000, description="filters in a row, each with the means of the last")

    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
        """See `Scoring.scores`."""
        from cellfree_sim.detection.mimo.algorithms.cancellation import mmse_pic

        return mmse_pic(y, h, noise_variance, alphabet, iterations=self.iterations)
