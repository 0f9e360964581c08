"""What a receiver thinks the large-scale gains are: one value, or a grid with the weights of what it knows.

Shape letters: S frames, B stations, N devices, G gains in question.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cellfree_sim.detection.mmtc.algorithms.denoiser import GainGrid
from cellfree_sim.uplink.path_loss import relative_gains, station_positions

if TYPE_CHECKING:
    from cellfree_sim.uplink.mmtc import MmtcProblem

ANGLES = 16
"""Directions from the centre, for each distance, of places in a cell with several stations."""


def grid_size(problem: MmtcProblem, known: bool, points: int) -> int:
    """G of `gain_grid`, where gains are `known` (or estimated), or not."""
    if not known:
        return points if problem.stations == 1 else points * ANGLES
    return points if problem.gains == "estimated" and problem.stations == 1 else 1


def gain_grid(problem: MmtcProblem, h: Tensor | None, noise_variance: Tensor, points: int) -> GainGrid:
    """The gains in question, given what the receiver knows: h [S, N] or [S, N, B], or None.

    * Known gains are certain: G = 1. So are, for want of better, estimates at several stations.
    * Estimates at one station: h times 10^(e / 10), e at the nodes of Gauss and Hermite for the error's deviation. (The
      receiver holds all gains for equally likely beforehand.)
    * Unknown ones: those of places all over the cell, weighted with how probable they are.
    """
    if h is None:
        return _anywhere(problem, noise_variance, points)
    if problem.gains != "estimated" or problem.stations > 1 or points == 1:
        return GainGrid.known(h)
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    errors = torch.from_numpy(10 ** (problem.gain_error_db * nodes / 10)).to(h)
    log_weights = torch.from_numpy(np.log(weights / weights.sum())).to(h)
    return GainGrid(h[:, None, :, None] * errors, log_weights)


def _anywhere(problem: MmtcProblem, noise_variance: Tensor, points: int) -> GainGrid:
    """Places in the cell: at distances from the centre that are even in log, in all directions."""
    least, most = problem.radii_km
    edges = torch.linspace(math.log(least), math.log(most), points + 1, dtype=torch.float64).exp()
    radii = (edges[:-1] * edges[1:]).sqrt()
    weights = edges.diff() / (most - least) if most > least else torch.full((points,), 1 / points)
    distances = radii.unsqueeze(-1)  # [G, B]
    if problem.stations > 1:
        angles = torch.arange(ANGLES) * (2 * math.pi / ANGLES) + 1e-3
        places = torch.stack([angles.cos(), angles.sin()], dim=-1) * radii[:, None, None]
        stations = station_positions(problem.stations, problem.ring_km, "cpu").double()
        distances = torch.cdist(places.double().flatten(0, 1), stations).clamp_min(least)
        weights = weights.repeat_interleave(ANGLES) / ANGLES
    gains = (10 ** (problem.edge_snr_db / 10) * relative_gains(distances, most)).T.to(noise_variance)  # [B, G]
    values = (noise_variance[:, None, None] * gains).unsqueeze(2).expand(-1, -1, problem.devices, -1)
    return GainGrid(values, weights.log().to(noise_variance))
