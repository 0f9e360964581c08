"""Dense networks that decide for all stations at once: the paper's CMTSSL network, as printed and as it works better.

Letters: S realisations, B stations, N subcarriers, I users, T transmit antennas of a station, R receive antennas.
Input and output are B times as long as those of one station's network; the hidden layers are the same. To a dense
network, a subcarrier of another station is one more subcarrier, so that the parts for one station serve for B as well.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from cellfree_sim.downlink.combining import unit_phase
from cellfree_sim.downlink.networks.common import by_station, normalise_power, positive_weights
from cellfree_sim.downlink.networks.dense import PaperNetwork, decided, dense_trunk, link_features
from cellfree_sim.downlink.policy import PolicyOutputs, PolicyShape


class CentralDenseNetwork(nn.Module):
    """`DenseNetwork` for all stations: log gains and directions in; each station's power normalised to its budget.

    The channel of each station, subcarrier and user is turned by a phase of its own, as in `DenseNetwork`, and the
    beam is turned back: what a station sends to its own users does not depend on it.
    """

    def __init__(self, shape: PolicyShape, hidden: tuple[int, ...], threshold: float | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.threshold = threshold
        links = shape.stations * shape.subcarriers * shape.users
        inputs = links * shape.rx_antennas * (1 + 2 * shape.tx_antennas)
        self.sizes = (2 * links * shape.tx_antennas, links, shape.loss_weights)
        self.trunk = dense_trunk(inputs, hidden)
        self.head = nn.Linear(hidden[-1], sum(self.sizes))

    def forward(self, channel: Tensor) -> PolicyOutputs:
        """Channel [S, B, N, T, I, R] complex64 of all stations to their decisions."""
        s, b, n, t, i, _ = channel.shape
        flat = channel.flatten(1, 2)  # [S, B N, T, I, R]
        reference = unit_phase(flat[:, :, :1, :, 0])
        inputs = link_features(flat * reference.conj().unsqueeze(-1))
        beams, allocation, beta = self.head(self.trunk(inputs)).split(self.sizes, -1)
        beams = torch.view_as_complex(beams.reshape(s, b * n, t, i, 2).contiguous()) * reference
        beams, soft = beams.reshape(s * b, n, t, i), torch.sigmoid(allocation).reshape(s * b, n, i)
        beams, allocation = (beams, soft) if self.training else decided(beams, soft, self.threshold)
        beams = normalise_power(beams, allocation)
        return PolicyOutputs(by_station(beams, (s, b)), by_station(allocation, (s, b)), positive_weights(beta))


class CentralPaperNetwork(nn.Module):
    """`PaperNetwork` for all stations: to the letter, power left to the Huber tasks."""

    def __init__(self, shape: PolicyShape, hidden: tuple[int, ...], input_scale: float, beam_scale: float) -> None:
        super().__init__()
        flat = replace(shape, subcarriers=shape.stations * shape.subcarriers)
        self.network = PaperNetwork(flat, hidden, input_scale, beam_scale)

    def forward(self, channel: Tensor) -> PolicyOutputs:
        """Channel [S, B, N, T, I, R] complex64 of all stations to their decisions."""
        s, b, n, t, i, _ = channel.shape
        beams, allocation, beta = self.network(channel.flatten(1, 2))
        return PolicyOutputs(beams.reshape(s, b, n, t, i), allocation.reshape(s, b, n, i), beta)
