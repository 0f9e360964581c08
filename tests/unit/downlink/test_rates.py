"""Rates against equations (2) to (5) written out with Kronecker products and determinants, and their gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cellfree_sim.downlink.rates import project_to_budget, station_power, sum_rate, user_rates


def drawn(seed, s=2, b=2, n=2, t=3, i=3, r=2, dtype=torch.complex64):
    """Random beams, allocation and channel; all entries of the order of 1."""
    generator = torch.Generator().manual_seed(seed)
    beams = torch.randn(s, b, n, t, i, dtype=dtype, generator=generator)
    allocation = torch.rand(s, b, n, i, dtype=beams.real.dtype, generator=generator)
    channel = torch.randn(s, b, n, t, i, r, dtype=dtype, generator=generator)
    return beams, allocation, channel


def literal_rates(beams, allocation, channel, noise_power=1.0):
    """(2) to (5), term by term in float64."""
    w, v, h = (x.detach().numpy().astype(complex) for x in (beams, allocation, channel))
    S, B, N, T, users, R = h.shape
    rates = np.zeros((S, users))
    for s, n, i in np.ndindex(S, N, users):
        H = np.concatenate([h[s, b, n, :, i, :] for b in range(B)])  # [B T, R]
        A = noise_power * np.eye(R, dtype=complex)
        for j in range(users):
            v_tilde = np.kron(np.diag(v[s, :, n, j]), np.eye(T))
            x = v_tilde @ np.concatenate([w[s, b, n, :, j] for b in range(B)])
            covariance = H.conj().T @ np.outer(x, x.conj()) @ H
            if j == i:
                wanted = covariance
            else:
                A = A + covariance
        rates[s, i] += np.linalg.slogdet(np.eye(R) + wanted @ np.linalg.inv(A))[1] / math.log(2)
    return rates


def slogdet_rates(beams, allocation, channel, noise_power=1.0):
    """The same in torch, log2 |A + S| - log2 |A|, for autograd to differentiate."""
    received = torch.einsum("sbntir,sbntj->snirj", channel.conj(), beams * allocation.unsqueeze(3))
    users, r = channel.shape[4], channel.shape[5]
    everything = torch.einsum("snirj,sniqj->snirq", received, received.conj())
    everything = everything + noise_power * torch.eye(r, dtype=channel.dtype)
    own = torch.stack([received[:, :, i, :, i] for i in range(users)], 2)
    interference = everything - own.unsqueeze(-1) * own.conj().unsqueeze(-2)
    difference = torch.linalg.slogdet(everything).logabsdet - torch.linalg.slogdet(interference).logabsdet
    return difference.sum(1) / math.log(2)


@pytest.mark.parametrize("r", [1, 2, 3, 4])
@pytest.mark.parametrize(("b", "n", "t", "i"), [(1, 1, 1, 1), (1, 2, 4, 3), (3, 2, 2, 4)])
def test_rates_are_those_of_the_equations(r, b, n, t, i):
    inputs = drawn(r, 2, b, n, t, i, r, torch.complex128)
    for noise_power in (1.0, 0.3):
        found = user_rates(*inputs, noise_power)
        assert found.dtype == torch.float64
        np.testing.assert_allclose(found.numpy(), literal_rates(*inputs, noise_power), rtol=1e-10)
        np.testing.assert_allclose(sum_rate(*inputs, noise_power), found.sum(1), rtol=1e-12)


@pytest.mark.parametrize("r", [1, 2, 3, 4])
@pytest.mark.parametrize("gain_db", [-100, -60, -20, 0, 20, 40])
def test_rates_of_single_precision_inputs_are_accurate_at_every_scale(r, gain_db):
    beams, allocation, channel = drawn(r + 10, r=r)
    channel = channel * 10 ** (gain_db / 20)
    found = user_rates(beams, allocation, channel)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), literal_rates(beams, allocation, channel), rtol=1e-5)


@pytest.mark.parametrize("r", [1, 2, 3])
def test_a_weak_signal_under_strong_interference_keeps_its_digits(r):
    """Interference 70 dB above noise, the wanted signal 60 dB below the interference."""
    beams, allocation, channel = drawn(5, i=2, r=r)
    channel, allocation = channel * 10**3.5, torch.ones_like(allocation)
    beams[..., 0] *= 1e-3
    found = user_rates(beams, allocation, channel)
    np.testing.assert_allclose(found.numpy(), literal_rates(beams, allocation, channel), rtol=1e-5)


@pytest.mark.parametrize("r", [1, 2, 4])
def test_one_user_with_the_eigenbeam_reaches_its_closed_form(r):
    """log2(1 + P lambda_max / sigma^2), lambda_max by NumPy's singular values."""
    _, _, channel = drawn(3, s=4, b=1, n=1, t=4, i=1, r=r, dtype=torch.complex128)
    u, sigma, _ = np.linalg.svd(channel.reshape(4, 4, r).numpy())
    beams = torch.from_numpy(math.sqrt(2.0) * u[:, :, 0]).reshape(4, 1, 1, 4, 1)
    found = user_rates(beams, torch.ones(4, 1, 1, 1, dtype=torch.float64), channel, 0.5)
    np.testing.assert_allclose(found[:, 0].numpy(), np.log2(1 + 2.0 * sigma[:, 0] ** 2 / 0.5), rtol=1e-12)


