"""What a station receives in a burst: all users that are active, over its channels, and noise.

Shape letters: S slots, T antennas of the station, I active users. The noise on each antenna has the power 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellfree_sim import seeds

if TYPE_CHECKING:
    from numpy.typing import NDArray


def received(
    codewords: NDArray[np.complex64], channels: NDArray[np.complex64], noise: NDArray[np.complex64]
) -> NDArray[np.complex64]:
    """y = sum_n h_n c_n + noise, complex64 [S, T], of codewords [S, I] over channels [T, I], and noise [S, T].

    Users are added in their order, whichever group they belong to, so that the same bits come out of every engine.
    """
    signal: NDArray[np.complex64] = np.einsum("si,ti->st", codewords, channels)  # not BLAS, whose order may differ
    return signal + noise


def noise_of(seed: int, station: str, burst: int, slots: int, antennas: int) -> NDArray[np.complex64]:
    """CN(0, 1) at a station in a burst, complex64 [S, T]."""
    return _complex_normal(seeds.generator(seed, "uplink", "noise", station, burst), (slots, antennas))


def known_channels(
    channels: NDArray[np.complex64],
    gains: NDArray[np.float32],
    csi_error_db: float | None,
    seed: int,
    station: str,
    burst: int,
) -> NDArray[np.complex64]:
    """The channels [T, I] as the station knows them in a burst: h + w, w ~ CN(0, error x mean gain), gains [I]."""
    if csi_error_db is None:
        return channels
    errors = _complex_normal(seeds.generator(seed, "uplink", "csi", station, burst), channels.shape)
    known: NDArray[np.complex64] = channels + errors * np.sqrt(gains * np.float32(10 ** (csi_error_db / 10)))
    return known


def _complex_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.complex64]:
    parts = generator.standard_normal((*shape, 2), np.float32) * np.float32(np.sqrt(0.5))
    normal: NDArray[np.complex64] = parts.view(np.complex64)[..., 0]
    return normal
