"""WMMSE: it never loses rate, ends where nothing can be gained nearby, and finds what is known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cellfree_sim.downlink.mrt import matched_beams
from cellfree_sim.downlink.rates import station_power, sum_rate, user_rates
from cellfree_sim.downlink.wmmse import wmmse
from cellfree_sim.downlink.zero_forcing import greedy_allocation, zero_forcing_beams
from cellfree_sim.scenario.extensions import REFERENCES

STARTS = ["matched", "gsa-zf", "random"]
EVERY_START = pytest.mark.parametrize("start", STARTS)


def channels(s=6, b=2, n=3, t=4, i=5, r=2, scale=3.0, seed=1):
    """Rayleigh channels, with gains of links over 40 dB."""
    generator = torch.Generator().manual_seed(seed)
    gains = scale * 10 ** (2 * torch.rand(s, b, 1, 1, i, 1, generator=generator) - 1)
    return gains * torch.randn(s, b, n, t, i, r, dtype=torch.complex64, generator=generator)


def run(channel, iterations=150, tolerance=1e-9, start="matched", seed=3):
    return wmmse(channel, seed=seed, iterations=iterations, tolerance=tolerance, start=start)


def rate_of(channel, **options):
    beams, allocation, _ = run(channel, **options)
    return sum_rate(beams, allocation, channel).double()


def water_filling(gains):
    """sum log2(1 + g p) under sum p = 1: try every number of served channels, strongest first."""
    gains = np.sort(np.asarray(gains, float))[::-1]
    levels = [((1 + (1 / gains[:k]).sum()) / k, k) for k in range(1, len(gains) + 1)]
    return max(np.log2(level * gains[:k]).sum() for level, k in levels if (level >= 1 / gains[:k]).all())


# What it guarantees ------------------------------------------------------------------------------------------------


@EVERY_START
@pytest.mark.parametrize("scale", [0.01, 3.0, 3e3])
@pytest.mark.parametrize("sizes", [{}, {"b": 3, "i": 9, "r": 1}, {"b": 1, "t": 8, "i": 3, "r": 3}, {"t": 1, "n": 1}])
def test_the_sum_rate_never_falls(start, scale, sizes):
    _, _, history = run(channels(scale=scale, **sizes), iterations=60, start=start)
    assert (history.diff(dim=1) >= -1e-9 * history[:, 1:]).all()
    assert (history[:, -1] > history[:, 0]).all()


def test_the_history_is_the_rate_of_the_beams():
    channel = channels()
    for iterations in (0, 1, 7, 40):
        beams, allocation, history = run(channel, iterations=iterations)
        assert history.shape == (6, iterations + 1)
        rates = sum_rate(beams, allocation, channel).double()
        torch.testing.assert_close(rates, history[:, -1], rtol=1e-4, atol=0)  # weak streams were switched off


@pytest.mark.parametrize("start", ["matched", "gsa-zf"])
def test_it_starts_where_it_is_told_to(start):
    """Up to noise, and power: 2 % of the amplitude of the budget, on each of N T I entries of a beam."""
    channel = channels()
    beams, _, _ = run(channel, iterations=0, start=start)
    if start == "matched":
        expected = matched_beams(channel, torch.ones(6, 2, 3, 5))
    else:
        expected = zero_forcing_beams(channel, greedy_allocation(channel, 1))
    overlap = (beams.conj() * expected).sum((2, 3, 4)).abs()
    torch.testing.assert_close(overlap, torch.full((6, 2), (1 + 3 * 4 * 5 * 0.02**2) ** -0.5), rtol=1e-2, atol=0)


@EVERY_START
def test_it_ends_at_a_stationary_point(start):
    """KKT by automatic differentiation: the gradient at w^b is nu_b w^b with nu_b >= 0, and 0 below the budget."""
    channel = channels(s=4, n=2, i=3, scale=0.3).to(torch.complex128)
    beams, allocation, _ = run(channel, iterations=1000, tolerance=1e-12, start=start)
    leaf = beams.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(user_rates(leaf, allocation, channel).sum(), leaf)
    gradient = gradient * allocation.unsqueeze(3)
    power = station_power(beams, allocation)
    multiplier = (gradient.conj() * beams).sum((2, 3, 4)).real / power
    rest = gradient - multiplier[:, :, None, None, None] * beams
    assert (multiplier >= -1e-3).all()
    assert (rest.abs().amax((2, 3, 4)) <= 5e-3 * gradient.abs().amax((1, 2, 3, 4))[:, None]).all()
    assert ((power > 1 - 1e-6) | (multiplier < 1e-2)).all()


def test_realisations_are_solved_each_by_itself():
    """Whether with others that take longer, or with more than are solved at a time: from one start to one end."""
    channel = channels(s=103, b=1, n=2, t=2, i=3, r=1)
    many, _, history = run(channel, tolerance=1e-4)
    assert many.abs().sum((1, 2, 3, 4)).min() > 0 and (history[:, -1] > history[:, 0]).all()
    few, _, expected = run(channel[:40], tolerance=1e-4)
    torch.testing.assert_close(history[:30], expected[:30], rtol=1e-9, atol=0)
    torch.testing.assert_close(many[:30], few[:30], rtol=1e-4, atol=1e-5)


def test_a_realisation_is_done_when_it_hardly_gains():
    channel = channels()
    _, _, history = run(channel, iterations=100, tolerance=1e-2)
    gains = history.diff(dim=1) / history[:, 1:]
    for row in gains:
        small = (row <= 1e-2).nonzero().flatten()
        assert len(small) and (row[small[0] + 1 :] == 0).all()


# What is known in closed form --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("t", "r"), [(1, 1), (4, 1), (4, 2), (2, 3)])
@EVERY_START
def test_one_user_of_one_station_fills_water_over_subcarriers(t, r, start):
    channel = channels(s=5, b=1, n=4, t=t, i=1, r=r, scale=0.7)
    sigma = np.linalg.svd(channel.squeeze(4).squeeze(1).numpy().astype(complex), compute_uv=False)[..., 0]
    expected = [water_filling(row**2) for row in sigma]
    np.testing.assert_allclose(rate_of(channel, start=start).numpy(), expected, rtol=1e-4)


@EVERY_START
def test_users_with_orthogonal_channels_fill_water_over_users(start):
    gains = np.array([[8.0, 4.0, 0.3], [20.0, 20.0, 20.0], [5.0, 1.0, 0.9]])
    channel = torch.diag_embed(torch.from_numpy(np.sqrt(gains)).to(torch.complex64)).reshape(3, 1, 1, 3, 3, 1)
    expected = [water_filling(row) for row in gains]
    found = torch.stack([rate_of(channel, start=start, seed=seed) for seed in range(3)]).amax(0)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3)


@pytest.mark.parametrize("t", [1, 3])
@EVERY_START
def test_stations_add_up_amplitudes_at_their_only_user(t, start):
    """One subcarrier, one receive antenna: log2(1 + (sum_b |h_b|)^2), whatever the phases."""
    channel = channels(s=5, b=3, n=1, t=t, i=1, r=1, scale=0.5)
    expected = torch.log2(1 + torch.linalg.vector_norm(channel.reshape(5, 3, t), dim=-1).sum(1).square())
    torch.testing.assert_close(rate_of(channel, start=start), expected.double(), rtol=1e-4, atol=0)


def test_a_lone_strong_user_is_best_served_alone():
    """One antenna everywhere: serving the stronger of two users with all power is optimal (a degraded channel)."""
    channel = channels(s=8, b=1, n=1, t=1, i=2, r=1)
    strongest = torch.log2(1 + channel.abs().square().amax((1, 2, 3, 4, 5)))
    torch.testing.assert_close(rate_of(channel), strongest.double(), rtol=1e-4, atol=0)


def test_two_stations_and_two_users_against_a_grid():
    """One antenna everywhere: powers, splits and one phase for each user; 13^2 x 24^2 points at 9 powers."""
    channel = channels(s=3, b=2, n=1, t=1, i=2, r=1, scale=0.2, seed=5)
    h = channel.reshape(3, 2, 2).numpy().astype(complex)  # [S, B, I]
    amplitude = np.sin(np.linspace(0, math.pi / 2, 13))
    split = np.stack([amplitude, amplitude[::-1]])  # of a station's power over the users
    phase = np.exp(2j * np.pi * np.arange(24) / 24)
    best = np.zeros(3)
    for power in (0.0, 0.25, 0.5, 0.75, 1.0):  # of the second station; some station is at its budget at the optimum
        for first, second in ((1.0, power), (power, 1.0)):
            # g[s, i, j]: at user i the signal for user j
            one = math.sqrt(first) * np.conj(h[:, 0])[:, :, None, None] * split[None, None]  # [S, I, J, 13]
            two = math.sqrt(second) * np.conj(h[:, 1])[:, :, None, None] * split[None, None]
            g = np.abs(one[..., :, None, None] + two[..., None, :, None] * phase) ** 2  # [S, I, J, 13, 13, 24]
            a, b = g[:, 0, 0, :, :, :, None] / (1 + g[:, 0, 1, :, :, None, :]), g[:, 1, 1, :, :, None, :]
            b = b / (1 + g[:, 1, 0, :, :, :, None])
            best = np.maximum(best, np.log2((1 + a) * (1 + b)).reshape(3, -1).max(-1))
    found = torch.stack([rate_of(channel, start=start) for start in STARTS]).amax(0)
    assert (found.numpy() >= best - 1e-3).all()
    assert (found.numpy() <= best + 0.05).all()  # of the grid's coarseness


# Beside the other references ---------------------------------------------------------------------------------------


def test_it_and_gradient_ascent_find_the_same_rates():
    """Two algorithms with nothing in common but their start; single realisations may end at different optima."""
    channel = channels(s=20, b=2, n=2, t=4, i=4, r=2)
    ascent = REFERENCES.create("ascent", steps=400, penalty=0.0)
    ascended = sum_rate(*ascent.solve(channel, min_rate=0.0, seed=1), channel).double()
    found = rate_of(channel, tolerance=1e-6)
    difference = found - ascended
    assert difference.mean().abs() <= 3 * difference.std() / math.sqrt(20) + 0.01 * ascended.mean()
    assert difference.mean().abs() < 0.02 * ascended.mean()


def test_it_is_above_every_reference_without_search():
    channel = channels(s=20)
    found = rate_of(channel)
    for name in set(REFERENCES.names()) - {"ascent", "wmmse"}:
        other = sum_rate(*REFERENCES.create(name).solve(channel, min_rate=0.0, seed=1), channel)
        assert (found > other).all(), name
