"""Rayleigh fading with log-distance path loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from cellfree_sim.channel.base import SPEED_OF_LIGHT_M_PER_S, ChannelModel, Channels, Progress
from cellfree_sim.scenario.extensions import CHANNEL_MODELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.channel.base import ChannelRequest

_CHUNK = 64


@CHANNEL_MODELS.register
class Rayleigh(ChannelModel):
    """H ~ CN(0, g), independent over realisations, subcarriers, antennas and users, with the path gain

        10 log10 g = -PL_0 - 10 alpha log10(max(d, 1 m) / 1 m) - X - L_indoor,   X ~ N(0, sigma^2),

    d the distance in three dimensions; X is one number per realisation and user (and station). PL_0 is the free-space
    loss 20 log10(4 pi f / c) at 1 m unless given. Subcarriers fade independently: each stands for a coherence
    bandwidth.
    """

    name: Literal["rayleigh"] = "rayleigh"
    path_loss_exponent: float = Field(3.0, gt=0, le=10, description="alpha")
    reference_loss_db: float | None = Field(None, ge=-200, le=300, description="PL_0 at 1 m; free space by default")
    shadowing_db: float = Field(0.0, ge=0, le=50, description="standard deviation sigma of the shadowing")
    indoor_loss_db: float = Field(20.0, ge=0, le=200, description="further loss L_indoor of users inside buildings")

    def provenance(self) -> dict[str, str]:
        """Version of the model, and of NumPy, whose generator draws the fading."""
        return {"rayleigh": "1", "numpy": np.__version__}

    def path_gain(self, request: ChannelRequest) -> NDArray[np.float64]:
        """Path gains g with shadowing, float64 [R, I]."""
        users = request.users
        distance = np.linalg.norm(users.positions_m - np.asarray(request.site_m), axis=-1)
        reference = self.reference_loss_db
        if reference is None:
            reference = 20 * math.log10(4 * math.pi * request.radio.carrier_frequency_hz / SPEED_OF_LIGHT_M_PER_S)
        loss = reference + 10 * self.path_loss_exponent * np.log10(np.maximum(distance, 1.0))
        loss = loss + self.indoor_loss_db * users.indoor
        shadowing = np.random.default_rng(np.random.SeedSequence(request.seed, spawn_key=(0,)))
        loss = loss + self.shadowing_db * shadowing.standard_normal(loss.shape)
        gain: NDArray[np.float64] = 10.0 ** (-loss / 10)
        return gain

    def mean_gains(self, request: ChannelRequest) -> NDArray[np.float64]:
        """See `ChannelModel.mean_gains`."""
        return self.path_gain(request)

    def generate(self, request: ChannelRequest, progress: Progress | None = None) -> Channels:
        """Channels [R, N, T, I, r]; see the class."""
        amplitude = np.sqrt(self.path_gain(request) / 2).astype(np.float32)
        fading = np.random.default_rng(np.random.SeedSequence(request.seed, spawn_key=(1,)))
        channels = np.empty(request.shape, dtype=np.complex64)
        total = len(channels)
        for start in range(0, total, _CHUNK):
            part = channels[start : start + _CHUNK]
            parts = fading.standard_normal((*part.shape, 2), dtype=np.float32)
            part[...] = parts.view(np.complex64)[..., 0] * amplitude[start : start + _CHUNK, None, None, :, None]
            if progress is not None:
                progress(start + len(part), total)
        return channels
