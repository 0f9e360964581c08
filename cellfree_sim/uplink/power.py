"""Power control of the uplink: what a user sends with, in units that make the noise at a station 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.scenario.uplink import Uplink


def noise_mw(uplink: Uplink) -> float:
    """Noise power at each antenna of a station, mW."""
    return float(10 ** (uplink.noise_dbm / 10))


def amplitudes(uplink: Uplink, snr_db: float, best_gain: NDArray[np.float32]) -> NDArray[np.float32]:
    """Amplitude sqrt(P) of users, sqrt(mW), float32 like `best_gain`, the path gain to the best station of each.

    Fractional power control (TS 38.213, 7.1.1) with a reference loss PL_0, at which the SNR is `snr_db` for any alpha:

        P = min(P_max, noise + SNR + PL_0 + alpha (PL - PL_0)) dBm,   PL = -10 log10(best gain).

    >>> from cellfree_sim.scenario.uplink_mimo import MimoUplink
    >>> at_100_db = np.float32([1e-10])
    >>> float(amplitudes(MimoUplink(), 10.0, at_100_db)[0] ** 2 * 1e-10 / noise_mw(MimoUplink())).__round__(3)
    10.0
    """
    power = uplink.power
    with np.errstate(divide="ignore"):  # a user that no station hears sends with all it has
        loss_db = -10 * np.log10(best_gain.astype(np.float64))
    at_reference_dbm = uplink.noise_dbm + snr_db + (1 - power.alpha) * power.reference_loss_db
    wanted_dbm = at_reference_dbm + (power.alpha * loss_db if power.alpha else 0.0)
    amplitude: NDArray[np.float32] = (10 ** (np.minimum(wanted_dbm, power.max_dbm) / 20)).astype(np.float32)
    return np.broadcast_to(amplitude, best_gain.shape)
