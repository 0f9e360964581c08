"""Networks for mMTC against formulas written out, and what they must not depend on."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from cellfree_sim.detection.mmtc.networks.dense import DenseNet, learned_numbers, what_was_sent
from cellfree_sim.detection.mmtc.networks.gains import unknown_gains
from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario.extensions import MMTC_DETECTORS
from cellfree_sim.uplink import MmtcProblem

SMALL = MmtcProblem(devices=5, bits=1, pilot_length=6, antennas=8, activity=0.3)
NAMES = ["cov-net", "amp-net", "dl-mampnet"]


def frames(problem, count=3, seed=1, **options):
    return problem.sample(count, generator=torch.Generator().manual_seed(seed), **options)


def network(name, problem, **options):
    torch.manual_seed(0)
    return MMTC_DETECTORS.create(name, **options).network(problem)


def scores(net, batch):
    return net(batch.y, batch.h_known, batch.noise_variance)


def fill(parameter, *values):
    with torch.no_grad():
        parameter.copy_(torch.tensor(values).reshape(parameter.shape))


def likelihood(y, pilots, powers):
    """ln CN(Y; 0, sum_i powers_i s_i s_i^H + I) of all antennas but for a constant, written out. y [L, M]."""
    covariance = np.einsum("i,il,ik->lk", powers, pilots, pilots.conj()) + np.eye(len(y))
    sign, logarithm = np.linalg.slogdet(covariance)
    assert sign.real > 0
    return -y.shape[1] * logarithm - np.einsum("lm,lk,km->", y.conj(), np.linalg.inv(covariance), y).real


def soft_scores(y, pilots, gains, chances, activity, temperature=1.0, log_prior=0.0):
    """A layer of cov-net, one pilot of one device after the other. y [B, L, M], gains [B, N], chances [N, Q]."""
    devices, per_device, length = pilots.shape
    found = np.zeros((devices, per_device))
    for n, q in itertools.product(range(devices), range(per_device)):
        others = chances.copy()
        others[n] = 0
        for b in range(len(y)):
            powers = (others * gains[b][:, None]).flatten()
            alone = powers.copy()
            alone[n * per_device + q] = gains[b][n]
            flat = pilots.reshape(-1, length)
            found[n, q] += temperature * (likelihood(y[b], flat, alone) - likelihood(y[b], flat, powers))
    return found + math.log(activity / per_device / (1 - activity)) + log_prior


@pytest.mark.parametrize("stations", [1, 2])
@pytest.mark.parametrize("precision", ["auto", "double"])
def test_a_layer_of_cov_net_is_the_likelihood_without_the_own_soft_part(stations, precision):
    problem = SMALL.changed(stations=stations)
    batch = frames(problem)
    net = network("cov-net", problem, layers=2, precision=precision)
    fill(net.log_temperature, math.log(0.4), math.log(0.9))
    fill(net.log_prior, 0.3, -0.2)
    fill(net.damping, math.log(0.25 / 0.75), 0.0)
    found = [each[..., 1:].detach().double().numpy() for each in scores(net, batch)]
    pilots = problem.codebook.numpy().astype(np.complex128)
    for s in range(len(batch.y)):
        y = batch.y[s].numpy().reshape(6, stations, -1).transpose(1, 0, 2)
        gains = batch.h[s].double().reshape(5, stations).T.numpy()
        prior = np.full((5, 2), 0.3 / 2)
        first = soft_scores(y, pilots, gains, prior, 0.3, 0.4, 0.3)
        np.testing.assert_allclose(found[0][s], first, rtol=2e-3, atol=2e-3)
        odds = np.exp(np.clip(first, -700, 700))
        chances = 0.25 * prior + 0.75 * odds / (1 + odds.sum(axis=1, keepdims=True))
        second = soft_scores(y, pilots, gains, chances, 0.3, 0.9, -0.2)
        np.testing.assert_allclose(found[1][s], second, rtol=1e-2, atol=2e-2)


def test_finished_states_cannot_be_improved_and_their_scores_are_exact():
    problem = SMALL.changed(pilot_length=3, activity=0.5)
    batch = frames(problem, count=20)
    net = network("cov-net", problem, layers=1, precision="double")
    start = torch.zeros(20, 5, dtype=torch.int64)
    found = net.finished(batch.y, batch.h, batch.noise_variance, start)
    states = found.argmax(dim=-1)
    pilots = problem.codebook.numpy().astype(np.complex128)
    best = 0
    for s in range(20):
        y, gains = batch.y[s].numpy(), batch.h[s].double().numpy()

        def posterior(state, y=y, gains=gains):
            powers = np.array([gains[n] * (state[n] == q + 1) for n in range(5) for q in range(2)])
            prior = sum(math.log(0.25 if each else 0.5) for each in state)
            return likelihood(y, pilots.reshape(10, 3), powers) + prior

        mine = posterior(states[s].tolist())
        for n in range(5):
            one = [[*states[s, :n].tolist(), q, *states[s, n + 1 :].tolist()] for q in range(3)]
            expected = np.array([posterior(state) for state in one])
            np.testing.assert_allclose(found[s, n].numpy(), expected - expected[0], rtol=1e-6, atol=1e-6)
        best += mine >= max(posterior(state) for state in itertools.product(range(3), repeat=5)) - 1e-6
    assert best >= 16  # from nothing, steepest ascent finds the best of all 243 nearly always


def test_unknown_gains_are_averaged_over_the_cell():
    problem = SMALL.changed(gains="unknown", radii_km=(0.3, 1.0))
    batch = frames(problem, count=2)
    assert batch.h_known is None
    net = network("cov-net", problem, layers=1)
    fill(net.log_temperature, 0.0)
    fill(net.log_prior, 0.0)
    found = scores(net, batch)[0][..., 1:].detach().double().numpy()
    pilots = problem.codebook.numpy().astype(np.complex128)
    radii = np.linspace(0.3, 1.0, 20_001)
    law = 10 ** ((3.9 - 36.7 * np.log10(radii)) / 10)
    for s, n, q in itertools.product(range(2), range(5), range(2)):
        powers = np.full((5, 2), 0.15 * law.mean())
        powers[n] = 0
        flat = pilots.reshape(10, 6)
        covariance = np.einsum("i,il,ik->lk", powers.flatten(), flat, flat.conj()) + np.eye(6)
        white = np.linalg.solve(covariance, pilots[n, q])
        a = (pilots[n, q].conj() @ white).real
        v = (np.abs(white.conj() @ batch.y[s].numpy()) ** 2).mean()
        ratios = 8 * (law * v / (1 + law * a) - np.log1p(law * a))
        expected = np.log(np.exp(ratios - ratios.max()).mean()) + ratios.max() + math.log(0.15 / 0.7)
        assert found[s, n, q] == pytest.approx(expected, rel=0.05, abs=0.1)


def test_quantiles_of_gains_follow_the_path_loss():
    found = unknown_gains(1, 0.5, (0.05, 1.0)).double().numpy()
    distances = 1 - 0.95 * (np.arange(len(found)) + 0.5) / len(found)
    np.testing.assert_allclose(found, distances**-3.67, rtol=0.05)


def test_a_layer_of_amp_net_is_its_formula_with_the_slope_by_differences():
    problem = SMALL
    batch = frames(problem, count=2)
    net = network("amp-net", problem, layers=2)
    values = {"step": 0.1, "variance": 0.2, "gain": -0.3, "temperature": -0.4, "log_prior": 0.5, "onsager": 0.2}
    for name, value in values.items():
        fill(net.scalars[name], value, value)
    fill(net.scalars["damping"], math.log(0.3 / 0.7), 0.0)
    found = [each.detach().numpy() for each in scores(net, batch)]
    u, w, k, a, o = (math.exp(values[name]) for name in ("step", "variance", "gain", "temperature", "onsager"))
    pilots = problem.codebook.numpy().reshape(10, 6).T.astype(np.complex128)  # S [L, N Q]

    for s in range(2):
        y, gains = batch.y[s].numpy().astype(np.complex128), k * batch.h[s].double().numpy()

        def denoised(z, t, gains=gains):
            shrink, logits = gains / (gains + t), np.zeros((5, 3))
            for n, q in itertools.product(range(5), range(2)):
                energy = np.linalg.norm(z[2 * n + q]) ** 2
                ratio = energy * shrink[n] / t - 8 * math.log(1 + gains[n] / t)
                logits[n, q + 1] = a * ratio + math.log(0.15 / 0.7) + 0.5
            chance = np.exp(logits - logits.max(1, keepdims=True))
            chance = (chance / chance.sum(1, keepdims=True))[:, 1:].reshape(10, 1)
            return logits, chance * np.repeat(shrink, 2)[:, None] * z

        x, residual = np.zeros((10, 8), complex), y
        for layer in range(2):
            z = x + u * pilots.conj().T @ residual
            t = w * (np.abs(residual) ** 2).mean()
            logits, estimate = denoised(z, t)
            np.testing.assert_allclose(found[layer][s], logits, rtol=2e-3, atol=2e-3)
            slope = 0.0
            for i, m in itertools.product(range(10), range(8)):
                step = 1e-5 * (1 + abs(z[i, m]))
                for turn in (1, 1j):
                    up, down = z.copy(), z.copy()
                    up[i, m] += turn * step
                    down[i, m] -= turn * step
                    change = denoised(up, t)[1][i, m] - denoised(down, t)[1][i, m]
                    slope += (change / (2 * step * turn)).real / 2
            x = 0.7 * estimate + 0.3 * x
            residual = y - pilots @ x + o * 0.7 * slope / (6 * 8) * residual


def test_a_layer_of_dl_mampnet_is_the_printed_denoiser_and_its_slope():
    problem = MmtcProblem(devices=3, bits=1, pilot_length=4, antennas=2, power_dbm=3.0)
    batch = frames(problem, count=2)
    net = network("dl-mampnet", problem, layers=2)
    layer = net.layers[0]
    fill(layer.log_scale, 0.2)
    with torch.no_grad():
        layer.paced_odds.uniform_(-0.1, 0.3)
        layer.paced_gain.uniform_(-0.1, 0.1)
        layer.filter.add_(0.1 * torch.randn(layer.filter.shape))
    found = net.estimates(batch.y, batch.noise_variance, 2)[0]
    odds, gain = (each.detach().double().numpy().flatten() for each in (layer.log_odds, layer.log_gain.exp()))
    matrix = layer.filter.detach().double().numpy()  # B_1, of parts of one antenna after those of the other
    pilots = problem.codebook.numpy().reshape(6, 4).T
    real = np.block([[pilots.real, -pilots.imag], [pilots.imag, pilots.real]])
    scale = math.exp(0.2)
    for s in range(2):
        y = np.concatenate([np.concatenate([c.real, c.imag]) for c in batch.y[s].numpy().T]).astype(float)
        t2 = (y**2).sum() / (2 * 4 * 2)

        def denoiser(z, t2=t2):  # (47)
            exponent = odds - z**2 / (2 * (t2 + t2**2 / gain))
            return z / ((1 + t2 / gain) * (1 + np.sqrt(1 + gain / t2) * np.exp(exponent)))

        z = matrix @ y
        first = scale * denoiser(z)
        np.testing.assert_allclose(found[0][s].detach().numpy().flatten(), first, rtol=1e-3, atol=1e-4)
        slope = scale * ((denoiser(z + 1e-6) - denoiser(z - 1e-6)) / 2e-6).sum()
        residual = y - np.kron(np.eye(2), real) @ first + slope / (2 * 4 * 2) * y
        with torch.no_grad():
            given = torch.tensor(residual, dtype=torch.float32).reshape(1, 2, 8)
            second = net.layers[1](torch.tensor(first, dtype=torch.float32).reshape(1, 2, 12), given)[0]
        torch.testing.assert_close(found[1][s].detach(), second[0], rtol=2e-3, atol=1e-3)


def test_what_was_sent_is_the_information_form_of_the_same_mean():
    problem = SMALL.changed(stations=2, activity=0.6)
    batch = frames(problem, count=4)
    found = what_was_sent(problem.codebook, batch.y, batch.h, batch.noise_variance, batch.messages)
    for s in range(4):
        active = [n for n in range(5) if batch.messages[s, n] > 0]
        sent = np.stack([problem.codebook[n, batch.messages[s, n] - 1].numpy() for n in active], axis=1)
        expected = np.zeros((8, 10), complex)
        for b in range(2):
            inverse = np.linalg.inv(np.diag(1 / batch.h[s, active, b].double().numpy()) + sent.conj().T @ sent)
            mean = inverse @ sent.conj().T @ batch.y[s, :, 4 * b : 4 * b + 4].numpy()
            for row, n in enumerate(active):
                expected[4 * b : 4 * b + 4, 2 * n + batch.messages[s, n] - 1] = mean[row]
        complex_found = torch.complex(*found[s].split(10, dim=-1)).numpy()
        np.testing.assert_allclose(complex_found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shared", [False, True])
def test_numbers_of_dl_mampnet_are_counted_right(shared):
    net = network("dl-mampnet", MmtcProblem(devices=4, bits=2, pilot_length=5, antennas=3), layers=3, shared=shared)
    assert sum(each.numel() for each in net.parameters()) == learned_numbers(4, 4, 5, 3, layers=3, shared=shared)


def test_a_shared_filter_is_a_dense_one_with_the_same_block_for_each_antenna():
    problem = MmtcProblem(devices=4, pilot_length=5, antennas=3)
    batch = frames(problem)
    both = [scores(network("dl-mampnet", problem, shared=shared), batch)[-1] for shared in (False, True)]
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-4)


def test_each_phase_of_dl_mampnet_lets_only_its_part_be_learned():
    net = network("dl-mampnet", MmtcProblem(devices=4, pilot_length=5, antennas=2), layers=2)
    owner = {"layers.0": 0, "layers.1": 1, "refinement": 2}
    for phase in range(4):
        net.begin_phase(phase)
        for name, parameter in net.named_parameters():
            part = next(number for prefix, number in owner.items() if name.startswith(prefix))
            assert parameter.requires_grad == (phase in (part, 3))


@pytest.mark.parametrize("name", ["cov-net", "amp-net"])
def test_permuted_devices_have_permuted_scores(name):
    problem = MmtcProblem(devices=12, pilot_length=8, antennas=4, activity=tuple(0.05 * n for n in range(1, 13)))
    batch = frames(problem)
    net, other = network(name, problem), network(name, problem)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    if name == "cov-net":
        other.pilots, other.prior = other.pilots[:, order], other.prior[order]
    else:
        operator = net._on(batch.y.device)
        moved = operator.to("cpu")
        moved._set(operator.columns((2 * order.unsqueeze(1) + torch.arange(2)).flatten()))
        other._pilots = {batch.y.device: moved}
        other.log_odds = other.log_odds[order]
    expected = scores(net, batch)[-1][:, order]
    found = other(batch.y, batch.h[:, order], batch.noise_variance)[-1]
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_scores_and_gradients_are_finite_at_60_db_and_32_antennas(name):
    problem = MmtcProblem(devices=10, pilot_length=12, antennas=32, activity=0.3)
    gains = torch.full((4, 10), 1e6)
    gains[:, ::2] = 1e-3
    batch = frames(problem, count=4, gains=gains)
    net = network(name, problem)
    every = scores(net, batch)
    assert all(each.isfinite().all() for each in every)
    torch.nn.functional.cross_entropy(every[-1].flatten(0, 1).float(), batch.messages.flatten()).backward()
    assert all(each.grad is None or each.grad.isfinite().all() for each in net.parameters())


@pytest.mark.parametrize("name", ["cov-net", "amp-net"])
@pytest.mark.parametrize("stations", [1, 2])
def test_estimated_and_unknown_gains_are_taken(name, stations):
    problem = MmtcProblem(devices=8, pilot_length=10, antennas=4, stations=stations, gains="estimated", gain_error_db=3)
    batch = frames(problem)
    net = network(name, problem)
    estimated = scores(net, batch)[-1]
    unknown = net(3 * batch.y, None, 9 * batch.noise_variance)[-1]
    torch.testing.assert_close(unknown, net(batch.y, None, batch.noise_variance)[-1], rtol=1e-2, atol=1e-2)
    known = network(name, problem.changed(gains="known", gain_error_db=0.0))
    sharp = network(name, problem.changed(gain_error_db=1e-3))
    exact = known(batch.y, batch.h, batch.noise_variance)[-1]
    torch.testing.assert_close(sharp(batch.y, batch.h, batch.noise_variance)[-1], exact, rtol=1e-2, atol=1e-2)
    assert not torch.allclose(estimated.float(), exact.float(), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_noise_is_a_matter_of_scale(name):
    """Frames, gains and noise of nine times the power are the same frames."""
    problem = MmtcProblem(devices=8, pilot_length=10, antennas=4)
    batch = frames(problem)
    net = network(name, problem)
    found = net(3 * batch.y, 9 * batch.h, 9 * batch.noise_variance)[-1]
    torch.testing.assert_close(found, scores(net, batch)[-1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_frames_of_nothing_at_all_have_finite_scores(name):
    problem = MmtcProblem(devices=8, pilot_length=10, antennas=4)
    batch = frames(problem)
    assert network(name, problem)(0 * batch.y, batch.h, batch.noise_variance)[-1].isfinite().all()


def test_what_is_too_large_is_one_line():
    with pytest.raises(DetectorError, match=r"found pilot_length 3000; allowed: at most 2048.*amp-net"):
        network("cov-net", MmtcProblem(devices=2000, pilot_length=3000, pilots="dft"))
    with pytest.raises(
        DetectorError, match=r"found a network of \d+ numbers for 2000 devices; allowed: up to .*shared"
    ):
        network("dl-mampnet", MmtcProblem(devices=2000, pilots="dft"))
    assert isinstance(network("dl-mampnet", SMALL), DenseNet)


def test_amp_net_takes_implicit_pilots():
    problem = MmtcProblem(devices=3000, pilot_length=600, antennas=2, pilots="dft")
    batch = frames(problem, count=1)
    with torch.no_grad():
        found = scores(network("amp-net", problem, layers=2), batch)[-1]
    assert found.shape == (1, 3000, 3) and found.isfinite().all()
