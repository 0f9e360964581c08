"""Dense policy networks: three hidden layers of 512, 1024 and 512 cells with batch normalisation and ReLU."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cellfree_sim.downlink.combining import unit_phase
from cellfree_sim.downlink.networks.common import normalise_power, positive_weights
from cellfree_sim.downlink.policy import PolicyOutputs, PolicyShape

_TINY = 1e-12


class DenseNetwork(nn.Module):
    """The paper's network with the choices that make it work.

    Input: for each subcarrier, user and receive antenna the log link gain log10(|h|^2) and the direction h / |h| of the
    channel over transmit antennas; a raw channel (paper) mixes magnitudes over many decades. The channel of each user
    and subcarrier is first turned so that its first entry is real and positive, and the beam is turned back: the common
    phase of a link is uniform and carries nothing, but a dense network would have to learn that. Output: complex beams
    of free scale, sigmoid allocations (soft in training, hard in evaluation, see `decided`), sigmoid loss weights.
    Power is normalised to the budget here, so that a station cannot violate it.
    """

    def __init__(self, shape: PolicyShape, hidden: tuple[int, ...], threshold: float | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.threshold = threshold
        inputs = shape.subcarriers * shape.users * shape.rx_antennas * (1 + 2 * shape.tx_antennas)
        links = shape.subcarriers * shape.users
        self.sizes = (2 * links * shape.tx_antennas, links, shape.loss_weights)
        self.trunk = dense_trunk(inputs, hidden)
        self.head = nn.Linear(hidden[-1], sum(self.sizes))

    def forward(self, channel: Tensor) -> PolicyOutputs:
        """Channel [S, N, T, I, R] complex64 of one station to its decision."""
        s = channel.shape[0]
        reference = unit_phase(channel[:, :, :1, :, 0])  # [S, N, 1, I]
        inputs = link_features(channel * reference.conj().unsqueeze(-1))
        beams, allocation, beta = self.head(self.trunk(inputs)).split(self.sizes, -1)
        n, t, i = self.shape.subcarriers, self.shape.tx_antennas, self.shape.users
        beams = torch.view_as_complex(beams.reshape(s, n, t, i, 2).contiguous()) * reference
        soft = torch.sigmoid(allocation).reshape(s, n, i)
        beams, allocation = (beams, soft) if self.training else decided(beams, soft, self.threshold)
        return PolicyOutputs(normalise_power(beams, allocation), allocation, positive_weights(beta))


class PaperNetwork(nn.Module):
    """The paper's network to the letter: scaled channel in, sigmoid out, binary allocation by a decision layer.

    Input: real and imaginary parts of the channel times `input_scale`. Output: sigmoids, mapped to beams whose real and
    imaginary parts lie within `beam_scale` of zero (a sigmoid alone could not make a negative part), to allocations and
    to loss weights. The decision layer rounds allocations in training too; its gradient is taken straight through.
    Power is left to the Huber task, which drives a station that starts far above its budget into silence, whence no
    gradient leads back.
    """

    def __init__(self, shape: PolicyShape, hidden: tuple[int, ...], input_scale: float, beam_scale: float) -> None:
        super().__init__()
        self.shape = shape
        self.input_scale = input_scale
        self.beam_scale = beam_scale
        links = shape.subcarriers * shape.users
        self.sizes = (2 * links * shape.tx_antennas, links, shape.loss_weights)
        self.trunk = dense_trunk(2 * links * shape.tx_antennas * shape.rx_antennas, hidden)
        self.head = nn.Linear(hidden[-1], sum(self.sizes))

    def forward(self, channel: Tensor) -> PolicyOutputs:
        """Channel [S, N, T, I, R] complex64 of one station to its decision."""
        s = channel.shape[0]
        inputs = self.input_scale * torch.view_as_real(channel).reshape(s, -1)
        beams, allocation, beta = self.head(self.trunk(inputs)).split(self.sizes, -1)
        n, t, i = self.shape.subcarriers, self.shape.tx_antennas, self.shape.users
        signed = 2.0 * torch.sigmoid(beams.reshape(s, n, t, i, 2).contiguous()) - 1.0
        beams = self.beam_scale * torch.view_as_complex(signed)
        soft = torch.sigmoid(allocation)
        decided = (soft > 0.5).to(soft.dtype)
        if self.training:
            decided = decided + soft - soft.detach()
        return PolicyOutputs(beams, decided.reshape(s, n, i), positive_weights(beta))


def dense_trunk(inputs: int, hidden: tuple[int, ...]) -> nn.Sequential:
    """Fully connected, batch normalisation, ReLU; once for each entry of `hidden`."""
    layers: list[nn.Module] = []
    for size_in, size_out in zip((inputs, *hidden[:-1]), hidden, strict=True):
        layers += [nn.Linear(size_in, size_out), nn.BatchNorm1d(size_out), nn.ReLU()]
    return nn.Sequential(*layers)


def link_features(channel: Tensor) -> Tensor:
    """Log gains and directions of all links, [S, N I R (1 + 2 T)], from a channel [S, N, T, I, R]."""
    gain = torch.view_as_real(channel).square().sum((2, -1)) + _TINY  # [S, N, I, R]
    direction = torch.view_as_real(channel * gain.rsqrt().unsqueeze(2)) * math.sqrt(channel.shape[2])
    return torch.cat([gain.log10().flatten(1), direction.flatten(1)], -1)


def decided(beams: Tensor, soft: Tensor, threshold: float | None) -> tuple[Tensor, Tensor]:
    """Beams [S, N, T, I] and 0/1 allocation [S, N, I] in evaluation, from beams and soft allocation.

    Without a threshold, what is above 1/2 is served with the beam as it is (the paper's rounding): a link that training
    sent with half its amplitude is then sent with all of it. With one, each link above it is served with the amplitude
    that it had in training, which the beam takes over; only what lies below is lost. The largest is always served, so
    that no station falls silent.
    """
    hard = (soft > (0.5 if threshold is None else threshold)) | (soft == soft.amax((-2, -1), keepdim=True))
    return beams if threshold is None else beams * soft.unsqueeze(2), hard.to(soft.dtype)
