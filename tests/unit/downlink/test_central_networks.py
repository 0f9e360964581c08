"""What every central policy network promises, and how those of one station and of all stations are related."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pytest
import torch

from cellfree_sim.downlink.networks.central_set import describe_among_stations
from cellfree_sim.downlink.policy import Policy, PolicyShape
from cellfree_sim.errors import ScenarioError
from cellfree_sim.scenario.extensions import POLICIES
from cellfree_sim.scenario.schema import Scenario

CENTRAL = [name for name in POLICIES.names() if POLICIES.type_of(name).has_central()]
EVERY_POLICY = pytest.mark.parametrize("name", CENTRAL)
FULL_POWER = pytest.mark.parametrize("name", [name for name in CENTRAL if name != "paper"])
BOTH_MODES = pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
S, B, N, T, USERS, R = 6, 3, 2, 4, 5, 2
K = 1 + USERS + B


def shape(**sizes):
    defaults = {"subcarriers": N, "tx_antennas": T, "users": USERS, "rx_antennas": R, "stations": B}
    return PolicyShape(**{**defaults, "loss_weights": K, **sizes})


def channels(s=S, b=B, n=N, i=USERS, r=R, seed=1):
    """Rayleigh channels, with gains of links over 40 dB."""
    generator = torch.Generator().manual_seed(seed)
    gains = 10 ** (2 * torch.rand(s, b, 1, 1, i, 1, generator=generator) - 1)
    return gains * torch.randn(s, b, n, T, i, r, dtype=torch.complex64, generator=generator)


def shaken(name, seed=2, **sizes):
    """A network far from its start."""
    network = POLICIES.create(name).build_central(shape(**sizes), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        network(channels(b=sizes.get("stations", B)))
    return network.eval()


def test_all_our_policies_have_a_central_network():
    assert {"dense", "paper", "set"} <= set(CENTRAL)


@EVERY_POLICY
@BOTH_MODES
def test_outputs_have_the_promised_shapes(name, training):
    outputs = POLICIES.create(name).build_central(shape(), 0).train(training)(channels())
    assert outputs.beams.shape == (S, B, N, T, USERS) and outputs.beams.dtype == torch.complex64
    assert outputs.allocation.shape == (S, B, N, USERS) and outputs.allocation.dtype == torch.float32
    assert outputs.beta.shape == (S, K) and outputs.beta.dtype == torch.float32
    assert (outputs.beta >= 0.01).all()
    assert all(part.isfinite().all() for part in (outputs.beams.abs(), outputs.allocation, outputs.beta))


@EVERY_POLICY
def test_schemes_without_loss_weights_get_none(name):
    network = POLICIES.create(name).build_central(shape(loss_weights=0), 0)
    assert network(channels()).beta.shape == (S, 0)


@FULL_POWER
@BOTH_MODES
def test_each_station_uses_its_budget_exactly(name, training):
    outputs = shaken(name).train(training)(channels())
    sent = outputs.beams.to(torch.complex128) * outputs.allocation.double().unsqueeze(3)
    power = sent.abs().square().sum((2, 3, 4))
    torch.testing.assert_close(power, torch.ones(S, B, dtype=torch.float64), rtol=1e-5, atol=0)


@EVERY_POLICY
def test_allocation_is_binary_in_evaluation(name):
    allocation = shaken(name)(channels()).allocation
    assert ((allocation == 0) | (allocation == 1)).all()


@FULL_POWER
def test_no_station_falls_silent_in_evaluation_and_allocation_is_soft_in_training(name):
    network = shaken(name)
    assert (network(channels()).allocation.sum((2, 3)) >= 1).all()
    allocation = network.train()(channels()).allocation
    assert ((allocation > 0) & (allocation < 1)).any()


@EVERY_POLICY
def test_the_seed_alone_decides_the_start(name):
    one, same, other = (POLICIES.create(name).build_central(shape(), seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", ["dense", "paper"])
@BOTH_MODES
def test_for_one_station_it_is_that_stations_network(name, training):
    """With B = 1 the parameters are those of the station's own network, and so is what they compute."""
    policy, one = POLICIES.create(name, hidden=(16, 8)), shape(stations=1, loss_weights=7)
    central, own = policy.build_central(one, 5).train(training), policy.build(one, 5).train(training)
    h = channels(b=1)
    found, expected = central(h), own(h[:, 0])
    torch.testing.assert_close(found.beams[:, 0], expected.beams, rtol=0, atol=0)
    torch.testing.assert_close(found.allocation[:, 0], expected.allocation, rtol=0, atol=0)
    torch.testing.assert_close(found.beta, expected.beta, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["dense", "paper"])
