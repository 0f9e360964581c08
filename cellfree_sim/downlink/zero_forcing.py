"""Subcarrier allocation without learning, and zero-forcing beams from each station's own channel.

The paper's baselines are printed as "zero-force beamforming with equal power allocation", with the operations of a
pseudo-inverse over the antennas of all users. `literal_beams` is that; `zero_forcing_beams` nulls what can be nulled,
among the users that are served, and is far stronger.

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


def random_subsets(channel: Tensor, seed: int) -> Tensor:
    """0/1 allocation [S, B, N, I]: each entry is a fair coin; where all are 0 on a subcarrier, a random one is set."""
    s, b, n, _, i, _ = channel.shape
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(s, b, n, i, generator=generator).to(channel.device)
    return ((drawn > 0.5) | (drawn == drawn.amax(-1, keepdim=True))).to(channel.real.dtype)


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


def literal_beams(channel: Tensor, allocation: Tensor) -> Tensor:
    """Beams [S, B, N, T, I] from the pseudo-inverse over the antennas of all users, served or not; equal power.

    With G = [H_n1^b ... H_nI^b] [T, I R], the pseudo-inverse G (G^H G)^+ has one column per user antenna. Where
    I R <= T it reaches that antenna and no other. Where not, as in the paper's own configuration (20 antennas against
    4), (G^H G)^-1 does not exist, nothing is nulled, and what remains is the least-squares solution. How a user's R
    columns become its one beam is not printed: here it is their sum, meant to reach all antennas of the user with one
    amplitude and phase. All beams get the same power, P_max divided by the number of users served on all subcarriers
    together.

    Args:
        channel: [S, B, N, T, I, R] complex64.
        allocation: [S, B, N, I], 0 or 1.
    """
    s, b, n, t, i, r = channel.shape
    columns = torch.linalg.pinv(channel.reshape(s, b, n, t, i * r), rtol=1e-5).mH.reshape(s, b, n, t, i, r)
    beams = columns.sum(-1)
    norm = torch.linalg.vector_norm(beams, dim=3, keepdim=True).clamp_min(1e-30)
    served = allocation.sum((-2, -1), keepdim=True).clamp_min(1.0)
    powered: Tensor = beams / norm * (allocation / served.sqrt()).unsqueeze(3)
    return powered


def _marked(quality: Tensor, count: int) -> Tensor:
    best = quality.topk(min(count, quality.shape[-1]), dim=-1).indices
    return torch.zeros_like(quality).scatter_(-1, best, 1.0)
