"""The set policy: one small network shared by all users and subcarriers, permutation-equivariant over both.

Letters: S realisations, N subcarriers, I users, T transmit antennas of the station, R receive antennas, F features.

1. Each link (n, i) is described by its log gain, its gain relative to other links, and its normalised covariance at the
   station; none depends on the unknown common phase of a user's channel.
2. Residual layers let links see the users that matter (attention weights), those of them that overlap in space, and the
   mean over subcarriers.
3. Heads give each link a share q of the power (softmax over all links), two weights a, b with which its directions are
   protected from others' beams, and a phase psi. The beam is a regularised inverse of the station's own channels,

       w_ni ~ e^(j psi_ni) (I + sum_j a_nj u_nj u_nj^H + b_nj (H_nj H_nj^H - u_nj u_nj^H))^-1 u_ni,

   with u = H p the effective channel of `combine_links`.
4. A link is allocated as far as its share exceeds t = threshold / N, a part of an even split over subcarriers: softly
   in training, v = q^2 / (q^2 + t^2); in evaluation, v = 1 where q > t, and the beams take over the factor
   q^2 / (q^2 + t^2), so that training and evaluation send the same but for links below the threshold. Without that,
   the many links near the threshold would double their amplitude in evaluation, at the cost of the strong ones.
5. The beams are scaled to use exactly the power budget.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cellfree_sim.downlink.combining import CombinedLinks, combine_links
from cellfree_sim.downlink.networks.common import normalise_power, positive_weights
from cellfree_sim.downlink.policy import PolicyOutputs, PolicyShape

_TINY = 1e-20
_SCALARS = 7  # features of a link beside its covariance
_HEADS = 4  # power, protection of the dominant and of the other directions, phase
INITIAL_HEAD_SCALE = 0.3
_LOADING = 1e-4  # of the mean eigenvalue, so that the inverse stays accurate in float32 70 dB above noise
GROUPS = 4  # attention weights of a layer; each weighs a quarter of the features


class SetNetwork(nn.Module):
    """Policy network for any number of users, subcarriers, receive antennas and stations; T is fixed by `shape`."""

    def __init__(self, shape: PolicyShape, width: int, layers: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.stations = shape.stations if shape.loss_weights else 0
        self.embed = nn.Linear(_SCALARS + shape.tx_antennas**2, width)
        self.layers = nn.ModuleList([SetLayer(width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.link_head = nn.Linear(width, _HEADS)
        with torch.no_grad():
            self.link_head.weight.mul_(INITIAL_HEAD_SCALE)
            self.link_head.bias.zero_()
        if self.stations:
            self.user_weight_head = nn.Linear(width, 1)
            self.common_weight_head = nn.Linear(width, 2)

    def forward(self, channel: Tensor) -> PolicyOutputs:
        """Channel [S, N, T, I, R] complex64 of one station to its decision."""
        links = channel.permute(0, 1, 3, 2, 4).contiguous()  # [S, N, I, T, R]
        with torch.no_grad():
            combined = combine_links(links)
            covariance = links @ links.mH
            features = describe_links(combined, covariance)
            overlap = spatial_overlap(combined.effective)
        hidden = self.embed(features)
        for layer in self.layers:
            hidden = layer(hidden, overlap)
        hidden = self.norm(hidden)
        power, dominant, other, phase = self.link_head(hidden).unbind(-1)
        share = torch.softmax(power.flatten(1), -1).reshape(power.shape)
        allocation, amplitude = self.allocate(share)
        beams = protected_beams(
            combined.effective, covariance, functional.softplus(dominant), functional.softplus(other)
        )
        beams = beams * torch.polar(amplitude, phase).unsqueeze(2)
        return PolicyOutputs(normalise_power(beams, allocation), allocation, self.loss_weights(hidden))

    def allocate(self, share: Tensor) -> tuple[Tensor, Tensor]:
        """Allocation and amplitude of each link from the shares of power [S, N, I]; the largest is always allocated."""
        relative = (share * (share.shape[1] / self.threshold)).square()
        soft = relative / (1.0 + relative)
        if self.training:
            return soft, share.sqrt()
        hard = (relative > 1.0) | (share == share.amax((1, 2), keepdim=True))
        return hard.to(share.dtype), share.sqrt() * soft

    def loss_weights(self, hidden: Tensor) -> Tensor:
        """beta [S, 1 + I + B] of (16), or [S, 0]; all stations share one weight, so that their number is free."""
        if not self.stations:
            return hidden.new_zeros(hidden.shape[0], 0)
        users = self.user_weight_head(hidden.mean(1)).squeeze(-1)
        objective, stations = self.common_weight_head(hidden.mean((1, 2))).split(1, -1)
        return positive_weights(torch.cat([objective, users, stations.expand(-1, self.stations)], -1))


class SetLayer(nn.Module):
    """h + W relu(W_0 z_i + W_1 sum_j e_j z_j + W_2 sum_j rho_ij e_j z_j + W_3 mean_n z_i), z = LayerNorm(h).

    e is a softmax over users, by group of features, and rho the spatial overlap of two users: the network sees who is
    strong, and who among the strong stands in the same direction.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, GROUPS)
        self.own = nn.Linear(width, width)
        self.users = nn.Linear(width, width, bias=False)
        self.neighbours = nn.Linear(width, width, bias=False)
        self.subcarriers = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, hidden: Tensor, overlap: Tensor) -> Tensor:
        """Hidden [S, N, I, F] and overlap [S, N, I, I] to hidden."""
        z = self.norm(hidden)
        attention = torch.softmax(self.score(z), 2).unsqueeze(-1)
        weighted = (z.unflatten(-1, (GROUPS, -1)) * attention).flatten(-2)
        users = self.users(weighted.sum(2)).unsqueeze(2)
        subcarriers = self.subcarriers(z.mean(1)).unsqueeze(1)
        mixed = self.own(z) + self.neighbours(overlap @ weighted) + users + subcarriers
        update: Tensor = self.out(torch.relu(mixed))
        return hidden + update


