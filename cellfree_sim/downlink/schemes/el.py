"""Loss Scheme 2 of the paper (15)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cellfree_sim.downlink.scheme import LossScheme, objective
from cellfree_sim.scenario.extensions import LOSS_SCHEMES

if TYPE_CHECKING:
    from torch import Tensor


@LOSS_SCHEMES.register
class ExponentialLinear(LossScheme):
    """EL on the objective and the rate constraints, Huber on the power constraints, joined by (16).

    With x2 = 0 it is the same function as Loss Baseline 3 (25), `exponential`, where rates exceed r_min, and nearly so
    elsewhere: the two train alike. At sum rates R of 20 bit/s/Hz the objective's gradient e^-R is zero in practice.
    """

    uses_beta: ClassVar[bool] = True

    name: Literal["el"] = "el"
    x2: float = Field(0.0, ge=-1e2, le=1e1, description="where the linear branch of EL begins (12)")
    x3: float = Field(0.11, gt=0, le=1e3, description="where the quadratic branch of Huber ends (13)")

    def evaluate(
        self, rates: Tensor, excess_power: Tensor, beta: Tensor, min_rate: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `LossScheme.evaluate`."""
        import torch

        from cellfree_sim.downlink import losses

        minimised = torch.cat([objective(rates, weights), min_rate - rates], -1)
        tasks = torch.cat([losses.el(minimised, self.x2), losses.huber(excess_power, self.x3)], -1)
        return losses.joint_loss(tasks, beta), tasks
