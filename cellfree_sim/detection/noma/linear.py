"""Receivers of spreading codebooks: matched filter, MMSE, successive cancellation, and least squares with an oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cellfree_sim.detection.noma.receiver import Spread
from cellfree_sim.scenario.extensions import NOMA_DETECTORS

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.detection.noma.algorithms.gaussian import Coordinates


@NOMA_DETECTORS.register
class MatchedFilter(Spread):
    """Each user by itself, the others as noise: the least that a receiver can do."""

    name: Literal["mf"] = "mf"

    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, code: Coordinates) -> Tensor:
        """See `ByCoordinates.scores`."""
        from cellfree_sim.detection.noma.algorithms.linear import matched_filter

        return matched_filter(y, h, noise_variance, code)


@NOMA_DETECTORS.register
class Mmse(Spread):
    """The linear estimate of least mean square error, which knows how often each user sends."""

    name: Literal["mmse"] = "mmse"

    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, code: Coordinates) -> Tensor:
        """See `ByCoordinates.scores`."""
        from cellfree_sim.detection.noma.algorithms.linear import mmse

        return mmse(y, h, noise_variance, code)


@NOMA_DETECTORS.register
class MmseSic(Spread):
    """MMSE with successive cancellation: one user at a time is decided, maybe for silence, and taken out of y."""

    name: Literal["mmse-sic"] = "mmse-sic"
    order: Literal["sinr", "power", "reliability"] = Field(
        "reliability", description="who is next: best SINR after the filter, most received power, or surest decision"
    )

    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, code: Coordinates) -> Tensor:
        """See `ByCoordinates.scores`."""
        from cellfree_sim.detection.noma.algorithms.linear import successive

        return successive(y, h, noise_variance, code, order=self.order)


@NOMA_DETECTORS.register
class OracleLs(Spread):
    """Least squares for a receiver that is told who is active: a reference, and no bound.

    It is told by the channels: those of silent users are zero in what it is given, as `noma_error_rates` does. It never
    answers silence for a user whose channel is not zero.
    """

    told: ClassVar[bool] = True
    """What tells it from receivers that find out for themselves."""
    name: Literal["oracle-ls"] = "oracle-ls"

    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, code: Coordinates) -> Tensor:
        """See `ByCoordinates.scores`."""
        from cellfree_sim.detection.noma.algorithms.linear import oracle_least_squares

        return oracle_least_squares(y, h, noise_variance, code)
