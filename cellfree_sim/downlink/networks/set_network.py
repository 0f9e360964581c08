"""The set policy: one small network shared by all users and subcarriers, permutation-equivariant over both.

Letters: S realisations, N subcarriers, I users, T transmit antennas of the station, R receive antennas, F features.

1. Each link (n, i) is described by its log gain, its gain relative to other links, and its normalised covariances at
both
   ends; none depends on the unknown common phase of the user's channel.
2. Residual layers let links see the mean and the maximum over users, and the mean over subcarriers.
3. Heads give each link a share of the power (softmax over all links), the weights with which its directions are
protected
   from others' beams, and a phase. The beam is the regularised inverse of the station's own channels,

       w_ni ~ e^(j psi_ni) (I + sum_j a_nj u_nj u_nj^H + b_nj (H_nj H_nj^H - u_nj u_nj^H))^-1 u_ni,  u = H p,

   with p the dominant right singular vector of H, the user's best receive combiner; the share is put on its norm.
4. A link is allocated when its share exceeds `threshold` of an even split over subcarriers: softly in training,
   v = q^2 / (q^2 + threshold^2), hard in evaluation. The station's power is then exactly its budget.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cellfree_sim.downlink.networks.common import normalise_power, positive_weights
from cellfree_sim.downlink.policy import PolicyOutputs, PolicyShape

_TINY = 1e-12
_HEADS = 4  # power, protection of the dominant and of the other directions, phase


class SetNetwork(nn.Module):
    """Policy network for any number of users, subcarriers, receive antennas and stations; T is fixed by `shape`."""

    def __init__(self, shape: PolicyShape, width: int, layers: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.stations = shape.stations if shape.loss_weights else 0
        self.embed = nn.Linear(7 + shape.tx_antennas**2, width)
        self.layers = nn.ModuleList([SetLayer(width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.link_head = nn.Linear(width, _HEADS)
        with torch.no_grad():
            self.link_head.weight.mul_(0.3)
            self.link_head.bias.zero_()
        if self.stations:
            self.user_weight_head = nn.Linear(width, 1)
            self.common_weight_head = nn.Linear(width, 2)

    def forward(self, channel: Tensor) -> PolicyOutputs:
        """Channel [S, N, T, I, R] complex64 of one station to its decision."""
        links = channel.permute(0, 1, 3, 2, 4).contiguous()  # [S, N, I, T, R]
        with torch.no_grad():
            combined, covariance, features = describe_links(links)
        hidden = self.embed(features)
        for layer in self.layers:
            hidden = layer(hidden)
        hidden = self.norm(hidden)
        power, dominant, other, phase = self.link_head(hidden).unbind(-1)
        share = torch.softmax(power.flatten(1), -1).reshape(power.shape)
        allocation = self.allocate(share)
        beams = protected_beams(combined, covariance, functional.softplus(dominant), functional.softplus(other))
        beams = beams * torch.polar(share.sqrt(), phase).unsqueeze(2)
        return PolicyOutputs(normalise_power(beams, allocation), allocation, self.loss_weights(hidden))

    def allocate(self, share: Tensor) -> Tensor:
        """Allocation from the shares of power [S, N, I]; at least one link of each realisation is allocated."""
        relative = share * (share.shape[1] / self.threshold)
        if self.training:
            return relative.square() / (1.0 + relative.square())
        return ((relative > 1.0) | (share == share.amax((1, 2), keepdim=True))).to(share.dtype)

    def loss_weights(self, hidden: Tensor) -> Tensor:
        """beta [S, 1 + I + B] of (16), or [S, 0]; all stations share one weight, so that their number is free."""
        if not self.stations:
            return hidden.new_zeros(hidden.shape[0], 0)
        users = self.user_weight_head(hidden.mean(1)).squeeze(-1)
        objective, stations = self.common_weight_head(hidden.mean((1, 2))).split(1, -1)
        return positive_weights(torch.cat([objective, users, stations.expand(-1, self.stations)], -1))


class SetLayer(nn.Module):
    """h + W relu(W_0 z + W_1 [mean_i z, max_i z] + W_2 mean_n z), z = LayerNorm(h)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.own = nn.Linear(width, width)
        self.users = nn.Linear(2 * width, width, bias=False)
        self.subcarriers = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden [S, N, I, F] to the same shape."""
        z = self.norm(hidden)
        users = self.users(torch.cat([z.mean(2), z.amax(2)], -1)).unsqueeze(2)
        subcarriers = self.subcarriers(z.mean(1)).unsqueeze(1)
        update: Tensor = self.out(torch.relu(self.own(z) + users + subcarriers))
        return hidden + update


def describe_links(links: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of links [S, N, I, T, R]: combined u [S, N, I, T], covariance H H^H [S, N, I, T, T], features [S, N, I, F]."""
    gram = links.mH @ links  # [S, N, I, R, R]
    eigenvalues, eigenvectors = torch.linalg.eigh(gram)
    combiner = eigenvectors[..., -1]
    # The phase of an eigenvector is arbitrary. Signals of several stations add up at the user only where they agree on
    # one: the first receive antenna's.
    combiner = combiner * torch.polar(torch.ones_like(eigenvalues[..., 0]), -combiner[..., 0].angle()).unsqueeze(-1)
    combined = (links @ combiner.unsqueeze(-1)).squeeze(-1)
    covariance = links @ links.mH
    gain = gram.diagonal(dim1=-2, dim2=-1).real.sum(-1).clamp_min(_TINY)
    log_gain = gain.log10()
    best = log_gain.amax(2, keepdim=True)
    scale = links.shape[-2] / gain[..., None, None]
    rows, columns = torch.triu_indices(links.shape[-2], links.shape[-2], 1)
    upper = (covariance * scale)[..., rows, columns]
    neighbours = gram.diagonal(1, -2, -1).sum(-1) / gain
    scalars = [
        log_gain,
        log_gain - best,
        (best - best.mean(1, keepdim=True)).expand_as(log_gain),
        log_gain - log_gain.mean(1, keepdim=True),
        eigenvalues[..., -1] / gain,
        2.0 * neighbours.real,
        2.0 * neighbours.imag,
    ]
    diagonal = (covariance * scale).diagonal(dim1=-2, dim2=-1).real - 1.0
    return combined, covariance, torch.cat([torch.stack(scalars, -1), diagonal, upper.real, upper.imag], -1)


def protected_beams(combined: Tensor, covariance: Tensor, dominant: Tensor, other: Tensor) -> Tensor:
    """Unit beams [S, N, T, I] from the regularised inverse of the station's own channels (module docstring, 3)."""
    own = combined.unsqueeze(-1) * combined.conj().unsqueeze(-2)
    weighted = dominant[..., None, None] * own + other[..., None, None] * (covariance - own)
    matrix = weighted.sum(2) + torch.eye(combined.shape[-1], dtype=combined.dtype, device=combined.device)
    beams: Tensor = torch.linalg.solve(matrix, combined.transpose(2, 3))
    return beams / (torch.view_as_real(beams).square().sum((2, 4)).unsqueeze(2) + _TINY).sqrt()
