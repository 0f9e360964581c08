"""Loss Scheme 1 of the paper (14), as printed and with continuous branches."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cellfree_sim.downlink.scheme import LossScheme, objective
from cellfree_sim.scenario.extensions import LOSS_SCHEMES

if TYPE_CHECKING:
    from torch import Tensor


@LOSS_SCHEMES.register
class NegativeFractionLinear(LossScheme):
    """NFL on the objective and the rate constraints, Huber on the power constraints, joined by (16).

    `nfl` is (11) as printed, with its jump at x1; `nfl-tangent` lets the linear branch continue the fraction smoothly.
    Their gradients are the same, as the branches differ by a constant; what differs is the loss, and through it beta.
    """

    uses_beta: ClassVar[bool] = True

    name: Literal["nfl", "nfl-tangent"] = "nfl"
    x1: float = Field(-1.0, lt=0, ge=-1e3, description="where the linear branch of NFL begins (11)")
    x3: float = Field(0.11, gt=0, le=1e3, description="where the quadratic branch of Huber ends (13)")

    def evaluate(
        self, rates: Tensor, excess_power: Tensor, beta: Tensor, min_rate: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `LossScheme.evaluate`."""
        import torch

        from cellfree_sim.downlink import losses

        fraction = losses.nfl if self.name == "nfl" else losses.nfl_tangent
        minimised = torch.cat([objective(rates, weights), min_rate - rates], -1)
        tasks = torch.cat([fraction(minimised, self.x1), losses.huber(excess_power, self.x3)], -1)
        return losses.joint_loss(tasks, beta), tasks
