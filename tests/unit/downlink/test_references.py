"""Algorithms without learning: against brute force, projections by NumPy, water-filling and grid searches."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from cellfree_sim.downlink.rates import user_rates
from cellfree_sim.downlink.zero_forcing import (
    greedy_allocation,
    random_allocation,
    random_subsets,
    zero_forcing_beams,
)
from cellfree_sim.scenario.extensions import REFERENCES

EVERY_REFERENCE = pytest.mark.parametrize("name", REFERENCES.names())
FEW_STEPS = {"ascent": {"steps": 20}, "wmmse": {"iterations": 20}}
MAY_SAVE_POWER = {"wmmse"}


def channels(s=6, b=2, n=3, t=4, i=5, r=2, scale=3.0, seed=1):
    """Rayleigh channels, with gains of links over 40 dB."""
    generator = torch.Generator().manual_seed(seed)
    gains = scale * 10 ** (2 * torch.rand(s, b, 1, 1, i, 1, generator=generator) - 1)
    return gains * torch.randn(s, b, n, t, i, r, dtype=torch.complex64, generator=generator)


def solved(name, channel, min_rate=0.02, seed=3, **options):
    reference = REFERENCES.create(name, **{**FEW_STEPS.get(name, {}), **options})
    return reference.solve(channel, min_rate=min_rate, seed=seed)


def penalised(beams, allocation, channel, floor, penalty=20.0):
    rates = user_rates(beams, allocation, channel).double()
    return (rates - penalty * (floor - rates).clamp_min(0)).sum(-1)


def water_filling(gains, budget=1.0):
    """sum log2(1 + g p) under sum p = budget: try every number of served channels, strongest first."""
    gains = np.sort(np.asarray(gains, float))[::-1]
    best = 0.0
    for k in range(1, len(gains) + 1):
        level = (budget + (1 / gains[:k]).sum()) / k
        if (level >= 1 / gains[:k]).all():
            best = max(best, np.log2(level * gains[:k]).sum())
    return best


@EVERY_REFERENCE
def test_every_reference_keeps_the_budget_and_decides_in_zeros_and_ones(name):
    for channel in (channels(), channels(i=1), channels(b=1, n=1, t=1, r=1), channels(scale=300.0, i=9)):
        beams, allocation = solved(name, channel)
        s, b, n, t, i, _ = channel.shape
        assert beams.shape == (s, b, n, t, i) and beams.dtype == torch.complex64
        assert allocation.shape == (s, b, n, i) and allocation.dtype == torch.float32
        assert ((allocation == 0) | (allocation == 1)).all()
        power = (beams.abs().double() * allocation.unsqueeze(3)).square().sum((2, 3, 4))
        assert (power <= 1 + 1e-5).all()
        assert name in MAY_SAVE_POWER or (power >= 1 - 1e-5).all()


@pytest.mark.parametrize("name", ["rsa-zf", "rsa2-zf", "rsa-zf-literal", "ascent", "wmmse"])
def test_what_is_random_in_a_reference_follows_its_seed(name):
    (first, _), (second, _) = (solved(name, channels(), seed=seed) for seed in (1, 2))
    assert not torch.equal(first, second)


@EVERY_REFERENCE
@pytest.mark.parametrize("steps", [None, 0])
def test_a_station_that_nobody_hears_does_no_harm(name, steps):
    channel = channels()
    channel[:, 1] = 0
    options = {"ascent": {"steps": steps}, "wmmse": {"iterations": steps}} if steps is not None else {}
    beams, allocation = solved(name, channel, **options.get(name, {}))
    assert beams.isfinite().all()
    rates = user_rates(beams, allocation, channel)
    assert rates.isfinite().all() and (rates.sum(-1) > 0).all()
    assert all(part.isfinite().all() for part in solved(name, torch.zeros_like(channel)))


# Subcarrier allocation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_greedy_allocation_picks_the_strongest(count):
    channel = channels()
    allocation = greedy_allocation(channel, count)
    h = channel.numpy().astype(complex)
    for s, b, n in np.ndindex(6, 2, 3):
        gains = [np.linalg.norm(h[s, b, n, :, i, :]) for i in range(5)]
        strongest = sorted(range(5), key=lambda i: -gains[i])[:count]
        assert allocation[s, b, n].nonzero().flatten().tolist() == sorted(strongest)


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_random_allocation_serves_as_many_users_as_asked(count):
    allocation = random_allocation(channels(), count, seed=1)
    assert (allocation.sum(-1) == min(count, 5)).all()
    assert not torch.equal(allocation, random_allocation(channels(), count, seed=2)) or count >= 5


def test_random_subsets_are_fair_coins_and_never_empty():
    allocation = random_subsets(channels(s=4000, b=1, n=1, i=3), seed=1)[:, 0, 0]
    found, counts = allocation.unique(dim=0, return_counts=True)
    assert found.tolist() == [list(subset) for subset in itertools.product((0.0, 1.0), repeat=3)][1:]
    expected = [1 / 8 + (sum(subset) == 1) / 24 for subset in found.tolist()]  # the empty set turns into single users
    np.testing.assert_allclose(counts.numpy() / 4000, expected, atol=4 * (0.25 / 4000) ** 0.5)


# Zero-forcing ------------------------------------------------------------------------------------------------------


def effective_channels(h, users):
    """H p for each user, p the dominant right singular vector by NumPy (its phase is arbitrary)."""
    columns = []
    for i in users:
        _, _, vh = np.linalg.svd(h[:, i, :])
        columns.append(h[:, i, :] @ vh[0].conj())
    return np.stack(columns, 1)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("r", [1, 2, 3])
def test_zero_forcing_beams_are_projections_away_from_the_other_users(count, r):
    """Up to phase: the part of a user's effective channel orthogonal to those of the others; power 1 / (N K)."""
    channel = channels(r=r)
    allocation = greedy_allocation(channel, count)
    beams = zero_forcing_beams(channel, allocation).numpy()
    for s, b, n in np.ndindex(6, 2, 3):
        users = allocation[s, b, n].nonzero().flatten().tolist()
        effective = effective_channels(channel[s, b, n].numpy().astype(complex), users)
        effective /= np.linalg.norm(effective, axis=0)
        for k, user in enumerate(users):
            others, _ = np.linalg.qr(np.delete(effective, k, axis=1))
            direction = effective[:, k] - others @ (others.conj().T @ effective[:, k])
            direction /= np.linalg.norm(direction)
            beam = beams[s, b, n, :, user]
            assert abs(np.vdot(direction, beam)) == pytest.approx(math.sqrt(1 / (3 * count)), rel=1e-4)
            assert np.linalg.norm(beam) == pytest.approx(math.sqrt(1 / (3 * count)), rel=1e-5)
        unserved = [i for i in range(5) if i not in users]
        assert (beams[s, b, n][:, unserved] == 0).all()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_zero_forcing_nulls_the_interference_of_a_station(count):
    """Single-antenna users of one station: rates without interference, although all are served at once."""
    channel = channels(b=1, n=1, r=1)
    beams, allocation = solved("gsa-zf", channel, users_per_subcarrier=count)
    wanted = torch.einsum("sbntir,sbnti->si", channel.conj(), beams).abs().square()
    torch.testing.assert_close(user_rates(beams, allocation, channel), torch.log2(1 + wanted), rtol=1e-4, atol=1e-6)


