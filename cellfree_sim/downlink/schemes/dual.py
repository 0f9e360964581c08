"""The penalised sum rate with a dual variable instead of a fixed weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field

from cellfree_sim.downlink.scheme import LossScheme, penalised
from cellfree_sim.scenario.extensions import LOSS_SCHEMES

if TYPE_CHECKING:
    from torch import Tensor

_GREATEST_WEIGHT = 1e6


@LOSS_SCHEMES.register
class Dual(LossScheme):
    """Joint loss f + lambda sum_i max(0, margin r_min - r_i) + power_weight sum_b max(0, l_b), without learned weights.

    One says which share of users is to meet margin r_min; what that costs finds itself. After each batch, the dual
    variable goes up where fewer users meet it than should, and down where more do:

        lambda <- max(0, lambda + step (target - share of the batch's users with r_i >= margin r_min)),

    and no further than 1e6.

    This is dual ascent on "share >= target" with the shortfall standing in for the share, which has no gradient. Users
    have no identity across realisations, so that one variable serves all. It is the MBS's: a checkpoint keeps it, and
    DMTSSL needs `feedback: cut_gradient`, as stations that differentiate for themselves do not know it. The share is
    that of training, with soft allocations and on realisations that were learned from: the margin makes up for it.

    It saves the search for a weight, and no more: sum rate and share are traded as by `penalty` with the weight found
    by hand. One variable for each user of each training realisation was tried, too, and trades them alike.
    """

    uses_beta: ClassVar[bool] = False
    adapts: ClassVar[bool] = True

    name: Literal["dual"] = "dual"
    target: float = Field(0.95, gt=0, lt=1, description="share of users that are to meet margin r_min in training")
    margin: float = Field(1.5, ge=0, le=1e3, description="r_min is multiplied by this in training")
    weight: float = Field(
        20.0, ge=0, le=_GREATEST_WEIGHT, description="lambda at the start; bit/s/Hz per bit/s/Hz of shortfall"
    )
    step: float = Field(10.0, gt=0, le=1e6, description="change of lambda per batch and unit of share")
    power_weight: float = Field(20.0, ge=0, le=1e6, description="of power above the budget; bit/s/Hz per P_max")

    def evaluate(
        self, rates: Tensor, excess_power: Tensor, beta: Tensor, min_rate: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `LossScheme.evaluate`; `beta` is not used."""
        least = self.margin * min_rate
        return penalised(rates, excess_power, least, weights, rate_weight=self.weight, power_weight=self.power_weight)

    def adapted(self, rates: Tensor, min_rate: float) -> Self:
        """See `LossScheme.adapted`: one step of dual ascent.

        >>> import torch
        >>> rates = torch.tensor([[0.5, 0.0], [2.0, 1.0]])
        >>> Dual(target=0.95, margin=1.0, weight=3.0, step=10.0).adapted(rates, min_rate=0.5).weight
        5.0
        """
        share = float((rates >= self.margin * min_rate).double().mean())
        weight = self.weight + self.step * (self.target - share)
        return self.model_copy(update={"weight": min(max(weight, 0.0), _GREATEST_WEIGHT)})
