"""What a receiver believes of the large-scale gains: a few values of each, with their probabilities.

Known gains are one value each. Of an estimated one the receiver knows the spread of the error in dB: Gauss-Hermite
points around the estimate. Of an unknown one it knows the cell: quantiles of the gains of devices dropped there.

Shape letters: S frames, N devices, B stations, K values.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from cellfree_sim.uplink.path_loss import drop_distances, relative_gains, station_positions

if TYPE_CHECKING:
    from cellfree_sim.uplink.mmtc import MmtcProblem

QUANTILES = 32
HERMITE = 7
_DROPS = 50_000


class GainBelief(nn.Module):
    """Values [S, B, N, K] that the gains over the noise may have, and their log-probabilities [K].

    Attributes:
        stations: B.
        largest: the largest gain of an unknown device over the noise of the problem, 0 where receivers get gains.
    """

    values: Tensor
    log_weights: Tensor

    def __init__(self, problem: MmtcProblem) -> None:
        super().__init__()
        self.stations = problem.stations
        self.unknown = problem.gains == "unknown"
        self._values: Tensor
        if self.unknown:
            values = unknown_gains(problem.stations, problem.ring_km, problem.radii_km)
            values, weights = values * 10 ** (problem.edge_snr_db / 10), torch.ones(len(values))
        elif problem.gains == "estimated":
            points, masses = np.polynomial.hermite_e.hermegauss(HERMITE)
            values = torch.as_tensor(10 ** (problem.gain_error_db * points / 10), dtype=torch.float32)
            weights = torch.as_tensor(masses, dtype=torch.float32)
        else:
            values = weights = torch.ones(1)
        self.largest = float(values.max()) if self.unknown else 0.0
        self.register_buffer("values", values, persistent=False)
        self.register_buffer("log_weights", (weights / weights.sum()).log(), persistent=False)

    def forward(self, h: Tensor | None, noise_variance: Tensor, devices: int) -> Tensor:
        """Values float32 [S, B, N, K], of what the receiver was given: h [S, N] or [S, N, B], or None."""
        frames = len(noise_variance)
        if h is None:
            given = self.values.expand(frames, self.stations, devices, -1)
        else:
            given = h.reshape(frames, devices, self.stations).transpose(1, 2).unsqueeze(-1)
            given = given if self.unknown else given * self.values
        return given / noise_variance.reshape(-1, 1, 1, 1)


@functools.lru_cache(maxsize=8)
def unknown_gains(stations: int, ring_km: float, radii_km: tuple[float, float]) -> Tensor:
    """Quantiles of the gain of a device dropped into a cell, over that at the edge: float32 [K], ascending.

    >>> unknown_gains(1, 0.0, (0.5, 1.0))[[0, -1]].round(decimals=1).tolist()
    [1.0, 12.1]
    """
    generator = torch.Generator().manual_seed(0)
    places = station_positions(stations, ring_km, "cpu")
    distances = drop_distances(_DROPS, 1, places, radii_km, generator=generator, device="cpu")
    gains = relative_gains(distances, radii_km[1]).flatten()
    return gains.quantile((torch.arange(QUANTILES) + 0.5) / QUANTILES)
