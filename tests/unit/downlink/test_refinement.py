"""A step of the weighted-MMSE algorithm against closed forms, optimality conditions and the rates it should raise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cellfree_sim.downlink.networks.refinement import refine_beams
from cellfree_sim.downlink.policy import PolicyShape
from cellfree_sim.downlink.rates import user_rates
from cellfree_sim.scenario.extensions import POLICIES

S, N, T, USERS, R = 8, 2, 4, 5, 2


def drawn(*sizes, seed=1, gain=3.0):
    generator = torch.Generator().manual_seed(seed)
    return gain * torch.randn(sizes, dtype=torch.complex128, generator=generator)


def normalised(beams):
    power = beams.abs().square().sum((2, 3, 4), keepdim=True)
    return beams * power.rsqrt()


def start(channel, seed=2):
    s, b, n, t, i, _ = channel.shape
    return normalised(drawn(s, b, n, t, i, seed=seed))


def weighted_rates(beams, channel, priority):
    """sum_ni alpha_ni r_ni [S], one subcarrier at a time."""
    everything = torch.ones_like(beams[:, :, :1, 0].real)
    return sum(
        (priority[:, n] * user_rates(beams[:, :, n : n + 1], everything, channel[:, :, n : n + 1])).sum(1)
        for n in range(channel.shape[2])
    )


def test_for_one_user_it_is_a_power_iteration():
    """One station, user and subcarrier: u ~ H^H w, and the new beam is along H u, whatever prices and weights are."""
    channel = drawn(S, 1, 1, T, 1, R)
    beams = start(channel)
    found = normalised(refine_beams(beams, channel, torch.ones(S, 1, 1)))[:, 0, 0, :, 0]
    h, w = channel[:, 0, 0, :, 0], beams[:, 0, 0, :, 0]
    expected = (h @ h.mH @ w.unsqueeze(-1)).squeeze(-1)
    expected = expected / expected.norm(dim=-1, keepdim=True)
    overlap = (expected.conj() * found).sum(-1)
    torch.testing.assert_close(overlap, torch.ones_like(overlap), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("stations", [1, 3])
def test_beams_are_optimal_for_the_receivers_at_some_price_of_power(stations):
    """d/dw_b of sum_i a_i E_i(w) is -lambda_b w_b, with one price per station for all subcarriers and users; prices sum
    to sum a |u|^2. Everything but the step itself is computed here, with loops."""
    channel, priority = drawn(S, stations, N, T, USERS, R), torch.rand(S, N, USERS, dtype=torch.float64) + 0.5
    beams = start(channel)
    found = refine_beams(beams, channel, priority)
    for s in range(S):
        gradients, total = np.zeros((stations, N, T, USERS), complex), 0.0
        for n in range(N):
            h = channel[s, :, n].numpy().transpose(2, 0, 1, 3).reshape(USERS, stations * T, R)
            w = beams[s, :, n].numpy().reshape(stations * T, USERS)
            new = found[s, :, n].numpy().reshape(stations * T, USERS)
            gradient = np.zeros_like(new)
            for i in range(USERS):
                g = h[i].conj().T @ w
                u = np.linalg.solve(g @ g.conj().T + np.eye(R), g[:, i])
                a = float(priority[s, n, i]) / (1 - (g[:, i].conj() @ u).real)
                effective = h[i] @ u
                total += a * np.linalg.norm(u) ** 2
                gradient += a * np.outer(effective, effective.conj() @ new)
                gradient[:, i] -= a * effective
            gradients[:, n] = gradient.reshape(stations, T, USERS)
        prices = [
            -np.vdot(found[s, b].numpy(), gradients[b]) / np.linalg.norm(found[s, b]) ** 2 for b in range(stations)
        ]
        for b in range(stations):
            np.testing.assert_allclose(gradients[b], -prices[b] * found[s, b].numpy(), atol=1e-9 * abs(prices[b]))
            assert prices[b].real > 0
        assert sum(prices) == pytest.approx(total, rel=1e-9)


def test_with_one_station_the_weighted_rate_never_falls():
    """The price is exact there, so that each step, scaled to full power, is one of a monotone algorithm."""
    channel, priority = drawn(S, 1, N, T, USERS, R), torch.rand(S, N, USERS, dtype=torch.float64) + 0.5
    beams = start(channel)
    rates = [weighted_rates(beams, channel, priority)]
    for _ in range(25):
        beams = normalised(refine_beams(beams, channel, priority))
        rates.append(weighted_rates(beams, channel, priority))
    gains = torch.stack(rates).diff(dim=0)
    assert (gains > -1e-9).all()
    assert (rates[-1] > 1.2 * rates[0]).all()


def test_with_several_stations_steps_raise_the_rate_and_use_each_budget():
    channel = drawn(S, 3, N, T, USERS, R)
    beams, priority = start(channel), torch.ones(S, N, USERS, dtype=torch.float64)
    before = weighted_rates(beams, channel, priority)
    for _ in range(10):
        beams = refine_beams(beams, channel, priority)
        power = beams.abs().square().sum((2, 3, 4))
        beams = normalised(beams)
    assert (weighted_rates(beams, channel, priority) > 1.5 * before).all()
    assert ((power > 0.5) & (power < 2.0)).all()


def test_refinement_helps_a_network_that_has_learned_nothing():
    sizes = {"subcarriers": N, "tx_antennas": T, "users": USERS, "rx_antennas": R, "stations": 3}
    channel = drawn(64, 3, N, T, USERS, R).to(torch.complex64)
    rates = []
    for refinements in (0, 1, 3):
        network = POLICIES.create("set", refinements=refinements).build_central(PolicyShape(**sizes), 0).eval()
        with torch.no_grad():
            outputs = network(channel)
        rates.append(float(user_rates(outputs.beams, outputs.allocation, channel).sum(1).mean()))
    assert rates[0] < rates[1] < rates[2]


def test_gradients_are_finite_at_high_gain():
    channel = drawn(S, 3, N, T, USERS, R, gain=3e3)
    beams = start(channel).requires_grad_()
    priority = torch.ones(S, N, USERS, dtype=torch.float64, requires_grad=True)
    refined = normalised(refine_beams(beams, channel, priority))
    weighted_rates(refined, channel, torch.ones(S, N, USERS)).sum().backward()
    assert beams.grad is not None and beams.grad.isfinite().all()
    assert priority.grad is not None and priority.grad.isfinite().all()
