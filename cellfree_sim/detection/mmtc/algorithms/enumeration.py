"""Exact posteriors of devices' states by enumeration.

Shape letters: S frames, B stations of A antennas, N devices, Q pilots of a device, L samples, J joint states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from cellfree_sim.detection.mmtc.algorithms.covariance import Setting


def joint_states(devices: int, states: int, device: torch.device | str = "cpu") -> Tensor:
    """All joint states, int64 [J, N] with J = states^devices.

    >>> joint_states(2, 3)[:4].tolist()
    [[0, 0], [0, 1], [0, 2], [1, 0]]
    """
    number = torch.arange(states**devices, device=device).unsqueeze(-1)
    return number // states ** torch.arange(devices - 1, -1, -1, device=device) % states


def joint_log_posterior(setting: Setting, joint: Tensor) -> Tensor:
    """log p(Y | state) + log P(state), [S, J], of joint states [J, N], by a determinant and a solution for each."""
    frames, stations, length, antennas = setting.received.shape
    pilots = torch.cat([torch.zeros_like(setting.pilots[:, :1]), setting.pilots], dim=1)
    chosen = pilots[torch.arange(len(pilots), device=joint.device), joint]  # [J, N, L]
    gains = setting.grid.values[..., setting.grid.values.shape[-1] // 2]
    active = joint > 0
    total = torch.where(active, setting.prior.each, setting.prior.silent).sum(dim=-1).repeat(frames, 1)
    eye = torch.eye(length, dtype=pilots.dtype, device=joint.device)
    for frame in range(frames):
        for station in range(stations):
            weighted = chosen.mT * gains[frame, station]
            covariance = weighted @ chosen.conj() + setting.noise[frame] * eye
            y = setting.received[frame, station]
            log_det = torch.linalg.slogdet(covariance).logabsdet
            fit = (y.conj() * torch.linalg.solve(covariance, y.expand(len(joint), -1, -1))).real.sum(dim=(-2, -1))
            total[frame] -= antennas * log_det + fit
    return total


def enumerated(setting: Setting) -> Tensor:
    """Log-posterior [S, N, 1 + Q], not normalised, of each device's states. Gains must be certain."""
    devices, states = len(setting.pilots), 1 + setting.pilots.shape[1]
    joint = joint_states(devices, states, setting.received.device)
    score = joint_log_posterior(setting, joint).unsqueeze(1)
    by_state = [score.masked_fill((joint != state).T, float("-inf")).logsumexp(dim=-1) for state in range(states)]
    return torch.stack(by_state, dim=-1)