def test_zero_forcing_copes_with_users_80_db_apart():
    channel = channels(b=1, n=1, i=2, r=1)
    channel[..., 1, :] *= 1e-4
    beams, _ = solved("gsa-zf", channel, users_per_subcarrier=2)
    received = torch.einsum("sbntir,sbntj->sij", channel.conj(), beams).abs()
    assert (received[:, 0, 1] < 1e-4 * received[:, 0, 0]).all() and (received[:, 1, 0] < 1e-4 * received[:, 1, 1]).all()


def test_signals_of_all_stations_agree_in_phase_at_the_first_antenna():
    """One user on each subcarrier: h^H w of the first receive antenna is real and positive for every station."""
    channel = channels(i=1)
    beams, _ = solved("gsa-zf", channel)
    arriving = torch.einsum("sbntir,sbnti->sbnr", channel.conj(), beams)[..., 0]
    assert (arriving.real > 0).all()
    assert (arriving.imag.abs() < 1e-4 * arriving.real).all()


def test_more_users_than_antennas_still_keep_the_budget():
    beams, allocation = solved("gsa-zf", channels(t=2), users_per_subcarrier=5)
    power = (beams.abs() * allocation.unsqueeze(3)).square().sum((2, 3, 4))
    assert beams.isfinite().all() and (power <= 1 + 1e-5).all()


@pytest.mark.parametrize(("name", "base"), [("gsa2-zf", "gsa-zf"), ("rsa2-zf", "rsa-zf")])
def test_pairs_are_two_users_on_each_subcarrier(name, base):
    channel = channels()
    beams, allocation = solved(name, channel)
    assert (allocation.sum(-1) == 2).all()
    for found, expected in zip((beams, allocation), solved(base, channel, users_per_subcarrier=2), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["gsa-zf-literal", "rsa-zf-literal"])
