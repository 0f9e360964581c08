"""The common phase of a user's channel carries nothing: policies that know turn their beam with it, nothing else."""

from __future__ import annotations

import math

import pytest
import torch

from cellfree_sim.downlink.policy import PolicyShape
from cellfree_sim.downlink.rates import station_power
from cellfree_sim.scenario.extensions import POLICIES

SHAPE = PolicyShape(subcarriers=3, tx_antennas=4, users=5, rx_antennas=2, stations=3, loss_weights=9)


def channels(seed=1, s=8):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(s, 3, 4, 5, 2, dtype=torch.complex64, generator=generator)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", ["dense", "set"])
def test_beams_turn_with_the_phase_of_their_user(name, training):
    policy = POLICIES.create(name).build(SHAPE, 0)
    policy(channels())
    policy.train(training)
    turns = torch.rand(8, 3, 1, 5, generator=torch.Generator().manual_seed(2)) * 2 * math.pi
    phases = torch.polar(torch.ones_like(turns), turns)
    plain, turned = policy(channels()), policy(channels() * phases.unsqueeze(-1))
    torch.testing.assert_close(turned.beams, plain.beams * phases, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(turned.allocation, plain.allocation, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(turned.beta, plain.beta, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes", [{}, {"subcarriers": 4, "users": 10}])
def test_the_paper_policy_starts_near_its_budget(sizes):
    """Far above it, the Huber task would switch every link off before the sum rate has a say."""
    shape = PolicyShape(**{"subcarriers": 3, "tx_antennas": 4, "users": 5, "rx_antennas": 2, "stations": 3, **sizes})
    for seed in range(3):
        policy = POLICIES.create("paper").build(shape, seed)
        generator = torch.Generator().manual_seed(seed)
        size = (50, shape.subcarriers, shape.tx_antennas, shape.users, shape.rx_antennas)
        outputs = policy(0.3 * torch.randn(size, dtype=torch.complex64, generator=generator))
        power = station_power(outputs.beams, outputs.allocation)
        assert 0.05 < float(power.detach().mean()) < 1.5
