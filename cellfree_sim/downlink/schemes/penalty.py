"""The penalised sum rate: the problem (6) itself, with its constraints as exact penalties."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cellfree_sim.downlink.scheme import LossScheme, penalised
from cellfree_sim.scenario.extensions import LOSS_SCHEMES

if TYPE_CHECKING:
    from torch import Tensor


@LOSS_SCHEMES.register
class Penalty(LossScheme):
    """Joint loss f + weight * (sum_i max(0, margin r_min - r_i) + sum_b max(0, l_b)), without learned weights.

    The margin asks for a little more than r_min in training, so that users meet it on realisations never seen.
    """

    uses_beta: ClassVar[bool] = False

    name: Literal["penalty"] = "penalty"
    weight: float = Field(
        20.0, ge=0, le=1e6, description="of a violated constraint; bit/s/Hz per bit/s/Hz, or per P_max"
    )
    margin: float = Field(1.5, ge=0, le=1e3, description="r_min is multiplied by this in training")

    def evaluate(
        self, rates: Tensor, excess_power: Tensor, beta: Tensor, min_rate: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `LossScheme.evaluate`; `beta` is not used."""
        least = self.margin * min_rate
        return penalised(rates, excess_power, least, weights, rate_weight=self.weight, power_weight=self.weight)