@pytest.mark.parametrize(("t", "i", "r"), [(4, 2, 2), (6, 3, 2), (4, 3, 1), (4, 5, 2), (2, 3, 1), (4, 1, 2)])
def test_literal_beams_are_the_pseudo_inverse_over_all_antennas(name, t, i, r):
    """G (G^H G)^-1 by NumPy with as many antennas as that takes, (G G^H)^-1 G with fewer; equal power in each beam."""
    channel = channels(b=2, n=3, t=t, i=i, r=r)
    beams, allocation = solved(name, channel)
    for s, b, n in np.ndindex(6, 2, 3):
        g = channel[s, b, n].reshape(t, i * r).numpy().astype(complex)
        inverse = g @ np.linalg.inv(g.conj().T @ g) if i * r <= t else np.linalg.inv(g @ g.conj().T) @ g
        for user in allocation[s, b, n].nonzero().flatten().tolist():
            expected = inverse.reshape(t, i, r)[:, user].sum(-1)
            expected /= np.linalg.norm(expected) * math.sqrt(allocation[s, b].sum())
            np.testing.assert_allclose(beams[s, b, n, :, user].numpy(), expected, rtol=0, atol=2e-3)


def test_literal_beams_reach_no_antenna_of_another_user_where_they_can():
    channel = channels(t=8, i=3, r=2)
    beams, _ = solved("rsa-zf-literal", channel)
    received = torch.einsum("sbntir,sbntj->sbnirj", channel.conj(), beams)
    strength = received.abs().amax(-2)  # [S, B, N, I, J]
    served = (beams.abs().sum(3) > 0).unsqueeze(-2)
    own = torch.eye(3, dtype=torch.bool)
    weakest = torch.where(served & own, strength, math.inf).amin((-2, -1))
    assert (torch.where(own, 0.0, strength).amax((-2, -1)) < 2e-3 * weakest).all()
    at_own = received.diagonal(dim1=3, dim2=5)  # [S, B, N, R, I]
    assert ((at_own[:, :, :, 0] - at_own[:, :, :, 1]).abs() <= 2e-3 * at_own[:, :, :, 0].abs()).all()


# Maximum ratio transmission ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("r", [1, 2, 3])
def test_matched_beams_are_dominant_singular_vectors(count, r):
    """By NumPy, up to phase; power 1 / (N K)."""
    channel = channels(r=r)
    beams, allocation = solved("mrt", channel, users_per_subcarrier=count)
    assert torch.equal(allocation, greedy_allocation(channel, count))
    for s, b, n in np.ndindex(6, 2, 3):
        for user in range(5):
            left, _, _ = np.linalg.svd(channel[s, b, n, :, user].numpy().astype(complex))
            beam = beams[s, b, n, :, user].numpy()
            expected = math.sqrt(1 / (3 * count)) if allocation[s, b, n, user] else 0.0
            assert np.linalg.norm(beam) == pytest.approx(expected, rel=1e-5)
            assert abs(np.vdot(left[:, 0], beam)) == pytest.approx(expected, rel=1e-4)


def test_matched_beams_for_a_single_user_have_a_closed_form():
    """One station: sum_n log2(1 + sigma_n^2 / N)."""
    channel = channels(b=1, i=1)
    sigma = np.linalg.svd(channel.squeeze(4).squeeze(1).numpy().astype(complex), compute_uv=False)[..., 0]
    rates = user_rates(*solved("mrt", channel), channel)[:, 0]
    np.testing.assert_allclose(rates.numpy(), np.log2(1 + sigma**2 / 3).sum(-1), rtol=1e-5)


def test_with_one_user_on_a_subcarrier_there_is_nothing_to_null():
    channel = channels()
    matched, zero_forcing = solved("mrt", channel, users_per_subcarrier=1), solved("gsa-zf", channel)
    torch.testing.assert_close(matched, zero_forcing, rtol=1e-5, atol=1e-6)


