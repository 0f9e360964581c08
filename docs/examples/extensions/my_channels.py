"""A channel model: two rays, the direct one and that from the ground, which is seen with an angle of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from cellfree_sim.channel.base import SPEED_OF_LIGHT_M_PER_S, ChannelModel, Channels, Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.channel.base import ChannelRequest


class TwoRay(ChannelModel):
    """sum over both rays of (lambda / (4 pi d)) G exp(-2 pi j d / lambda) a, with phases that are drawn anew.

    G is 1, or `reflection`; d the length of the ray; a is that of a uniform planar array that looks along x, the users'
    antennas see the same. The phases of a ray differ between realisations, users and their antennas, as users move by
    wavelengths; over subcarriers they turn with the length of the ray.
    """

    reflection: float = Field(-0.6, ge=-1, le=1, description="amplitude of the ray from the ground")

    def mean_gains(self, request: ChannelRequest) -> NDArray[np.float64]:
        """Sum of the powers of both rays: their phases are independent."""
        lengths = self._lengths_m(request)
        wavelength = SPEED_OF_LIGHT_M_PER_S / request.radio.carrier_frequency_hz
        powers = (wavelength / (4 * np.pi * lengths)) ** 2 * np.array([1.0, self.reflection**2])
        return np.asarray(powers.sum(-1))

    def generate(self, request: ChannelRequest, progress: Progress | None = None) -> Channels:
        """See `ChannelModel.generate`."""
        drops, _, _, users, antennas = request.shape
        random = np.random.default_rng(request.seed)
        phases = np.exp(2j * np.pi * random.random((drops, users, antennas, 2)))
        lengths = self._lengths_m(request)
        wavelength = SPEED_OF_LIGHT_M_PER_S / request.radio.carrier_frequency_hz
        rays = wavelength / (4 * np.pi * lengths) * np.array([1.0, self.reflection])
        turns = np.exp(-2j * np.pi * request.subcarrier_offsets_hz()[:, None, None, None] * lengths / 3e8)
        array = self._array(request, lengths)
        channels = np.einsum("nrip,rip,riap,rtip->rntia", turns, rays, phases, array, optimize=True)
        if progress is not None:
            progress(drops, drops)
        return channels.astype(np.complex64)

    def _lengths_m(self, request: ChannelRequest) -> NDArray[np.float64]:
        """Lengths of the rays, metres [R, I, 2]."""
        site = np.array(request.site_m)
        offset = request.users.positions_m - site
        ground = np.hypot(offset[..., 0], offset[..., 1])
        heights = np.stack([offset[..., 2], request.users.positions_m[..., 2] + site[2]], -1)
        return np.asarray(np.maximum(np.hypot(ground[..., None], heights), 1.0))

    def _array(self, request: ChannelRequest, lengths: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Phases of the station's antennas, [R, T, I, 2]: rows see the elevation, columns the azimuth."""
        offset = request.users.positions_m - np.array(request.site_m)
        across = offset[..., 1, None] / lengths
        up = np.stack([offset[..., 2], -(request.users.positions_m[..., 2] + request.site_m[2])], -1) / lengths
        rows, columns = np.divmod(np.arange(request.antennas.count), request.antennas.columns)
        spacing = 2j * np.pi * request.antennas.spacing_wavelengths
        place = rows[:, None, None] * up[:, None] + columns[:, None, None] * across[:, None]
        return np.asarray(np.exp(spacing * place))
