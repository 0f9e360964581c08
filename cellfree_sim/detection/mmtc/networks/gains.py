"""What a receiver believes of the large-scale gains: a few values of each, with their probabilities.

Known gains are one value each. Of an estimated one the receiver knows the spread of the error in dB: Gauss-Hermite
points around the estimate, each as probable as such a place in the cell. Of an unknown one it knows the cell alone:
quantiles of the gains of devices dropped there. What it believes of the gains to several stations is independent.

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
HERMITE = 9
OUTSIDE = -10.0
"""Log-probability of a gain that no place in the cell has, over that of others."""
TINY = 1e-20
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
        """Values over the noise and their log-probabilities, float32 [S, B, N, K] each.

        Args:
            h: gains that the receiver was given, [S, N] or [S, N, B]; None where it has none.
            noise_variance: [S].
        """
        frames = len(noise_variance)
        if h is None:
            values = (self._edge * unknown_gains(*self._cell)).to(noise_variance)
            even = torch.full_like(values, 1 / len(values))
            shape = (frames, self.stations, self.devices, -1)
            return values.expand(shape), even.log().expand(shape)
        given = h.reshape(frames, self.devices, self.stations).transpose(1, 2) / noise_variance.reshape(-1, 1, 1)
        if not self._error_db:
            return given.unsqueeze(-1), torch.zeros_like(given).unsqueeze(-1)
        points, masses = np.polynomial.hermite_e.hermegauss(HERMITE)
        values = given.unsqueeze(-1) * torch.from_numpy(10 ** (self._error_db * points / 10)).to(given)
        return values, (torch.from_numpy(np.log(masses)).to(given) + self._law(values)).log_softmax(dim=-1)

    def _law(self, values: Tensor) -> Tensor:
        """Log-density of gains in dB but for a constant: that of the logarithm of a distance that is uniform."""
        stations, _, (least, most) = self._cell
        distance = (values / self._edge).clamp_min(TINY).pow(-1 / 3.67)
        law = distance.log()
        if stations > 1:
            return law
        return law + OUTSIDE * ((distance < least / most) | (distance > 1)).to(law)


@functools.lru_cache(maxsize=8)
def unknown_gains(stations: int, ring_km: float, radii_km: tuple[float, float]) -> Tensor:
    """Quantiles of the gain of a device dropped into a cell, over that at the edge: float32 [K], ascending.

    >>> [round(gain, 1) for gain in unknown_gains(1, 0.0, (0.5, 1.0))[[0, -1]].tolist()]
    [1.0, 12.1]
    """
    generator = torch.Generator().manual_seed(0)
    places = station_positions(stations, ring_km, "cpu")
    distances = drop_distances(_DROPS, 1, places, radii_km, generator=generator, device="cpu")
    gains = relative_gains(distances, radii_km[1]).flatten()
    return gains.quantile((torch.arange(QUANTILES) + 0.5) / QUANTILES)