# Gradient ascent ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.1, 3.0, 300.0])
@pytest.mark.parametrize("min_rate", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("steps", [0, 1, 25])
def test_ascent_never_ends_below_its_start(scale, min_rate, steps):
    channel = channels(scale=scale)
    start = penalised(*solved("gsa-zf", channel), channel, 1.5 * min_rate)
    end = penalised(*solved("ascent", channel, min_rate, steps=steps), channel, 1.5 * min_rate)
    assert (end >= start - 1e-4 * start.abs()).all()
    if steps == 25:
        assert end.mean() > start.mean()


def test_more_realisations_than_are_ascended_at_a_time():
    channel = channels(s=53, b=1, n=1, i=2)
    beams, allocation = solved("ascent", channel, steps=5)
    assert beams.shape[0] == allocation.shape[0] == 53
    start = penalised(*solved("gsa-zf", channel), channel, 0.03)
    assert (penalised(beams, allocation, channel, 0.03) >= start - 1e-4 * start.abs()).all()


@pytest.mark.parametrize(("t", "r"), [(1, 1), (4, 1), (4, 2), (2, 3)])
def test_ascent_of_one_user_is_the_dominant_eigenbeam(t, r):
    channel = channels(s=5, b=1, n=1, t=t, i=1, r=r)
    sigma = np.linalg.svd(channel.reshape(5, t, r).numpy().astype(complex), compute_uv=False)[:, 0]
    beams, allocation = solved("ascent", channel, steps=150)
    rates = user_rates(beams, allocation, channel)[:, 0]
    np.testing.assert_allclose(rates.numpy(), np.log2(1 + sigma**2), rtol=1e-4)


def test_ascent_of_one_user_on_several_subcarriers_fills_water():
    gains = np.array([[4.0, 1.0, 0.2], [0.5, 0.4, 0.3], [30.0, 20.0, 10.0], [2.0, 0.1, 2.0]])
    channel = torch.from_numpy(np.sqrt(gains)).to(torch.complex64).reshape(4, 1, 3, 1, 1, 1)
    beams, allocation = solved("ascent", channel, steps=250)
    rates = user_rates(beams, allocation, channel)[:, 0]
    np.testing.assert_allclose(rates.numpy(), [water_filling(row) for row in gains], rtol=1e-3)


def test_ascent_of_users_with_orthogonal_channels_fills_water_over_users():
    """No interference where beams are matched: the sum rate is that of parallel channels. The start serves one user."""
    gains = np.array([[8.0, 4.0], [20.0, 20.0], [5.0, 1.0]])
    channel = torch.diag_embed(torch.from_numpy(np.sqrt(gains)).to(torch.complex64)).reshape(3, 1, 1, 2, 2, 1)
    beams, allocation = solved("ascent", channel, min_rate=0.0, steps=300)
    found = user_rates(beams, allocation, channel).sum(-1)
    np.testing.assert_allclose(found.numpy(), [water_filling(row) for row in gains], rtol=1e-3)


def test_ascent_of_several_stations_for_one_user_adds_up_amplitudes():
    """One antenna everywhere: log2(1 + (sum_b |h_b|)^2), whatever the phases."""
    channel = channels(s=5, b=3, n=1, t=1, i=1, r=1)
    beams, allocation = solved("ascent", channel, steps=200)
    expected = torch.log2(1 + channel.abs().sum((1, 2, 3, 4, 5)).square())
    torch.testing.assert_close(user_rates(beams, allocation, channel)[:, 0], expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("min_rate", [0.0, 0.3])
def test_ascent_of_two_users_finds_the_best_split_of_a_grid(min_rate):
    """One antenna: the powers p and 1 - p are all there is to choose; p on a grid of 20 001."""
    gains = np.array([[9.0, 4.0], [5.0, 2.0], [2.0, 1.9]])
    p, strong, weak = np.linspace(0, 1, 20_001), gains[:, :1], gains[:, 1:]
    first = np.log2(1 + strong * p / (1 + strong * (1 - p)))
    second = np.log2(1 + weak * (1 - p) / (1 + weak * p))
    rates = np.stack([first, second])
    best = (rates - 20 * np.maximum(0, 1.5 * min_rate - rates)).sum(0).max(-1)
    channel = torch.from_numpy(np.sqrt(gains)).to(torch.complex64).reshape(3, 1, 1, 1, 2, 1)
    found = penalised(*solved("ascent", channel, min_rate, steps=400), channel, 1.5 * min_rate)
    np.testing.assert_allclose(found.numpy(), best, rtol=5e-3)


def test_ascent_beats_every_allocation_of_single_users():
    """Two stations, two subcarriers, two users: no assignment of subcarriers to one user each does better."""
    channel = channels(s=4, b=2, n=2, t=2, i=2, r=1, scale=1.0)
    choices = itertools.product(range(2), repeat=4)
    best = torch.full((4,), -math.inf, dtype=torch.float64)
    for choice in choices:
        allocation = torch.nn.functional.one_hot(torch.tensor(choice).reshape(1, 2, 2), 2).float().expand(4, 2, 2, 2)
        best = torch.maximum(best, penalised(zero_forcing_beams(channel, allocation), allocation, channel, 0.0))
    found = penalised(*solved("ascent", channel, 0.0, steps=250), channel, 0.0)
    assert (found >= best - 1e-3).all()
