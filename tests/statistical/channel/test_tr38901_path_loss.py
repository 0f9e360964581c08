"""Mean power of TR 38.901 channels against the path loss of Table 7.4.1-1 and the line-of-sight probability of 7.4.2-1.

The formulas are written out here in double precision. Small-scale fading has unit mean power, so that without shadowing
the mean of |H|^2 is the path gain; the tolerance is five standard errors of the mean over drops, seed fixed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from cellfree_sim.channel import ChannelRequest
from cellfree_sim.network import UserDrops
from cellfree_sim.scenario.extensions import CHANNEL_MODELS
from cellfree_sim.scenario.schema import Antennas, Radio

USER_HEIGHT_M = 1.5


def power(model, ground_m, height_m, frequency_hz, drops, los):
    """Powers [drops] of one antenna pair at ground distance `ground_m`."""
    positions = np.tile([ground_m, 0.0, USER_HEIGHT_M], (drops, 1, 1))
    request = ChannelRequest(
        station="s",
        station_index=0,
        stations=1,
        site_m=(0.0, 0.0, height_m),
        antennas=Antennas(rows=1, columns=1),
        user_antennas=1,
        radio=Radio(carrier_frequency_hz=frequency_hz, subcarriers=8, bandwidth_hz=100e6),
        users=UserDrops(positions, np.zeros((drops, 1), dtype=bool), np.zeros((drops, 1))),
        split="train",
        first_realisation=0,
        seed=1234,
    )
    channels = CHANNEL_MODELS.create(model, los=los, shadow_fading=False).generate(request)
    return (np.abs(channels.astype(np.complex128)) ** 2).mean(axis=(1, 2, 3, 4))


def uma(d2, h, f, los):
    d3, f_ghz = math.hypot(d2, h - USER_HEIGHT_M), f / 1e9
    breakpoint_m = 4 * (h - 1) * (USER_HEIGHT_M - 1) * f / 3e8
    if d2 < breakpoint_m:
        sight = 28 + 22 * math.log10(d3) + 20 * math.log10(f_ghz)
    else:
        sight = 28 + 40 * math.log10(d3) + 20 * math.log10(f_ghz)
        sight -= 9 * math.log10(breakpoint_m**2 + (h - USER_HEIGHT_M) ** 2)
    return sight if los else max(sight, 13.54 + 39.08 * math.log10(d3) + 20 * math.log10(f_ghz))


def umi(d2, h, f, los):
    d3, f_ghz = math.hypot(d2, h - USER_HEIGHT_M), f / 1e9
    sight = 32.4 + 21 * math.log10(d3) + 20 * math.log10(f_ghz)
    return sight if los else max(sight, 35.3 * math.log10(d3) + 22.4 + 21.3 * math.log10(f_ghz))


def rma(d2, h, f, los):
    d3, f_ghz, building, street = math.hypot(d2, h - USER_HEIGHT_M), f / 1e9, 5.0, 20.0
    sight = 20 * math.log10(40 * math.pi * d3 * f_ghz / 3) + min(0.03 * building**1.72, 10) * math.log10(d3)
    sight += -min(0.044 * building**1.72, 14.77) + 0.002 * math.log10(building) * d3
    hidden = 161.04 - 7.1 * math.log10(street) + 7.5 * math.log10(building)
    hidden += -(24.37 - 3.7 * (building / h) ** 2) * math.log10(h)
    hidden += (43.42 - 3.1 * math.log10(h)) * (math.log10(d3) - 3) + 20 * math.log10(f_ghz)
    hidden -= 3.2 * math.log10(11.75 * USER_HEIGHT_M) ** 2 - 4.97
    return sight if los else max(sight, hidden)


def inh(d2, h, f, los):
    d3, f_ghz = math.hypot(d2, h - USER_HEIGHT_M), f / 1e9
    sight = 32.4 + 17.3 * math.log10(d3) + 20 * math.log10(f_ghz)
    return sight if los else max(sight, 38.3 * math.log10(d3) + 17.3 + 24.9 * math.log10(f_ghz))


@pytest.mark.parametrize("los", [True, False])
@pytest.mark.parametrize(
    ("model", "loss_db", "ground_m", "height_m", "frequency_hz"),
    [
        ("tr38901-uma", uma, 60.0, 25.0, 2.1e9),
        ("tr38901-uma", uma, 900.0, 25.0, 3.5e9),
        ("tr38901-umi", umi, 80.0, 10.0, 28e9),
        ("tr38901-rma", rma, 400.0, 35.0, 0.7e9),
        ("tr38901-inh", inh, 20.0, 3.0, 6e9),
    ],
)
def test_mean_power_is_the_path_gain(model, loss_db, ground_m, height_m, frequency_hz, los):
    powers = power(model, ground_m, height_m, frequency_hz, 150, los)
    gain = 10 ** (-loss_db(ground_m, height_m, frequency_hz, los) / 10)
    error = powers.std(ddof=1) / math.sqrt(len(powers)) / gain
    assert error < 0.05
    assert powers.mean() / gain == pytest.approx(1, abs=5 * error)


def test_line_of_sight_comes_with_its_probability():
    ground_m = 70.0
    probability = 18 / ground_m + math.exp(-ground_m / 63) * (1 - 18 / ground_m)
    seen, hidden = (10 ** (-uma(ground_m, 25, 2.1e9, los) / 10) for los in (True, False))
    powers = power("tr38901-uma", ground_m, 25.0, 2.1e9, 300, "random")
    error = powers.std(ddof=1) / math.sqrt(len(powers))
    assert powers.mean() == pytest.approx(probability * seen + (1 - probability) * hidden, abs=5 * error)
    # the two means lie 12 dB apart: the test would notice a probability off by a third
    assert 5 * error < 0.35 * probability * seen
