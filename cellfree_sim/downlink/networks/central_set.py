"""The central set policy: one small network for all links of all stations, permutation-equivariant over all three axes.

Letters: S realisations, B stations, N subcarriers, I users, T transmit antennas of a station, R receive antennas, F
features. Links, layers and beams are those of `set_network`, station by station. What only the MBS can know comes in by
four ways:

1. A link is also described by its gain relative to the user's best station, and to the user's gains at all stations.
2. In each layer, a link sees the same user's links to the other stations (attention weights), the users of all
   stations together, and, for each user, the mean over stations.
3. So the heads of one station know whom the others serve: they leave such users alone, or help them, and protect them
   from their own beams.
4. `refinements` times, all beams are taken through one step of the weighted-MMSE algorithm (`refinement`), which sees
   the signals of all stations add up at each user; a further head gives the users' priorities. The shares of power that
   the links then have decide the allocation, as in `set_network`, and the directions are those of the refined beams.

The loss weights of the stations come from one head as well. No parameter depends on B, N, I or R.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cellfree_sim.downlink.combining import combine_links
from cellfree_sim.downlink.networks.common import by_station, normalise_power, positive_weights
from cellfree_sim.downlink.networks.refinement import refine_beams
from cellfree_sim.downlink.networks.set_network import (
    GROUPS,
    INITIAL_HEAD_SCALE,
    SetNetwork,
    describe_links,
    protected_beams,
    spatial_overlap,
)
from cellfree_sim.downlink.policy import PolicyOutputs, PolicyShape

CENTRAL_FEATURES = 2
_TINY = 1e-20


class CentralSetNetwork(SetNetwork):
    """Central network for any number of stations, users, subcarriers and receive antennas; T is fixed by `shape`."""

    def __init__(self, shape: PolicyShape, width: int, layers: int, threshold: float, refinements: int) -> None:
        super().__init__(shape, width, 0, threshold)
        self.refinements = refinements
        self.embed = nn.Linear(self.embed.in_features + CENTRAL_FEATURES, width)
        self.layers = nn.ModuleList([CentralSetLayer(width) for _ in range(layers)])
        if refinements:
            self.priority_head = nn.Linear(width, 1)
            with torch.no_grad():
                self.priority_head.weight.mul_(INITIAL_HEAD_SCALE)
                self.priority_head.bias.zero_()
        if self.stations:
            self.common_weight_head = nn.Linear(width, 1)
            self.station_weight_head = nn.Linear(width, 1)

    def forward(self, channel: Tensor) -> PolicyOutputs:
        """Channel [S, B, N, T, I, R] complex64 of all stations to their decisions."""
        apart = (channel.shape[0], channel.shape[1])
        with torch.no_grad():
            links = channel.flatten(0, 1).permute(0, 1, 3, 2, 4).contiguous()  # [S B, N, I, T, R]
            combined = combine_links(links)
            covariance = links @ links.mH
            own = by_station(describe_links(combined, covariance), apart)
            features = torch.cat([own, describe_among_stations(own[..., 0])], -1)
            overlap = by_station(spatial_overlap(combined.effective), apart)
        hidden = self.embed(features)
        for layer in self.layers:
            hidden = layer(hidden, overlap)
        hidden = self.norm(hidden)  # [S, B, N, I, F]
        power, dominant, other, phase = self.link_head(hidden.flatten(0, 1)).unbind(-1)
        share = torch.softmax(power.flatten(1), -1).reshape(power.shape)
        directions = protected_beams(
            combined.effective, covariance, functional.softplus(dominant), functional.softplus(other)
        )
        directions = directions * torch.polar(torch.ones_like(phase), phase).unsqueeze(2)
        if self.refinements:
            directions, share = self.refine(directions, share, channel, hidden)
        allocation, amplitude = self.allocate(share)
        beams = normalise_power(directions * amplitude.unsqueeze(2), allocation)
        return PolicyOutputs(by_station(beams, apart), by_station(allocation, apart), self.loss_weights(hidden))

    def refine(self, directions: Tensor, share: Tensor, channel: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Unit beams [S B, N, T, I] and shares of power [S B, N, I] after the steps of `refine_beams`."""
        apart = (channel.shape[0], channel.shape[1])
        relative = (share * (share.shape[1] / self.threshold)).square()
        sent = directions * (share.sqrt() * relative / (1.0 + relative)).unsqueeze(2)  # as is sent in training
        beams = by_station(normalise_power(sent, torch.ones_like(share)), apart).to(torch.complex128)
        wide = channel.to(torch.complex128)
        priority = self.priority_head(hidden.mean(1)).squeeze(-1).exp().double()
        for _ in range(self.refinements):
            beams = refine_beams(beams, wide, priority)
            power = torch.view_as_real(beams).square().sum((2, 3, 4, 5)) + _TINY
            beams = beams * power.rsqrt()[:, :, None, None, None]
        narrow = beams.to(channel.dtype).flatten(0, 1)
        power = torch.view_as_real(narrow).square().sum((2, 4)) + _TINY
        return narrow * power.rsqrt().unsqueeze(2), power / power.sum((1, 2), keepdim=True)

    def loss_weights(self, hidden: Tensor) -> Tensor:
        """beta [S, 1 + I + B] of (16), or [S, 0]."""
        if not self.stations:
            return hidden.new_zeros(hidden.shape[0], 0)
        users = self.user_weight_head(hidden.mean((1, 2))).squeeze(-1)
        stations = self.station_weight_head(hidden.mean((2, 3))).squeeze(-1)
        objective = self.common_weight_head(hidden.mean((1, 2, 3)))
        return positive_weights(torch.cat([objective, users, stations], -1))


