"""Loss Baseline 1 of the paper (23)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from cellfree_sim.downlink.scheme import LossScheme, objective
from cellfree_sim.scenario.extensions import LOSS_SCHEMES

if TYPE_CHECKING:
    from torch import Tensor


@LOSS_SCHEMES.register
class Linear(LossScheme):
    """The objective, the rate constraints and the power constraints themselves, joined by (16). No hyper-parameters.

    Nothing holds the power at its budget: with a weight in the joint loss, and no more, it is traded against rate. A
    policy that does not keep the budget by itself (`paper`) therefore overshoots it, and its learned weights run to
    their floor, as most losses are negative; the paper reports that this scheme does not converge. Its rates mean
    something only after projection to the budget, which is how runs report them, beside the power taken before it.
    """

    uses_beta: ClassVar[bool] = True

    name: Literal["linear"] = "linear"

    def evaluate(
        self, rates: Tensor, excess_power: Tensor, beta: Tensor, min_rate: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `LossScheme.evaluate`."""
        import torch

        from cellfree_sim.downlink import losses

        tasks = torch.cat([objective(rates, weights), min_rate - rates, excess_power], -1)
        return losses.joint_loss(tasks, beta), tasks
