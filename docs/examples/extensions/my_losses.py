"""A loss scheme: the worst user counts most."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cellfree_sim.downlink.scheme import LossScheme

if TYPE_CHECKING:
    from torch import Tensor


class Fair(LossScheme):
    """Joint loss -sum_i alpha_i log(offset + r_i) plus penalties: proportional fairness, without learned weights."""

    uses_beta: ClassVar[bool] = False

    offset: float = Field(0.1, gt=0, le=10, description="bit/s/Hz; the smaller, the more the worst user counts")
    weight: float = Field(20.0, ge=0, le=1e6, description="of a violated constraint")

    def evaluate(
        self, rates: Tensor, excess_power: Tensor, beta: Tensor, min_rate: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `LossScheme.evaluate`; `beta` is not used."""
        import torch

        utility = (self.offset + rates).log()
        objective = -(utility if weights is None else utility * weights).sum(-1, keepdim=True)
        short = self.weight * torch.relu(min_rate - rates)
        over = self.weight * torch.relu(excess_power)
        tasks = torch.cat([objective, short, over], -1)
        return tasks.sum(-1), tasks