def test_signals_of_several_stations_add_up_in_amplitude():
    """Three stations with gain 4 each, in phase: the user receives (3 x 2)^2, not 3 x 2^2."""
    channel = torch.full((1, 3, 1, 1, 1, 1), 2.0 + 0j)
    rate = user_rates(torch.ones(1, 3, 1, 1, 1) + 0j, torch.ones(1, 3, 1, 1), channel)
    assert float(rate) == pytest.approx(math.log2(37), rel=1e-6)


def test_the_channel_acts_conjugated():
    """h = j and w = j are matched, (H)^H w = 1; at a second station, h = 1 and w = 1 add to it."""
    channel = torch.tensor([1j, 1.0]).reshape(1, 2, 1, 1, 1, 1)
    rate = user_rates(channel.reshape(1, 2, 1, 1, 1), torch.ones(1, 2, 1, 1), channel)
    assert float(rate) == pytest.approx(math.log2(5), rel=1e-6)


@pytest.mark.parametrize("r", [1, 2, 3])
def test_a_user_without_allocation_is_as_good_as_absent(r):
    beams, allocation, channel = drawn(8, i=4, r=r)
    allocation[..., 2] = 0
    found = user_rates(beams, allocation, channel)
    others = [0, 1, 3]
    assert (found[:, 2] == 0).all()
    expected = user_rates(beams[..., others], allocation[..., others], channel[..., others, :])
    torch.testing.assert_close(found[:, others], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("r", [1, 2, 3, 4])
def test_gradients_are_those_of_finite_differences(r):
    inputs = [x.requires_grad_() for x in drawn(r, 1, 2, 1, 2, 2, r, torch.complex128)]
    assert torch.autograd.gradcheck(user_rates, inputs)


@pytest.mark.parametrize("r", [1, 2, 3, 4])
@pytest.mark.parametrize("gain_db", [-40, 0, 40])
def test_gradients_are_those_of_autograd_through_the_determinant(r, gain_db):
    inputs = drawn(r + 20, r=r, dtype=torch.complex128)
    inputs[2].mul_(10 ** (gain_db / 20))
    upstream = torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients = []
    for rates in (user_rates, slogdet_rates):
        leaves = [x.clone().requires_grad_() for x in inputs]
        gradients.append(torch.autograd.grad((rates(*leaves, 0.8) * upstream).sum(), leaves))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("r", [1, 2, 3])
@pytest.mark.parametrize("gain_db", [-100, 0, 60])
@pytest.mark.parametrize("silence", ["allocation", "beams", "channel"])
def test_gradients_stay_finite_where_nothing_is_sent_or_heard(r, gain_db, silence):
    beams, allocation, channel = drawn(2, r=r)
    channel = channel * 10 ** (gain_db / 20)
    {"allocation": allocation, "beams": beams, "channel": channel}[silence].zero_()
    leaves = [x.requires_grad_() for x in (beams, allocation, channel)]
    rates = user_rates(*leaves)
    gradients = torch.autograd.grad(rates.sum(), leaves)
    assert (rates == 0).all()
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert [g.dtype for g in gradients] == [torch.complex64, torch.float32, torch.complex64]


def test_station_power_is_the_sum_of_squares():
    beams, allocation, _ = drawn(4)
    w, v = beams.numpy().astype(complex), allocation.numpy().astype(float)
    for s, b in np.ndindex(2, 2):
        norms = [np.linalg.norm(v[s, b, n, i] * w[s, b, n, :, i]) for n in range(2) for i in range(3)]
        assert float(station_power(beams, allocation)[s, b]) == pytest.approx(sum(x**2 for x in norms), rel=1e-5)


def test_projection_touches_only_stations_above_the_budget():
    beams, allocation, _ = drawn(6)
    beams = beams / station_power(beams, allocation).sqrt()[..., None, None, None]
    beams[:, 0] *= 3.0
    beams[:, 1] *= 0.5
    projected = project_to_budget(beams, allocation)
    torch.testing.assert_close(station_power(projected, allocation)[:, 0], torch.ones(2))
    torch.testing.assert_close(projected[:, 0], beams[:, 0] / 3.0)
    assert torch.equal(projected[:, 1], beams[:, 1])
    assert float(station_power(project_to_budget(beams, allocation, 4.0), allocation)[0, 0]) == pytest.approx(4.0)
    assert (project_to_budget(torch.zeros_like(beams), allocation) == 0).all()
