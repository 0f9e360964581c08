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
from torch import Tensor

from cellfree_sim.uplink.path_loss import drop_distances, relative_gains, station_positions

if TYPE_CHECKING:
    from cellfree_sim.uplink.mmtc import MmtcProblem

QUANTILES = 32
HERMITE = 7
_DROPS = 50_000


class GainBelief:
    """Values that the gains over the noise may have, and their log-probabilities.

    Attributes:
        devices: N.
        stations: B.
    """

    def __init__(self, problem: MmtcProblem) -> None:
        self.devices, self.stations = problem.devices, problem.stations
        self._error_db = problem.gain_error_db
        self._edge = 10 ** (problem.edge_snr_db / 10)
        self._cell = (problem.stations, problem.ring_km, problem.radii_km)

    def __call__(self, h: Tensor | None, noise_variance: Tensor) -> tuple[Tensor, Tensor]:
        """Values over the noise float32 [S, B, N, K], and log-probabilities [K].

        Args:
            h: gains that the receiver was given, [S, N] or [S, N, B]; None where it has none.
            noise_variance: [S].
        """
        frames = len(noise_variance)
        if h is None:
            values = (self._edge * unknown_gains(*self._cell)).to(noise_variance)
            even = torch.full_like(values, 1 / len(values))
            return values.expand(frames, self.stations, self.devices, -1), even.log()
        given = h.reshape(frames, self.devices, self.stations).transpose(1, 2) / noise_variance.reshape(-1, 1, 1)
        if not self._error_db:
            return given.unsqueeze(-1), given.new_zeros(1)
        points, masses = np.polynomial.hermite_e.hermegauss(HERMITE)
        errors = torch.from_numpy(10 ** (self._error_db * points / 10)).to(given)
        return given.unsqueeze(-1) * errors, torch.from_numpy(np.log(masses / masses.sum())).to(given)


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
