"""The network of `my_policies`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellfree_sim.downlink.networks.common import normalise_power, positive_weights
from cellfree_sim.downlink.policy import PolicyOutputs, PolicyShape


class Shares(nn.Module):
    """Channel [S, N, T, I, R] complex64 of one station to its decision."""

    def __init__(self, shape: PolicyShape, width: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )
        self.beta = nn.Parameter(torch.zeros(shape.loss_weights))

    def forward(self, channel: Tensor) -> PolicyOutputs:
        """See `PolicyOutputs`."""
        gains = channel.abs().square().sum((2, 4))  # [S, N, I]
        features = (gains + 1e-9).log10()
        around = features.mean((1, 2), keepdim=True), features.amax((1, 2), keepdim=True)
        inputs = torch.stack([features, *(features - each for each in around)], -1)
        soft = self.network(inputs).squeeze(-1).sigmoid()
        matched = channel[..., 0].conj()  # [S, N, T, I]
        beams = matched / matched.abs().square().sum(2, keepdim=True).add(1e-20).sqrt()
        if self.training:
            allocation = soft
        else:  # the links that get most, with the amplitudes that they had in training
            allocation = (soft >= 0.5 * soft.amax((1, 2), keepdim=True)).to(soft.dtype)
            beams = beams * soft.unsqueeze(2)
        beta = positive_weights(self.beta).expand(len(channel), -1)
        return PolicyOutputs(normalise_power(beams, allocation), allocation, beta)
