"""Loss schemes against (14) to (16) worked out by hand, and against scalar arithmetic for all of the registry."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from cellfree_sim.downlink.policy import PolicyShape
from cellfree_sim.downlink.rates import station_power, user_rates
from cellfree_sim.scenario.extensions import LOSS_SCHEMES, POLICIES

MIN_RATE = 0.5


def inputs(s=3, i=4, b=2):
    generator = torch.Generator().manual_seed(9)
    rates = 2.0 * torch.rand(s, i, dtype=torch.float64, generator=generator)
    excess = torch.rand(s, b, dtype=torch.float64, generator=generator) - 0.5
    beta = 0.1 + torch.rand(s, 1 + i + b, dtype=torch.float64, generator=generator)
    return rates, excess, beta


def evaluate(name, rates, excess, beta, weights=None, **options):
    scheme = LOSS_SCHEMES.create(name, **options)
    beta = torch.tensor(beta, dtype=torch.float64) if scheme.uses_beta else torch.zeros(1, 0, dtype=torch.float64)
    rates, excess = (torch.tensor(x, dtype=torch.float64) for x in (rates, excess))
    joint, tasks = scheme.evaluate(rates, excess, beta, MIN_RATE, weights)
    return joint.tolist(), tasks.tolist()


def test_loss_scheme_1_by_hand():
    """f = -4, g = (-2.5, -0.5, 0.5), l = (0.2, -0.05); printed NFL with x1 = -1: (1/4, 2/5, 1/2, 3/2)."""
    huber = [0.2 - 0.055, 0.05**2 / 0.22]
    tasks = [1 / 4, 2 / 5, 0.5, 1.5, *huber]
    found = evaluate("nfl", [[3.0, 1.0, 0.0]], [[0.2, -0.05]], [[2.0] * 6])
    assert found[1][0] == pytest.approx(tasks, rel=1e-12)
    assert found[0][0] == pytest.approx(sum(tasks) / 6 / 4 + 6 * math.log(2), rel=1e-12)
    found = evaluate("nfl-tangent", [[3.0, 1.0, 0.0]], [[0.2, -0.05]], [[2.0] * 6])
    assert found[1][0] == pytest.approx([1 / 4, 2 / 5, 1.5, 2.5, *huber], rel=1e-12)


def test_loss_scheme_2_by_hand():
    tasks = [math.exp(-4), math.exp(-2.5), math.exp(-0.5), 1.5, 0.3 - 0.055]
    beta = [0.5, 1.0, 1.0, 1.0, 2.0]
    joint, found = evaluate("el", [[3.0, 1.0, 0.0]], [[0.3]], [beta])
    assert found[0] == pytest.approx(tasks, rel=1e-12)
    assert joint[0] == pytest.approx((4 * tasks[0] + sum(tasks[1:4]) + tasks[4] / 4) / 5, rel=1e-12)


def test_penalty_by_hand():
    """r_min 0.5 with margin 1.5: users short by (0, 0, 0.75); one station 0.3 over, one 0.4 below its budget."""
    joint, tasks = evaluate("penalty", [[3.0, 1.0, 0.0]], [[0.3, -0.4]], None)
    assert tasks[0] == pytest.approx([-4, 0, 0, 15, 6, 0])
    assert joint[0] == pytest.approx(17)
    joint, tasks = evaluate("penalty", [[3.0, 1.0, 0.0]], [[0.3, -0.4]], None, weight=2.0, margin=3.0)
    assert tasks[0] == pytest.approx([-4, 0, 1, 3, 0.6, 0])


def test_the_loss_baselines_by_hand():
    """f = -4, g = (-2.5, -0.5, 0.5), l = (0.2, -0.05), r_min 0.5."""
    huber = [0.2 - 0.055, 0.05**2 / 0.22]
    expected = {
        "linear": [-4, -2.5, -0.5, 0.5, 0.2, -0.05],
        "negative-fraction": [1 / 4, 1 / 2.5, 2, -2, *huber],
        "exponential": [math.exp(-4), math.exp(-2.5), math.exp(-0.5), math.exp(0.5), *huber],
    }
    for name, tasks in expected.items():
        joint, found = evaluate(name, [[3.0, 1.0, 0.0]], [[0.2, -0.05]], [[2.0] * 6])
        assert found[0] == pytest.approx(tasks, rel=1e-12)
        assert joint[0] == pytest.approx(sum(tasks) / 6 / 4 + 6 * math.log(2), rel=1e-12)


def test_loss_scheme_2_and_loss_baseline_3_coincide_where_they_are_used():
    """With x2 = 0: the same function where users meet r_min; short of r_min = 0.02 apart by at most 2.1e-4, or 2 %."""
    r_min = 0.02
    generator = torch.Generator().manual_seed(9)
    beta = 0.1 + torch.rand(50, 11, dtype=torch.float64, generator=generator)
    excess = torch.rand(50, 2, dtype=torch.float64, generator=generator) - 0.5
    found = {}
    for lowest, spread in ((r_min, 3.0), (0.0, r_min)):
        rates = lowest + spread * torch.rand(50, 8, dtype=torch.float64, generator=generator)
        for name in ("el", "exponential"):
            leaf = rates.clone().requires_grad_()
            joint, tasks = LOSS_SCHEMES.create(name).evaluate(leaf, excess, beta, r_min)
            found[name] = tasks.detach(), joint.detach(), torch.autograd.grad(tasks.sum(), leaf)[0]
        if lowest == r_min:
            torch.testing.assert_close(found["el"], found["exponential"], rtol=1e-12, atol=0)
        gap = (found["el"][0] - found["exponential"][0]).abs().max()
        assert gap <= r_min**2 / 2 * math.exp(r_min) < 2.1e-4
        torch.testing.assert_close(found["el"][2], found["exponential"][2], rtol=0.02, atol=1e-12)
    assert gap > 0


def test_loss_scheme_2_and_loss_baseline_3_train_alike():
    """One station, from one start: the same sum rate to 1e-3 after 40 steps, far from where it began."""
    shape = PolicyShape(subcarriers=2, tx_antennas=2, users=3, rx_antennas=1, stations=1, loss_weights=5)
    generator = torch.Generator().manual_seed(2)
    channel = torch.randn(64, 2, 2, 3, 1, dtype=torch.complex64, generator=generator)
    reached = {}
    for name in ("el", "exponential", "linear"):
        scheme = LOSS_SCHEMES.create(name)
        policy = POLICIES.create("dense", hidden=(32,)).build(shape, 0)
        optimiser = torch.optim.Adam(policy.parameters(), lr=3e-3)
        history = []
        for _ in range(40):
            beams, allocation, beta = policy(channel)
            beams, allocation = beams.unsqueeze(1), allocation.unsqueeze(1)
            rates = user_rates(beams, allocation, channel.unsqueeze(1))
            joint, _ = scheme.evaluate(rates, station_power(beams, allocation) - 1.0, beta, 0.02)
            optimiser.zero_grad()
            joint.mean().backward()
            optimiser.step()
            history.append(rates.sum(-1).mean().item())
        reached[name] = history
    assert reached["el"][-1] > reached["el"][0] + 0.2
    assert reached["exponential"] == pytest.approx(reached["el"], rel=1e-3)
    assert abs(reached["linear"][-1] - reached["el"][-1]) > 0.01


@pytest.mark.parametrize("name", LOSS_SCHEMES.names())
def test_priorities_weigh_the_objective_and_nothing_else(name):
    """With alpha, f = -sum_i alpha_i r_i (6a): the objective's loss is that of one user with that rate."""
    alpha = torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64)
    rates, excess = [[3.0, 1.0, 5.0]], [[0.3]]
    _, weighted = evaluate(name, rates, excess, [[1.0] * 5], alpha)
    _, plain = evaluate(name, rates, excess, [[1.0] * 5])
    _, one_user = evaluate(name, [[6.5]], excess, [[1.0] * 3])
    assert weighted[0][0] == pytest.approx(one_user[0][0], rel=1e-12)
    assert weighted[0][1:] == plain[0][1:]


def test_both_nfl_schemes_have_the_same_gradient():
    rates, excess, beta = inputs()
    gradients = []
    for name in ("nfl", "nfl-tangent"):
        leaf = rates.clone().requires_grad_()
        joint, _ = LOSS_SCHEMES.create(name).evaluate(leaf, excess, beta, MIN_RATE)
        gradients.append(torch.autograd.grad(joint.sum(), leaf)[0])
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("nfl", "x1", 0.0),
        ("nfl", "x3", 0.0),
        ("el", "x3", -1.0),
        ("penalty", "weight", -1.0),
        ("penalty", "margin", math.nan),
        ("el", "x1", -1.0),
        ("exponential", "x3", 0.0),
        ("exponential", "x2", 0.0),
        ("negative-fraction", "x3", 0.0),
        ("linear", "x3", 0.11),
    ],
)
def test_senseless_options_are_refused(name, option, value):
    with pytest.raises(ValidationError, match=option):
        LOSS_SCHEMES.create(name, **{option: value})
