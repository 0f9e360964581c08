"""What every loss scheme is: it turns rates and powers into task losses and one joint loss per realisation."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

from cellfree_sim.registry import Named

if TYPE_CHECKING:
    from torch import Tensor


class LossScheme(Named):
    """Options of a loss scheme.

    The tasks are those of (8) to (10), in this order: the objective f = -sum_i alpha_i r_i, the rate constraints
    g_i = r_min - r_i of the I users, and the power constraints l_b = power_b - P_max of the B stations.

    Attributes:
        uses_beta: whether the joint loss has learned weights; where not, policies have no beta head (K = 0).
        adapts: whether it changes in training (`adapted`).
    """

    uses_beta: ClassVar[bool]
    adapts: ClassVar[bool] = False

    @abstractmethod
    def evaluate(
        self, rates: Tensor, excess_power: Tensor, beta: Tensor, min_rate: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Joint loss and task losses of each realisation.

        Args:
            rates: r, [S, I], bit/s/Hz.
            excess_power: l, [S, B], power minus budget in units of the budget.
            beta: mean of the stations' learned weights (20), [S, K]; K = 1 + I + B, or 0 where `uses_beta` is false.
            min_rate: r_min, bit/s/Hz.
            weights: alpha, [I]; all 1 by default.

        Returns:
            The joint loss [S], to be averaged over the batch (18), and the task losses [S, 1 + I + B].
        """

    def adapted(self, rates: Tensor, min_rate: float) -> Self:
        """The scheme of the next batch, given the rates [S, I] that this batch had; by default, it stays as it is."""
        return self


def penalised(
    rates: Tensor,
    excess_power: Tensor,
    min_rate: float,
    weights: Tensor | None,
    *,
    rate_weight: float,
    power_weight: float,
) -> tuple[Tensor, Tensor]:
    """f + rate_weight sum_i max(0, r_min - r_i) + power_weight sum_b max(0, l_b), [S], and the tasks."""
    import torch

    shortfall = rate_weight * torch.relu(min_rate - rates)
    tasks = torch.cat([objective(rates, weights), shortfall, power_weight * torch.relu(excess_power)], -1)
    return tasks.sum(-1), tasks


def objective(rates: Tensor, weights: Tensor | None) -> Tensor:
    """f = -sum_i alpha_i r_i, [S, 1]."""
    weighted = rates if weights is None else rates * weights
    return -weighted.sum(-1, keepdim=True)