def describe_links(combined: CombinedLinks, covariance: Tensor) -> Tensor:
    """Features [S, N, I, 7 + T^2] of links with covariances H H^H [S, N, I, T, T]."""
    t = covariance.shape[-1]
    gain = combined.gram.diagonal(dim1=-2, dim2=-1).real.sum(-1).clamp_min(_TINY)
    log_gain = gain.log10()
    best = log_gain.amax(2, keepdim=True)
    correlation = combined.gram.diagonal(1, -2, -1).sum(-1) / gain  # of neighbouring receive antennas
    scalars = [
        log_gain,
        log_gain - best,
        (best - best.mean(1, keepdim=True)).expand_as(log_gain),
        log_gain - log_gain.mean(1, keepdim=True),
        combined.eigenvalue / gain,
        2.0 * correlation.real,
        2.0 * correlation.imag,
    ]
    normalised = covariance * (t / gain[..., None, None])
    diagonal = normalised.diagonal(dim1=-2, dim2=-1).real - 1.0
    rows, columns = torch.triu_indices(t, t, 1)
    upper = torch.view_as_real(normalised[..., rows, columns]).flatten(-2)
    return torch.cat([torch.stack(scalars, -1), diagonal, upper], -1)


def spatial_overlap(effective: Tensor) -> Tensor:
    """rho_ij = |u_i^H u_j|^2 / (|u_i|^2 |u_j|^2), [S, N, I, I], with a zero diagonal, from u [S, N, I, T]."""
    power = torch.view_as_real(effective).square().sum((-1, -2), keepdim=True)[..., 0] + _TINY
    unit = effective * power.rsqrt()
    overlap = torch.view_as_real(unit @ unit.mH).square().sum(-1)
    users = torch.arange(effective.shape[-2], device=effective.device)
    overlap[..., users, users] = 0
    return overlap


def protected_beams(effective: Tensor, covariance: Tensor, dominant: Tensor, other: Tensor) -> Tensor:
    """Unit beams [S, N, T, I] from the regularised inverse of the station's own channels (module docstring, 3).

    Args:
        effective: u, [S, N, I, T].
        covariance: H H^H, [S, N, I, T, T].
        dominant: a, [S, N, I], non-negative.
        other: b, [S, N, I], non-negative.
    """
    t = effective.shape[-1]
    own = effective.unsqueeze(-1) * effective.conj().unsqueeze(-2)
    matrix = weighted_sum(dominant, own) + weighted_sum(other, covariance - own)
    loading = 1.0 + _LOADING * matrix.diagonal(dim1=-2, dim2=-1).real.mean(-1)
    matrix = matrix + loading[..., None, None] * torch.eye(t, dtype=effective.dtype, device=effective.device)
    beams = torch.linalg.solve(matrix, effective.mT)
    power = torch.view_as_real(beams).square().sum((2, 4)).unsqueeze(2) + _TINY
    unit: Tensor = beams * power.rsqrt()
    return unit


def weighted_sum(weights: Tensor, matrices: Tensor) -> Tensor:
    """sum_i weights[..., i] matrices[..., i, :, :], real weights and complex matrices, as one real matrix product."""
    s, n, i, t, _ = matrices.shape
    flat = torch.view_as_real(matrices).reshape(s, n, i, 2 * t * t)
    return torch.view_as_complex((weights.unsqueeze(2) @ flat).reshape(s, n, t, t, 2))
