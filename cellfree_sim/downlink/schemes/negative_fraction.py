"""Loss Baseline 2 of the paper (24)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cellfree_sim.downlink.scheme import LossScheme, objective
from cellfree_sim.scenario.extensions import LOSS_SCHEMES

if TYPE_CHECKING:
    from torch import Tensor


@LOSS_SCHEMES.register
class NegativeFraction(LossScheme):
    """-1 / x on the objective and the rate constraints, Huber on the power constraints, joined by (16).

    This is `nfl` without its linear branch. -1 / x has a pole at x = 0, which is where a user's rate equals r_min: a
    user just short of r_min has a loss near minus infinity, one just above it a loss near infinity. So there is no
    minimum to converge to, and gradients near the pole drown those of all other tasks, that of the power included: a
    policy that does not keep the budget by itself (`paper`) overshoots it. The paper reports that this scheme does not
    converge. A loss that is not finite ends a run as diverged; rates mean something only after projection to the
    budget, which is how runs report them, beside the power taken before it.
    """

    uses_beta: ClassVar[bool] = True

    name: Literal["negative-fraction"] = "negative-fraction"
    x3: float = Field(0.11, gt=0, le=1e3, description="where the quadratic branch of Huber ends (13)")

    def evaluate(
        self, rates: Tensor, excess_power: Tensor, beta: Tensor, min_rate: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `LossScheme.evaluate`."""
        import torch

        from cellfree_sim.downlink import losses

        fractions = losses.negative_fraction(torch.cat([objective(rates, weights), min_rate - rates], -1))
        tasks = torch.cat([fractions, losses.huber(excess_power, self.x3)], -1)
        return losses.joint_loss(tasks, beta), tasks