def test_the_papers_hidden_layers_are_kept_and_its_ends_grow(name):
    """Inputs and outputs B times as many as for one station, hidden layers of 512, 1024 and 512 cells."""
    links = B * N * USERS
    inputs = links * R * (1 + 2 * T) if name == "dense" else 2 * links * T * R
    cells = [inputs, 512, 1024, 512]
    expected = sum(a * b + 3 * b for a, b in pairwise(cells))  # weights, biases, batch normalisation's two
    expected += 513 * (2 * links * T + links + K)
    network = POLICIES.create(name).build_central(shape(), 0)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@BOTH_MODES
@pytest.mark.parametrize("axis", ["stations", "subcarriers", "users"])
def test_the_set_network_does_not_mind_how_things_are_numbered(axis, training):
    network, h = shaken("set").train(training), channels()
    place = {"stations": 1, "subcarriers": 2, "users": 4}[axis]
    order = torch.randperm(h.shape[place], generator=torch.Generator().manual_seed(4))
    outputs, permuted = network(h), network(h.index_select(place, order))
    of_beams, of_allocation = place, min(place, 3)
    torch.testing.assert_close(permuted.beams, outputs.beams.index_select(of_beams, order), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        permuted.allocation, outputs.allocation.index_select(of_allocation, order), rtol=1e-3, atol=1e-4
    )
    users, stations = outputs.beta[:, 1 : 1 + USERS], outputs.beta[:, 1 + USERS :]
    expected = torch.cat(
        [
            outputs.beta[:, :1],
            users[:, order] if axis == "users" else users,
            stations[:, order] if axis == "stations" else stations,
        ],
        1,
    )
    torch.testing.assert_close(permuted.beta, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (2, 3, 4, 2), (5, 2, 7, 3)])
def test_one_set_network_serves_any_number_of_stations_subcarriers_users_and_receive_antennas(sizes):
    b, n, i, r = sizes
    outputs = shaken("set")(channels(b=b, n=n, i=i, r=r))
    assert outputs.beams.shape == (S, b, n, T, i)
    assert outputs.beta.shape == (S, 1 + i + b)
    assert all(part.isfinite().all() for part in (outputs.beams.abs(), outputs.beta))


def test_no_parameter_of_the_set_network_depends_on_the_number_of_stations():
    one, many = (POLICIES.create("set").build_central(shape(stations=b), 0).state_dict() for b in (1, 7))
    assert {key: value.shape for key, value in one.items()} == {key: value.shape for key, value in many.items()}


@pytest.mark.parametrize("name", ["set", "dense"])
def test_a_station_minds_the_channels_of_the_others(name):
    network, h = shaken(name), channels()
    other = h.clone()
    other[:, 1] = channels(seed=9)[:, 1]
    assert not torch.allclose(network(h).beams[:, 0], network(other).beams[:, 0], atol=1e-3)


@EVERY_POLICY
def test_all_parameters_learn(name):
    network = POLICIES.create(name).build_central(shape(), 0)
    outputs = network(channels())
    (outputs.beams.abs().mean() + outputs.allocation.square().mean() + outputs.beta.square().mean()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_gains_among_stations_against_their_definition():
    gains = torch.tensor([1.0, 10.0, 100.0]).reshape(1, 3, 1, 1)
    found = describe_among_stations(gains.log10())[0, :, 0, 0]
    torch.testing.assert_close(found[:, 0], torch.tensor([-2.0, -1.0, 0.0]))
    torch.testing.assert_close(found[:, 1], (gains / 111.0).log10().flatten())


def test_a_policy_without_a_central_network_is_refused_in_one_line():
    class Local(Policy):
        name: Literal["local"] = "local"

        def build(self, shape, seed):
            raise AssertionError

    with pytest.raises(ScenarioError, match=r"downlink.policy: found 'local', .* allowed here: dense, paper, set"):
        Local().build_central(shape(), 0)
    scenario = Scenario.model_validate({"downlink": {"algorithm": "cmtssl"}})
    alone = scenario.model_copy(update={"downlink": scenario.downlink.model_copy(update={"policy": Local()})})
    with pytest.raises(ValueError, match="found 'local'"):
        scenario.downlink.algorithm.check(alone)
    scenario.downlink.algorithm.check(scenario)
