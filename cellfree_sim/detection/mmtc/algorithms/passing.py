"""Approximate message passing for activity and data of many devices, with every choice that matters an argument.

    Z = X + S^H R,   t = ||R||^2 / (L M),   X' = w Z,   R' = Y - S X' + Onsager's term,

for all antennas at once. All arrays have the pilots or samples last, [S, M, N Q] and [S, M, L], so that the operator
works on rows that lie together.

Shape letters: S frames, M antennas, B stations of A antennas, N devices, Q pilots of a device, L samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from cellfree_sim.detection.mmtc.algorithms.denoiser import Denoised, GainGrid, Prior, denoise, log_ratios

if TYPE_CHECKING:
    from cellfree_sim.uplink.pilots import Pilots

Onsager = Literal["scalar", "matrix"]
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Passing:
    """How messages are passed.

    Attributes:
        iterations: at most so many.
        damping: weight of the old X and R in the new ones.
        onsager: the mean of the denoiser's derivative (scalar), or the whole Jacobian between antennas (matrix).
        sections: a device sends at most one of its pilots: the exact denoiser; else each pilot for itself.
        tolerance: a frame is done when its t moves by less than this part; 0: all iterations.
    """

    iterations: int
    damping: float
    onsager: Onsager
    sections: bool
    tolerance: float = 0.0


@dataclass(frozen=True, eq=False)
class Passed:
    """Where message passing ended: L_q [S, N, Q], t [S, B] of each iteration, and how many there were."""

    ratios: Tensor
    variances: list[Tensor]

    @property
    def iterations(self) -> int:
        """Iterations made."""
        return len(self.variances)


def message_passing(y: Tensor, grid: GainGrid, prior: Prior, pilots: Pilots, how: Passing) -> Passed:
    """The likelihood ratios of all pilots, from y [S, L, M]."""
    stations, antennas = grid.values.shape[1], y.shape[2] // grid.values.shape[1]
    received = y.mT.contiguous()
    residual = received
    estimate: Tensor | None = None
    variances: list[Tensor] = []
    while True:
        seen = pilots.adjoint(residual)
        if estimate is not None:
            seen = seen.add_(estimate) if not seen.requires_grad else seen + estimate
        variance = _energy(residual, stations).sum(dim=-1) / (antennas * pilots.length)
        variance = variance.clamp_min(LEAST_VARIANCE)
        energy = _energy(seen, stations).reshape(*variance.shape, pilots.devices, pilots.per_device)
        variances.append(variance)
        if len(variances) == how.iterations or _settled(variances, how.tolerance):
            return Passed(log_ratios(energy, grid, variance, antennas=antennas), variances)
        found = denoise(energy, grid, variance, prior, antennas=antennas, sections=how.sections)
        new = scaled(seen, found.weight.flatten(-2))
        estimate = new if estimate is None or not how.damping else mixed(new, estimate, how.damping)
        correction = onsager(residual, seen, energy, found, how.onsager, pilots.length)
        update = received - pilots.forward(estimate) + correction
        residual = mixed(update, residual, how.damping) if how.damping else update


def onsager(residual: Tensor, seen: Tensor, energy: Tensor, found: Denoised, kind: Onsager, length: int) -> Tensor:
    """What the last residual [S, M, L] adds to the next one: (1 / L) sum_i J_i r, J_i the derivative of w z at z_i.

    J_i = w I + (dw / de) z_i z_i^H between the antennas of a station. Its mean over the antennas is the scalar form.
    """
    stations = energy.shape[1]
    if kind == "scalar":
        antennas = residual.shape[1] // stations
        mean = (found.weight + found.slope * energy / antennas).sum(dim=(-2, -1)) / length  # [S, B]
        return scaled(residual, mean.unsqueeze(-1))
    by_station = (len(seen), stations, -1, seen.shape[-1])
    jacobian = scaled(seen, found.slope.flatten(-2)).reshape(by_station) @ seen.reshape(by_station).mH / length
    jacobian.diagonal(dim1=-2, dim2=-1).add_(found.weight.sum(dim=(-2, -1)).unsqueeze(-1) / length)
    passed: Tensor = jacobian @ residual.reshape(*by_station[:-1], residual.shape[-1])
    return passed.flatten(1, 2)


def scaled(values: Tensor, factors: Tensor) -> Tensor:
    """Complex values [S, M, K] times real factors [S, B, K] (or [S, B, 1]), each for the antennas of its station."""
    factors = factors.repeat_interleave(2, dim=-1) if factors.shape[-1] > 1 else factors
    parts = torch.view_as_real(values).reshape(len(values), factors.shape[1], -1, 2 * values.shape[-1])
    return torch.view_as_complex((parts * factors.unsqueeze(2)).reshape(*values.shape, 2))


def mixed(new: Tensor, old: Tensor, damping: float) -> Tensor:
    """`new` with the weight `damping` of `old`, both complex."""
    return torch.view_as_complex(torch.lerp(torch.view_as_real(new), torch.view_as_real(old), damping))


def _energy(values: Tensor, stations: int) -> Tensor:
    """Sum of |values|^2 over the antennas of each station: [S, B, K] of complex [S, M, K]."""
    parts = torch.view_as_real(values).reshape(len(values), stations, -1, 2 * values.shape[-1])
    return parts.square().sum(dim=2).reshape(len(values), stations, -1, 2).sum(dim=-1)


def _settled(variances: list[Tensor], tolerance: float) -> bool:
    if not tolerance or len(variances) < 2:
        return False
    new, old = variances[-1], variances[-2]
    return bool(((new - old).abs() <= tolerance * old).all())
