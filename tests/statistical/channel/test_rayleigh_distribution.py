"""Rayleigh channels against closed forms. Seeds are fixed; tolerances are five standard errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from cellfree_sim.channel.station import channel_request
from cellfree_sim.network import build_network
from cellfree_sim.scenario.extensions import CHANNEL_MODELS

DROPS = 2000


@pytest.fixture
def channels(small_scenario):
    """Channels over the root of the mean path gain, and the shadowing in dB, of DROPS x 4 users."""

    def make(**options):
        sizes = {"train": DROPS, "validation": 1, "test": 1}
        scenario = small_scenario(**{"channel.realisations": sizes, "radio.subcarriers": 4})
        request = channel_request(scenario, build_network(scenario), "sbs-1", "train")
        model = CHANNEL_MODELS.create("rayleigh", **options)
        distance = np.linalg.norm(request.users.positions_m - np.array([75, 25, 25]), axis=-1)
        free_space = 20 * math.log10(4 * math.pi * 2.1e9 / 299_792_458)
        mean_gain_db = -free_space - 30 * np.log10(distance)
        shadowing_db = 10 * np.log10(model.path_gain(request)) - mean_gain_db
        return model.generate(request) / 10 ** (mean_gain_db / 20)[:, None, None, :, None], shadowing_db

    return make


def test_power_is_exponential_with_the_path_gain_as_mean(channels):
    power = np.abs(channels()[0].astype(np.complex128)) ** 2
    assert power.mean() == pytest.approx(1.0, abs=5 / math.sqrt(power.size))
    assert stats.kstest(power.ravel()[::7], stats.expon.cdf).pvalue > 1e-4


def test_real_and_imaginary_parts_are_independent_and_equal(channels):
    h = channels()[0].astype(np.complex128).ravel()
    error = 5 / math.sqrt(h.size)
    # circular symmetry: E h = 0 and E h^2 = 0
    assert abs(h.mean()) < error and abs((h * h).mean()) < math.sqrt(2) * error


def test_antennas_users_and_subcarriers_are_independent(channels):
    h = channels()[0].astype(np.complex128).reshape(DROPS, -1)
    correlation = h.conj().T @ h / DROPS
    off_diagonal = correlation - np.diag(np.diag(correlation))
    # each entry is about CN(0, 1/DROPS): the largest of M exceeds sqrt(ln(M / p) / DROPS) with probability p
    pairs = off_diagonal.size / 2
    assert np.abs(off_diagonal).max() < math.sqrt(math.log(pairs / 1e-5) / DROPS)


def test_shadowing_is_normal_in_db(channels):
    h, shadowing_db = channels(shadowing_db=6.0)
    assert shadowing_db.mean() == pytest.approx(0, abs=5 * 6 / math.sqrt(shadowing_db.size))
    assert stats.kstest(shadowing_db.ravel() / 6.0, stats.norm.cdf).pvalue > 1e-4
    power = (np.abs(h.astype(np.complex128)) ** 2).mean(axis=(1, 2, 4))
    # 32 samples of each user's fading: the rest of the power is the shadowing
    assert (power * 10 ** (-shadowing_db / 10)).mean() == pytest.approx(1, abs=5 / math.sqrt(32 * power.size))
