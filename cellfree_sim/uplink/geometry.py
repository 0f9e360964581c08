"""Channels of the uplink where the network stands: between the antennas of a station and all users, by reciprocity.

A channel model gives the downlink, r = H^H x for what x a station sends (`cellfree_sim.channel`). Up, the same paths
carry what a user sends to the antennas: y_t = conj(H_t) x for antenna t (time division duplex, calibrated stations).

Shape letters: D drops, T antennas of the station, I users, B stations, K samples of a codeword.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellfree_sim.channel import station_channels
from cellfree_sim.uplink.population import section

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.network import Network
    from cellfree_sim.scenario.schema import Scenario


def uplink_channels(scenario: Scenario, network: Network, station: str) -> NDArray[np.complex64]:
    """Channels between all users and a station, complex64 [D, T, I]; |h|^2 is the path gain.

    Where the uplink is selective [D, T, I, K], one for each of the K samples of a codeword. Raises `ChannelError` where
    the scenario's model cannot make them.
    """
    downlink = station_channels(scenario, network, station, "uplink")[..., 0]
    uplink = section(scenario)
    if uplink.selective:
        return np.ascontiguousarray(np.moveaxis(downlink[:, : uplink.samples].conj(), 1, -1))
    return np.ascontiguousarray(downlink[:, 0].conj())


def path_gains(channels: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Mean |h|^2 over the antennas (and samples), float32 [D, I], of channels [D, T, I] (or [D, T, I, K])."""
    gains = np.empty((channels.shape[0], channels.shape[2]), np.float32)
    others = (0, 2)[: channels.ndim - 2]
    for drop, each in enumerate(channels):  # one after the other: the squares of all would take as much again
        gains[drop] = (each.real.astype(np.float64) ** 2 + each.imag.astype(np.float64) ** 2).mean(axis=others)
    return gains


def serving(gains: NDArray[np.float32], cluster: int | None) -> NDArray[np.bool_]:
    """Which stations serve which users, bool [B, I]: each user's `cluster` best by path gain [B, I], all where None.

    Of equal stations the one that comes first in the roster is better.
    """
    if cluster is None or cluster >= len(gains):
        return np.ones(gains.shape, np.bool_)
    best = np.argsort(-gains, axis=0, kind="stable")[:cluster]
    served = np.zeros(gains.shape, np.bool_)
    np.put_along_axis(served, best, True, axis=0)
    return served
