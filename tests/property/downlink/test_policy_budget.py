"""Policies of any size, on any channel: the budget of the station, and decisions in zeros and ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cellfree_sim.downlink.policy import PolicyShape
from cellfree_sim.scenario.extensions import POLICIES, REFERENCES

SMALL = {"dense": {"hidden": (16,)}, "set": {"width": 8, "layers": 1}}
few_examples = settings(max_examples=25, deadline=None)


@st.composite
def situations(draw):
    """A policy shape and a channel of 3 realisations, at any scale from -100 to +100 dB."""
    n, t, i, r = (draw(st.integers(1, largest)) for largest in (4, 4, 5, 3))
    shape = PolicyShape(subcarriers=n, tx_antennas=t, users=i, rx_antennas=r, stations=2, loss_weights=3 + i)
    seed = draw(st.integers(0, 2**63 - 1))
    generator = torch.Generator().manual_seed(seed)
    gain = 10 ** (draw(st.integers(-100, 100)) / 20)
    return shape, gain * torch.randn(3, n, t, i, r, dtype=torch.complex64, generator=generator), seed


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("training", [True, False])
@few_examples
@given(situations())
def test_stations_radiate_their_budget(name, training, situation):
    shape, channel, seed = situation
    policy = POLICIES.create(name, **SMALL[name]).build(shape, seed).train(training)
    with torch.no_grad():
        beams, allocation, beta = policy(channel)
    power = (beams.abs().double() * allocation.double().unsqueeze(2)).square().sum((1, 2, 3))
    assert power.tolist() == [pytest.approx(1.0, rel=1e-5)] * 3
    assert training or set(allocation.unique().tolist()) <= {0.0, 1.0}
    assert (beta > 0).all() and beta.shape == (3, 3 + shape.users)


@pytest.mark.parametrize("name", ["gsa-zf", "rsa-zf", "mrt"])
@few_examples
@given(situations(), st.integers(1, 6))
def test_one_shot_references_stay_within_the_budget(name, situation, count):
    shape, channel, seed = situation
    beams, allocation = REFERENCES.create(name, users_per_subcarrier=count).solve(
        channel.unsqueeze(1), min_rate=0.02, seed=seed
    )
    power = (beams.abs().double() * allocation.double().unsqueeze(3)).square().sum((2, 3, 4))
    assert beams.isfinite().all() and (power <= 1 + 1e-5).all()
    if min(count, shape.users) <= shape.tx_antennas:
        assert (power >= 1 - 1e-5).all()
    assert (allocation.sum(-1) == min(count, shape.users)).all()


@pytest.mark.parametrize("name", ["gsa-zf-literal", "rsa-zf-literal", "wmmse"])
@few_examples
@given(situations())
def test_other_references_stay_within_the_budget(name, situation):
    _, channel, seed = situation
    options = {"iterations": 5} if name == "wmmse" else {}
    beams, allocation = REFERENCES.create(name, **options).solve(channel.unsqueeze(1), min_rate=0.02, seed=seed)
    power = (beams.abs().double() * allocation.double().unsqueeze(3)).square().sum((2, 3, 4))
    assert beams.isfinite().all() and (power <= 1 + 1e-5).all()
    assert ((allocation == 0) | (allocation == 1)).all()
