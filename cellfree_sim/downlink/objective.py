"""The joint loss of a mini-batch, (16) and (18), as all that learn compute it.

S realisations, B stations, N subcarriers, T transmit antennas, I users, R receive antennas, K loss weights. Noise power
and power budget are 1 (see `cellfree_sim.backhaul.messages`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from cellfree_sim.downlink.rates import station_power, user_rates

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.downlink.scheme import LossScheme


class BatchLoss(NamedTuple):
    """Loss and figures of merit of a mini-batch.

    Attributes:
        joint: mini-batch average of the joint loss, scalar (18).
        tasks: batch means of the task losses [1 + I + B]: objective, users, stations.
        rates: per-user rates [S, I], bit/s/Hz.
        power: radiated power of each station [S, B], in units of its budget.
    """

    joint: Tensor
    tasks: Tensor
    rates: Tensor
    power: Tensor


@dataclass(frozen=True)
class Objective:
    """Loss scheme and minimum rate r_min of a scenario."""

    scheme: LossScheme
    min_rate_bps_hz: float

    def __call__(
        self, beams_SBNTI: Tensor, allocation_SBNI: Tensor, beta_SK: Tensor, channel_SBNTIR: Tensor
    ) -> BatchLoss:
        """Joint loss of a batch, with `beta` already averaged over stations as in (20)."""
        rates_SI = user_rates(beams_SBNTI, allocation_SBNI, channel_SBNTIR)
        power_SB = station_power(beams_SBNTI, allocation_SBNI)
        joint_S, tasks = self.scheme.evaluate(rates_SI, power_SB - 1.0, beta_SK, self.min_rate_bps_hz)
        return BatchLoss(joint_S.mean(), tasks.detach().mean(0), rates_SI.detach(), power_SB.detach())

    def after(self, loss: BatchLoss) -> Objective:
        """The objective of the next batch; another one only where the loss scheme adapts."""
        return replace(self, scheme=self.scheme.adapted(loss.rates, self.min_rate_bps_hz))

    def state(self) -> dict[str, Any]:
        """The loss scheme as it is now, for a checkpoint."""
        return self.scheme.model_dump(mode="json")

    def restored(self, state: Mapping[str, Any]) -> Objective:
        """The objective whose `state` it was."""
        return replace(self, scheme=type(self.scheme).model_validate(state))


def stack_stations(parts: list[Tensor]) -> Tensor:
    """Stack per-station tensors [S, …] in roster order into [S, B, …]."""
    return torch.stack(parts, dim=1)
