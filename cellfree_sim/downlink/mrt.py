"""Maximum ratio transmission: beams matched to each station's own channel, blind to interference.

Letters: S realisations, B stations, N subcarriers, T transmit antennas, I users, R receive antennas, K users served by
a station on a subcarrier.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cellfree_sim.downlink.combining import combine_links


def matched_beams(channel: Tensor, allocation: Tensor) -> Tensor:
    """Beams [S, B, N, T, I] along the dominant eigen-direction of each link that is served; equal power.

    w = H p / |H p|, where p is the dominant right singular vector of H_ni^b with a real, positive first entry (see
    `cellfree_sim.downlink.combining`): of all beams of its power, w carries the most signal to the user. Each gets
    P_max / (N K).

    Args:
        channel: [S, B, N, T, I, R] complex64.
        allocation: [S, B, N, I], 0 or 1.

    >>> channel = torch.tensor([3.0 + 0j, 4.0]).reshape(1, 1, 1, 2, 1, 1)
    >>> matched_beams(channel, torch.ones(1, 1, 1, 1)).flatten().real
    tensor([0.6000, 0.8000])
    """
    effective = combine_links(channel.transpose(3, 4)).effective.mT  # [S, B, N, T, I]
    norm = torch.linalg.vector_norm(effective, dim=3, keepdim=True).clamp_min(1e-30)
    served = allocation.sum(-1, keepdim=True).clamp_min(1.0) * allocation.shape[2]
    powered: Tensor = effective / norm * (allocation / served.sqrt()).unsqueeze(3)
    return powered
