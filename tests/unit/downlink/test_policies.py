"""What every policy network promises, over the whole registry, and the symmetries of the set policy."""

from __future__ import annotations

import pytest
import torch

from cellfree_sim.downlink.networks.dense import decided
from cellfree_sim.downlink.policy import PolicyShape
from cellfree_sim.scenario.extensions import POLICIES

EVERY_POLICY = pytest.mark.parametrize("name", POLICIES.names())
FULL_POWER = pytest.mark.parametrize("name", [name for name in POLICIES.names() if name != "paper"])
BOTH_MODES = pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
N, T, USERS, R, STATIONS = 3, 4, 5, 2, 3
K = 1 + USERS + STATIONS


def shape(**sizes):
    defaults = {"subcarriers": N, "tx_antennas": T, "users": USERS, "rx_antennas": R, "stations": STATIONS}
    return PolicyShape(**{**defaults, "loss_weights": K, **sizes})


def channels(s=6, n=N, t=T, i=USERS, r=R, seed=1):
    """Rayleigh channels, with gains of users over 40 dB."""
    generator = torch.Generator().manual_seed(seed)
    gains = 10 ** (2 * torch.rand(s, 1, 1, i, 1, generator=generator) - 1)
    return gains * torch.randn(s, n, t, i, r, dtype=torch.complex64, generator=generator)


def shaken(name, seed=2, **sizes):
    """A policy far from its start, so that its users differ."""
    policy = POLICIES.create(name).build(shape(**sizes), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        policy(channels())  # statistics of batch normalisation
    return policy.eval()


def radiated(outputs):
    """sum_{n,i} |v w|^2 in float64."""
    sent = outputs.beams.to(torch.complex128) * outputs.allocation.double().unsqueeze(2)
    return sent.abs().square().sum((1, 2, 3))


@FULL_POWER
@BOTH_MODES
@pytest.mark.parametrize("gain", [1e-3, 1.0, 1e3])
def test_the_power_budget_is_met_exactly(name, training, gain):
    for policy in (POLICIES.create(name).build(shape(), 0), shaken(name)):
        outputs = policy.train(training)(gain * channels())
        torch.testing.assert_close(radiated(outputs), torch.ones(6, dtype=torch.float64), rtol=1e-5, atol=0)


def test_the_link_that_asks_most_is_allocated_where_none_asks_enough():
    soft = torch.tensor([[[0.1, 0.3, 0.2]], [[0.6, 0.2, 0.7]]])
    beams = torch.ones(2, 1, 2, 3) + 0j
    found, allocation = decided(beams, soft, None)
    assert allocation.tolist() == [[[0, 1, 0]], [[1, 0, 1]]] and found is beams
    assert decided(beams, soft, 0.65)[1].tolist() == [[[0, 1, 0]], [[0, 0, 1]]]


def test_above_its_threshold_a_dense_policy_sends_what_it_sent_in_training():
    """The same |v w|^2 on each link, up to what the links below the threshold leave to the others."""
    soft = torch.tensor([[[0.04, 0.3, 0.2]], [[0.6, 0.2, 0.7]]])
    beams = torch.ones(2, 1, 2, 3) + 0j
    found, allocation = decided(beams, soft, 0.05)
    assert allocation.tolist() == [[[0, 1, 1]], [[1, 1, 1]]]
    torch.testing.assert_close(
        (found * allocation.unsqueeze(2)).real[:, 0, 0], torch.where(soft > 0.05, soft, 0.0)[:, 0]
    )
    for build in ("build", "build_central"):
        policy = getattr(POLICIES.create("dense", hidden=(8,), threshold=1e-6), build)(shape(stations=2), 0)
        channel = channels() if build == "build" else torch.stack([channels(), channels(seed=1)], 1)
        for layer in policy.modules():
            if isinstance(layer, torch.nn.BatchNorm1d):
                layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
        soft, hard = policy.train()(channel), policy.eval()(channel)
        assert (hard.allocation == 1).all() and (soft.allocation < 1).any()
        torch.testing.assert_close(hard.beams, soft.beams * soft.allocation.unsqueeze(-2))


def test_the_papers_allocation_is_binary_in_training_and_its_gradient_goes_straight_through():
    policy = POLICIES.create("paper").build(shape(), 0)
    allocation = policy(channels()).allocation
    torch.testing.assert_close(allocation, allocation.round(), rtol=0, atol=1e-6)
    allocation.sum().backward()
    assert all(p.grad.abs().max() > 0 for p in policy.parameters() if p.ndim == 2)


@FULL_POWER
def test_no_station_falls_silent_in_evaluation(name):
    for seed in range(5):
        allocation = shaken(name, seed)(channels(seed=seed)).allocation
        assert (allocation.sum((1, 2)) >= 1).all()


@FULL_POWER
def test_allocation_is_soft_in_training(name):
    allocation = shaken(name).train()(channels()).allocation
    assert ((allocation > 0) & (allocation < 1)).any()


@BOTH_MODES
def test_the_set_policy_follows_a_permutation_of_the_users(training):
    order = [3, 0, 4, 2, 1]
    policy, channel = shaken("set").train(training), channels()
    plain, permuted = policy(channel), policy(channel[:, :, :, order])
    torch.testing.assert_close(permuted.beams, plain.beams[..., order], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(permuted.allocation, plain.allocation[..., order], rtol=1e-4, atol=1e-4)
    in_tasks = [0, *(1 + user for user in order), *range(1 + USERS, K)]
    torch.testing.assert_close(permuted.beta, plain.beta[:, in_tasks], rtol=1e-4, atol=1e-4)
    assert (plain.beams - plain.beams[..., order]).abs().max() > 0.01


@BOTH_MODES
def test_the_set_policy_follows_a_permutation_of_the_subcarriers(training):
    order = [2, 0, 1]
    policy, channel = shaken("set").train(training), channels()
    plain, permuted = policy(channel), policy(channel[:, order])
    torch.testing.assert_close(permuted.beams, plain.beams[:, order], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(permuted.allocation, plain.allocation[:, order], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(permuted.beta, plain.beta, rtol=1e-4, atol=1e-4)
    assert (plain.beams - plain.beams[:, order]).abs().max() > 0.01


@BOTH_MODES
@pytest.mark.parametrize(("n", "i"), [(1, 1), (3, 9), (8, 5), (5, 2)])
def test_the_set_policy_serves_other_numbers_of_users_and_subcarriers(training, n, i):
    outputs = shaken("set").train(training)(channels(n=n, i=i))
    assert outputs.beams.shape == (6, n, T, i)
    assert outputs.allocation.shape == (6, n, i)
    assert outputs.beta.shape == (6, 1 + i + STATIONS)
    torch.testing.assert_close(radiated(outputs), torch.ones(6, dtype=torch.float64), rtol=1e-5, atol=0)