class CentralSetLayer(nn.Module):
    """As `SetLayer`, with three more terms: of the same user and subcarrier at all stations, W_4 sum_b d_b z_b, where d
    is a softmax over stations; of the users of all stations; and of the user's mean over stations and subcarriers.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, 2 * GROUPS)
        self.own = nn.Linear(width, width)
        self.users = nn.Linear(width, width, bias=False)
        self.neighbours = nn.Linear(width, width, bias=False)
        self.subcarriers = nn.Linear(width, width, bias=False)
        self.stations = nn.Linear(width, width, bias=False)
        self.network = nn.Linear(width, width, bias=False)
        self.user = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, hidden: Tensor, overlap: Tensor) -> Tensor:
        """Hidden [S, B, N, I, F] and overlap [S, B, N, I, I] to hidden."""
        z = self.norm(hidden)
        among_users, among_stations = self.score(z).split(GROUPS, -1)
        groups = z.unflatten(-1, (GROUPS, -1))
        weighted = (groups * torch.softmax(among_users, 3).unsqueeze(-1)).flatten(-2)
        of_user = (groups * torch.softmax(among_stations, 1).unsqueeze(-1)).flatten(-2).sum(1, keepdim=True)
        crowd = weighted.sum(3, keepdim=True)
        over_subcarriers = z.mean(2, keepdim=True)
        mixed = (
            self.own(z)
            + self.neighbours(overlap @ weighted)
            + self.users(crowd)
            + self.subcarriers(over_subcarriers)
            + self.stations(of_user)
            + self.network(crowd.mean(1, keepdim=True))
            + self.user(over_subcarriers.mean(1, keepdim=True))
        )
        update: Tensor = self.out(torch.relu(mixed))
        return hidden + update


def describe_among_stations(log_gain: Tensor) -> Tensor:
    """Features [S, B, N, I, 2] of log gains [S, B, N, I]: below the user's best station, and below all its stations."""
    best = log_gain.amax(1, keepdim=True)
    total = (10.0 ** (log_gain - best)).sum(1, keepdim=True).log10() + best
    return torch.stack([log_gain - best, log_gain - total], -1)
