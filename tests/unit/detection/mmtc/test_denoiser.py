"""Denoisers beside numerical integration, Onsager's term beside finite differences, and numbers that stay finite."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cellfree_sim.detection.mmtc.algorithms.denoiser import GainGrid, Prior, denoise, log_ratios, state_logits
from cellfree_sim.detection.mmtc.algorithms.gains import gain_grid
from cellfree_sim.detection.mmtc.algorithms.passing import Passing, message_passing, onsager
from cellfree_sim.uplink import MmtcProblem


def complex_normal(*shape, seed=1):
    return torch.view_as_complex(torch.randn(*shape, 2, generator=torch.Generator().manual_seed(seed)))


def integrated(z, gain, variance, activity, sections):
    """E[x_0 | z] of two pilots seen by one antenna, z = x + CN(0, variance), by sums over a grid of the plane.

    `gain` is a list of (gain, weight). By sections one pilot at most is sent; else each by itself.
    """
    reach = 6 * math.sqrt(max(g for g, _ in gain) + variance)
    axis = np.linspace(-reach, reach, 1201)
    x = axis[:, None] + 1j * axis[None, :]
    cell = (axis[1] - axis[0]) ** 2

    def normal(value, power):
        return np.exp(-(np.abs(value) ** 2) / power) / (math.pi * power)

    fading = sum(weight * normal(x, g) for g, weight in gain)
    evidence, first = [], []
    for seen in z:
        density = fading * normal(seen - x, variance)
        evidence.append(density.sum() * cell)
        first.append((x * density).sum() * cell)
    nothing = [normal(seen, variance) for seen in z]
    if not sections:
        share = activity / 2
        return share * first[0] / (share * evidence[0] + (1 - share) * nothing[0])
    total = (1 - activity) * nothing[0] * nothing[1]
    total += activity / 2 * (evidence[0] * nothing[1] + nothing[0] * evidence[1])
    return activity / 2 * first[0] * nothing[1] / total


@pytest.mark.parametrize("sections", [True, False])
@pytest.mark.parametrize("gains", [[(3.0, 1.0)], [(0.5, 0.3), (8.0, 0.7)]])
def test_denoisers_are_posterior_means(sections, gains):
    problem = MmtcProblem(devices=1, pilot_length=2, antennas=1, activity=0.3)
    z = np.array([1.3 - 1.1j, -0.6 + 0.4j])
    energy = torch.from_numpy(np.abs(z) ** 2).float().reshape(1, 1, 1, 2)
    values, weights = (torch.tensor(each) for each in zip(*gains, strict=True))
    grid = GainGrid(values.reshape(1, 1, 1, -1), weights.log())
    found = denoise(energy, grid, torch.tensor([[0.7]]), Prior.of(problem), antennas=1, sections=sections)
    for pilot in range(2):
        expected = integrated(z if pilot == 0 else z[::-1], gains, 0.7, 0.3, sections)
        got = found.weight[0, 0, 0, pilot].item() * z[pilot]
        assert got == pytest.approx(expected, rel=2e-5)


def test_several_antennas_and_stations_are_as_many_independent_looks():
    """The ratio of likelihoods beside that of the densities, at two stations with two antennas each."""
    z = complex_normal(2, 2, 3).numpy().astype(complex)  # [B, A, Q]
    gain, variance = np.array([2.0, 0.3]), np.array([0.5, 0.2])
    energy = torch.from_numpy((np.abs(z) ** 2).sum(1)).float()[None, :, None, :]
    grid = GainGrid(torch.from_numpy(gain).float().reshape(1, 2, 1, 1), torch.zeros(1))
    found = log_ratios(energy, grid, torch.from_numpy(variance).float()[None], antennas=2)[0, 0]
    loud, quiet = (gain + variance)[:, None, None], variance[:, None, None]
    expected = (np.abs(z) ** 2 * (1 / quiet - 1 / loud) + np.log(quiet / loud)).sum((0, 1))
    assert found.numpy() == pytest.approx(expected, rel=1e-5)


def test_state_logits_are_the_prior_and_the_ratios():
    problem = MmtcProblem(devices=2, bits=2, activity=(0.1, 0.4))
    logits = state_logits(torch.zeros(1, 2, 4), Prior.of(problem)).exp()
    assert torch.allclose(logits, torch.tensor([[[0.9] + [0.025] * 4, [0.6] + [0.1] * 4]]))


@pytest.mark.parametrize("kind", ["scalar", "matrix"])
@pytest.mark.parametrize("points", [1, 3])
def test_onsagers_term_is_the_derivative_of_the_denoiser(kind, points):
    """Finite differences in double precision, d/dz = (d/d Re - j d/d Im) / 2, at one station and (scalar) at two."""
    stations = 2 if kind == "scalar" else 1
    devices, antennas, length = 3, 4, 5
    problem = MmtcProblem(devices=devices, pilot_length=length, antennas=antennas, stations=stations, activity=0.4)
    prior = Prior.of(problem).to(torch.device("cpu"), torch.float64)
    z = complex_normal(1, antennas, 2 * devices).to(torch.complex128)
    residual = complex_normal(1, antennas, length, seed=2).to(torch.complex128)
    generator = torch.Generator().manual_seed(3)
    values = 4 * torch.rand(1, stations, devices, points, generator=generator, dtype=torch.float64) + 0.1
    grid = GainGrid(values, torch.full((points,), 1 / points, dtype=torch.float64).log())
    variance = torch.full((1, stations), 0.6, dtype=torch.float64)
    each = antennas // stations

    def energy(seen):
        return seen.abs().square().reshape(1, stations, each, devices, 2).sum(2)

    def estimate(seen):
        found = denoise(energy(seen), grid, variance, prior, antennas=each, sections=True)
        return found, found.weight.flatten(2).repeat_interleave(each, 1) * seen

    jacobian = torch.zeros(antennas, antennas, dtype=torch.complex128)  # sum over pilots of d x_m / d z_k
    step = 1e-6
    for antenna in range(antennas):
        for pilot in range(2 * devices):
            for direction, sign in ((1.0, 1.0), (1.0j, -1.0j)):
                moved = z.clone()
                moved[0, antenna, pilot] += step * direction
                back = z.clone()
                back[0, antenna, pilot] -= step * direction
                slope = (estimate(moved)[1] - estimate(back)[1])[0, :, pilot] / (2 * step)
                jacobian[:, antenna] += 0.5 * sign * slope
    got = onsager(residual, z, energy(z), estimate(z)[0], kind, length)[0]
    if kind == "matrix":
        expected = jacobian @ residual[0] / length
    else:
        mean = jacobian.diagonal().real.reshape(stations, each).mean(1).repeat_interleave(each)
        expected = mean[:, None] * residual[0] / length
    assert torch.allclose(got, expected, atol=1e-8)


@pytest.mark.parametrize("points", [1, 5])
@pytest.mark.parametrize("sections", [True, False])
def test_values_and_gradients_stay_finite_far_above_the_noise(points, sections):
    problem = MmtcProblem(devices=4, antennas=32)
    energy = torch.tensor([0.0, 32.0, 1e4, 32e6]).reshape(1, 1, 4, 1).repeat(1, 1, 1, 2).requires_grad_()
    gains = torch.full((1, 1, 4, points), 1e6, requires_grad=True)
    variance = torch.ones(1, 1, requires_grad=True)
    grid = GainGrid(gains, torch.full((points,), -math.log(points)))
    found = denoise(energy, grid, variance, Prior.of(problem), antennas=32, sections=sections)
    loss = (
        found.weight.sum() + found.slope.sum() + state_logits(found.ratios, Prior.of(problem)).softmax(-1)[..., 0].sum()
    )
    assert all(torch.isfinite(each).all() for each in found)
    for gradient in torch.autograd.grad(loss, [energy, gains, variance]):
        assert torch.isfinite(gradient).all()
    assert found.weight[0, 0, 3].sum().item() == pytest.approx(1 if sections else 2, rel=1e-4)


def test_a_grid_of_one_gain_many_times_is_that_gain():
    problem = MmtcProblem(devices=5)
    energy = 60 * torch.rand(2, 1, 5, 2, generator=torch.Generator().manual_seed(1))
    variance = torch.tensor([[1.5], [0.9]])
    one = GainGrid(torch.full((2, 1, 5, 1), 7.0), torch.zeros(1))
    many = GainGrid(torch.full((2, 1, 5, 4), 7.0), torch.full((4,), math.log(0.25)))
    prior = Prior.of(problem)
    for first, second in zip(
        *(denoise(energy, grid, variance, prior, antennas=16, sections=True) for grid in (one, many)), strict=True
    ):
        assert torch.allclose(first, second, rtol=1e-4, atol=1e-6)


def test_grids_hold_what_is_known():
    noise = torch.tensor([1.0, 2.0])
    unknown = gain_grid(MmtcProblem(3, gains="unknown"), None, noise, 200)
    share = unknown.log_weights.double().exp()
    assert share.sum().item() == pytest.approx(1, abs=1e-5) and unknown.values.shape == (2, 1, 3, 200)
    distance = 10 ** ((3.9 - 10 * unknown.values[0, 0, 0].double().log10()) / 36.7)
    assert (share * distance).sum().item() == pytest.approx(0.525, abs=1e-3)  # uniform from 0.05 to 1 km
    assert torch.allclose(unknown.values[1], 2 * unknown.values[0])
    places = gain_grid(MmtcProblem(3, stations=4, antennas=4, gains="unknown"), None, noise[:1], 60)
    mean_db = 10 * (places.log_weights.exp() * places.values[0, :, 0].log10()).sum(-1)
    drawn = MmtcProblem(1000, stations=4, antennas=4).draw_gains(200, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(mean_db, 10 * drawn.log10().mean((0, 1)), atol=0.15)
    problem = MmtcProblem(3, gains="estimated", gain_error_db=2.0)
    h = torch.rand(2, 3) + 0.5
    estimated = gain_grid(problem, h, noise, 5)
    errors = 10 * (estimated.values[:, 0] / h.unsqueeze(-1)).log10()
    weights = estimated.log_weights.exp()
    assert (weights * errors).sum(-1).abs().max() < 1e-4
    assert torch.allclose((weights * errors.square()).sum(-1), torch.tensor(4.0), rtol=1e-4)
    assert gain_grid(MmtcProblem(3), h, noise, 5).values.shape == (2, 1, 3, 1)


def test_tolerance_ends_early_and_changes_little():
    problem = MmtcProblem(devices=400, pilot_length=160, antennas=8)
    batch = problem.sample(1, generator=torch.Generator().manual_seed(1))
    parts = batch.y, GainGrid.known(batch.h), Prior.of(problem), problem.operator
    whole = message_passing(*parts, Passing(60, 0.3, "scalar", sections=True))
    short = message_passing(*parts, Passing(60, 0.3, "scalar", sections=True, tolerance=3e-3))
    assert whole.iterations == 60 > short.iterations > 3
    one, two = (state_logits(each.ratios, parts[2]).argmax(-1) for each in (whole, short))
    assert (one != two).sum() <= 1  # of 400 devices
