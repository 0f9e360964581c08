"""Loss Baseline 3 of the paper (25)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cellfree_sim.downlink.scheme import LossScheme, objective
from cellfree_sim.scenario.extensions import LOSS_SCHEMES

if TYPE_CHECKING:
    from torch import Tensor


@LOSS_SCHEMES.register
class Exponential(LossScheme):
    """e^x on the objective and the rate constraints, Huber on the power constraints, joined by (16).

    This is `el` (Loss Scheme 2) without its linear branch. With x2 = 0 the two are the same function wherever x <= 0:
    always for the objective, and for every user that meets r_min. A user short of r_min has 0 < x <= r_min, 0.02 in the
    paper, where 1 + x and e^x differ by less than x^2 e^x / 2 = 2.1e-4, and their slopes by 2 %. The two schemes train
    alike: a gap between them, such as the paper's Table II shows, does not follow from the printed formulas.
    """

    uses_beta: ClassVar[bool] = True

    name: Literal["exponential"] = "exponential"
    x3: float = Field(0.11, gt=0, le=1e3, description="where the quadratic branch of Huber ends (13)")

    def evaluate(
        self, rates: Tensor, excess_power: Tensor, beta: Tensor, min_rate: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `LossScheme.evaluate`."""
        import torch

        from cellfree_sim.downlink import losses

        exponentials = torch.cat([objective(rates, weights), min_rate - rates], -1).exp()
        tasks = torch.cat([exponentials, losses.huber(excess_power, self.x3)], -1)
        return losses.joint_loss(tasks, beta), tasks
