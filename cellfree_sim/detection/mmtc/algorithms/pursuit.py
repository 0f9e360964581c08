"""Simultaneous orthogonal matching pursuit, a batch of frames at a time.

Shape letters: S frames, M antennas, N devices, Q pilots of a device, L samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from scipy.special import gammainccinv
from torch import Tensor

if TYPE_CHECKING:
    from cellfree_sim.uplink.pilots import Pilots


def pursuit(y: Tensor, noise: Tensor, pilots: Pilots, *, false_alarm: float) -> Tensor:
    """Decided states int64 [S, N] of y [S, L, M] in noise of variances [S].

    The energy of noise along a unit vector is s^2 / 2 times a chi-square number with 2 M degrees of freedom. A pilot is
    taken for sent while ||s^H R||^2 is above what the largest of N Q such numbers exceeds with a chance of
    `false_alarm`. R is what the pilots that were taken leave of y, by a growing orthonormal basis.
    """
    frames, length, antennas = y.shape
    level = float(gammainccinv(antennas, false_alarm / pilots.count))
    residual = y.mT.contiguous()  # [S, M, L]
    basis = y.new_zeros(frames, 0, length)  # rows, as they come
    decided = torch.zeros(frames, pilots.devices, dtype=torch.long, device=y.device)
    every = torch.arange(frames, device=y.device)
    for _ in range(min(length - 1, pilots.devices)):
        energy = torch.view_as_real(pilots.adjoint(residual)).square().sum(dim=(1, 3))
        energy = energy.masked_fill((decided > 0).repeat_interleave(pilots.per_device, dim=-1), 0)
        most, index = energy.max(dim=-1)
        found = most > level * noise
        if not found.any():
            break
        device, pilot = index // pilots.per_device, index % pilots.per_device
        decided[every[found], device[found]] = pilot[found] + 1
        fresh = pilots.columns(index)
        for _ in range(2):  # twice is enough: once leaves rounding of the size of what cancels
            fresh = fresh - ((basis.conj() @ fresh.unsqueeze(-1)).mT @ basis).squeeze(1)
        fresh = fresh / torch.linalg.vector_norm(fresh, dim=-1, keepdim=True).clamp_min(1e-12) * found.unsqueeze(-1)
        basis = torch.cat([basis, fresh.unsqueeze(1)], dim=1)
        residual = residual - (residual @ fresh.conj().unsqueeze(-1)) * fresh.unsqueeze(1)
    return decided
