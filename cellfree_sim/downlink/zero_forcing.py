"""Subcarrier allocation without learning, and zero-forcing beams from each station's own channel.

Letters: S realisations, B stations, N subcarriers, T transmit antennas, I users, R receive antennas, K users served
by a station on a subcarrier.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cellfree_sim.downlink.combining import combine_links


def greedy_allocation(channel: Tensor, users_per_subcarrier: int = 1) -> Tensor:
    """0/1 allocation [S, B, N, I]: on each subcarrier, each station serves the users with the largest |H_ni^b|_F^2.

    >>> gains = torch.tensor([1.0, 3.0, 2.0]).reshape(1, 1, 1, 1, 3, 1) + 0j
    >>> greedy_allocation(gains, users_per_subcarrier=2)
    tensor([[[[0., 1., 1.]]]])
    """
    quality = torch.view_as_real(channel).square().sum((3, 5, 6))  # [S, B, N, I]
    return _marked(quality, users_per_subcarrier)


def random_allocation(channel: Tensor, users_per_subcarrier: int, seed: int) -> Tensor:
    """0/1 allocation [S, B, N, I]: on each subcarrier, each station serves users drawn uniformly, none twice."""
    s, b, n, _, i, _ = channel.shape
    generator = torch.Generator().manual_seed(seed)
    quality = torch.rand(s, b, n, i, generator=generator).to(channel.device)
    return _marked(quality, users_per_subcarrier)


def zero_forcing_beams(channel: Tensor, allocation: Tensor) -> Tensor:
    """Beams [S, B, N, T, I] that null the interference among the users a station serves on a subcarrier; equal power.

    A user's R antennas are combined along p, the dominant right singular vector of its own H_ni^b, with the phase at
    which its first entry is real and positive (a convention under which the stations' signals add up at that
    antenna). With G [T, K] the effective channels H p of the users served, the beams are the columns of the
    pseudo-inverse G (G^H G)^-1, each scaled to its part of the power: P_max / N for each subcarrier, split evenly
    over its K users. With one user this is the dominant eigen-direction, i.e. maximum ratio transmission. With more
    users than antennas, interference cannot be nulled and the pseudo-inverse (least squares) remains.

    Args:
        channel: [S, B, N, T, I, R] complex64.
        allocation: [S, B, N, I], 0 or 1.
    """
    effective = combine_links(channel.transpose(3, 4)).effective.mT * allocation.unsqueeze(3)  # [S, B, N, T, I]
    beams: Tensor = torch.linalg.pinv(effective, rtol=1e-5).mH
    norm = torch.linalg.vector_norm(beams, dim=3, keepdim=True).clamp_min(1e-30)
    served = allocation.sum(-1, keepdim=True).clamp_min(1.0) * allocation.shape[2]
    powered: Tensor = beams / norm * (allocation / served.sqrt()).unsqueeze(3)
    return powered


def _marked(quality: Tensor, count: int) -> Tensor:
    best = quality.topk(min(count, quality.shape[-1]), dim=-1).indices
    return torch.zeros_like(quality).scatter_(-1, best, 1.0)
