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
from cellfree_sim.errors import DetectorError

if TYPE_CHECKING:
    from cellfree_sim.uplink.mmtc import MmtcProblem


def gain_grid(problem: MmtcProblem, h: Tensor | None, noise_variance: Tensor, points: int) -> GainGrid:
    """The gains in question, given what the receiver knows: h [S, N] or [S, N, B], or None.

    * Known gains are certain: G = 1. So are, for want of better, estimates at several stations.
    * Estimates at one station: h times 10^(e / 10), e at the nodes of Gauss and Hermite for the error's deviation. (The
      receiver holds all gains for equally likely beforehand.)
    * Unknown ones: a grid that is even in dB, weighted with how probable such a place in the cell is.

    DetectorError for unknown gains to several stations.
    """
    if h is None:
        if problem.stations > 1:
            raise DetectorError("unknown gains to several stations: found None for h; expected gains [S, N, B]")
        return _anywhere(problem, noise_variance, points)
    if problem.gains != "estimated" or problem.stations > 1 or points == 1:
        return GainGrid.known(h)
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    errors = torch.from_numpy(10 ** (problem.gain_error_db * nodes / 10)).to(h)
    log_weights = torch.from_numpy(np.log(weights / weights.sum())).to(h)
    return GainGrid(h[:, None, :, None] * errors, log_weights)


def _anywhere(problem: MmtcProblem, noise_variance: Tensor, points: int) -> GainGrid:
    least, most = problem.radii_km
    edges = torch.linspace(math.log(least), math.log(most), points + 1, dtype=torch.float64).exp()
    middle = (edges[:-1] * edges[1:]).sqrt()
    gains = (10 ** (problem.edge_snr_db / 10) * (middle / most) ** -3.67).to(noise_variance)
    weights = edges.diff() / (most - least) if most > least else torch.full((points,), 1 / points)
    values = (noise_variance[:, None] * gains)[:, None, None, :].expand(-1, 1, problem.devices, -1)
    return GainGrid(values, weights.log().to(noise_variance))
