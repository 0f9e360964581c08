"""The uplink of a run against closed forms. Seeds are fixed; limits are four standard errors of the closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from uplink_support import make_scenario, rows_of, started

from cellfree_sim.network import build_network
from cellfree_sim.uplink.geometry import path_gains, uplink_channels


def tail(x: float) -> float:
    """Q(x), the probability that a standard normal variable is above x."""
    return 0.5 * math.erfc(x / math.sqrt(2))


def check(errors: int, trials: int, expected: float) -> None:
    error = math.sqrt(expected * (1 - expected) / trials)
    assert errors / trials == pytest.approx(expected, abs=4 * error)


def test_one_user_is_received_as_by_maximum_ratio_combining() -> None:
    """Power control gives it the SNR g at each of 4 antennas on average, so that bit errors have Q(sqrt(4 g))."""
    scenario = make_scenario(
        users=1,
        uplink={
            "bursts": 200,
            "slots": 100,
            "interval_s": 0.01,
            "snr_db": [-7.0, -3.0],
            "services": [{"detector": "lmmse", "cooperation": "local"}],
        },
    )
    rows = rows_of(started(scenario))
    for snr_db in (-7.0, -3.0):
        at = [row for row in rows if row["snr_db"] == snr_db]
        expected = tail(math.sqrt(4 * 10 ** (snr_db / 10)))
        check(sum(row["bit_errors"] for row in at), sum(row["bits"] for row in at), expected)


def test_with_all_antennas_in_one_place_their_powers_add() -> None:
    """Bit errors of one user have Q(sqrt(4 g sum_b G_b / max_b G_b)), 4 antennas at each station b of gain G_b."""
    scenario = make_scenario(
        users=1,
        uplink={
            "bursts": 150,
            "slots": 100,
            "interval_s": 0.01,
            "snr_db": [-9.0],
            "services": [{"detector": "lmmse", "cooperation": way} for way in ("soft_fusion", "centralized")],
        },
    )
    network = build_network(scenario)
    gains = np.stack([path_gains(uplink_channels(scenario, network, name))[:, 0] for name in network.stations])
    gains = gains.astype(float)
    expected = np.mean([tail(math.sqrt(4 * 10**-0.9 * drop.sum() / drop.max())) for drop in gains.T])
    rows = rows_of(started(scenario))
    for way in ("soft_fusion", "centralized"):
        of = [row for row in rows if row["cooperation"] == way]
        check(sum(row["bit_errors"] for row in of), sum(row["bits"] for row in of), float(expected))


def test_users_that_a_station_does_not_serve_are_noise_of_their_power() -> None:
    """Two users with a station of one antenna each, which takes the other user for noise.

    It decides on the sum of two QPSK symbols and noise: errors have the mean of Q over the other's symbols.
    """
    scenario = make_scenario(
        users=2,
        network={
            "sbs": {"positions_m": [[50, 50], [250, 50]], "antennas": {"rows": 1, "columns": 1}},
            "users": {"count": 2},
        },
        uplink={
            "bursts": 120,
            "slots": 100,
            "interval_s": 0.01,
            "snr_db": [3.0],
            "services": [{"detector": "lmmse", "cooperation": "local", "cluster": 1}],
        },
    )
    network = build_network(scenario)
    channels = np.stack([uplink_channels(scenario, network, name)[:, 0, :] for name in network.stations]).astype(
        complex
    )
    rows = rows_of(started(scenario))
    expected, errors = [], []
    for drop in range(3):
        expected.append(np.mean([_bit_errors(channels[:, drop], user, 10**0.3) for user in range(2)]))
        of = [row for row in rows if row["drop"] == drop]
        errors.append((sum(row["bit_errors"] for row in of), sum(row["bits"] for row in of)))
    best = np.abs(channels).argmax(axis=0)
    assert any(best[drop, 0] != best[drop, 1] for drop in range(3))  # else nothing is noise
    for (wrong, bits), rate, drop in zip(errors, expected, range(3), strict=True):
        if best[drop, 0] != best[drop, 1]:
            check(wrong, bits, float(rate))


def _bit_errors(h_BI: Any, user: int, snr: float) -> float:
    """Bit error rate of `user` at its best station, the other user's symbol being an offset."""
    best = np.abs(h_BI).argmax(axis=0)
    amplitude = np.sqrt(snr) / np.abs(h_BI).max(axis=0)
    other, station = 1 - user, best[user]
    received = h_BI[station] * amplitude  # noise 1
    offsets = received[other] / received[user] * np.exp(1j * np.pi * (np.arange(4) / 2 + 0.25))
    signal, sigma = math.sqrt(0.5), 1 / abs(received[user]) / math.sqrt(2)
    shifts = np.concatenate([offsets.real, offsets.imag])
    return float(np.mean([tail((signal + shift) / sigma) for shift in (*shifts, *-shifts)]))
