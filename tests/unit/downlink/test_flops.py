"""Counted operations against closed forms."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cellfree_sim.downlink import flops
from cellfree_sim.downlink.flops import flops_per_realisation
from cellfree_sim.downlink.policy import PolicyShape
from cellfree_sim.scenario.extensions import POLICIES

SHAPE = PolicyShape(subcarriers=2, tx_antennas=4, users=3, rx_antennas=2, stations=2, loss_weights=6)
LINKS = 2 * 3
COSTLY = {"mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "vdot", "convolution", "linalg"} | {
    "inverse",
    "cholesky",
    "svd",
    "qr",
    "lu",
    "triangular",
    "attention",
}  # words in the names of operations


class Applies(nn.Module):
    """A module that applies a function to the channel of the only realisation."""

    def __init__(self, function):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.function = function

    def forward(self, channel):
        return self.function(channel)


def layers(*sizes):
    return sum(2 * a * b for a, b in itertools.pairwise(sizes))


@pytest.mark.parametrize("hidden", [(8,), (512, 1024, 512), (7, 5)])
def test_dense_networks_are_their_matrices(hidden):
    """Two operations for each weight: inputs log gain and direction (dense) or channel (paper), outputs w, v, beta."""
    outputs = 2 * LINKS * 4 + LINKS + 6
    dense, paper = (POLICIES.create(name, hidden=hidden).build(SHAPE, 0) for name in ("dense", "paper"))
    assert flops_per_realisation(dense, SHAPE) == layers(LINKS * 2 * (1 + 2 * 4), *hidden, outputs)
    assert flops_per_realisation(paper, SHAPE) == layers(2 * LINKS * 4 * 2, *hidden, outputs)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda h: h.mH @ h, 8 * (2 * 4) * 2 * 3 * 2),  # N T products of [R, I] and [I, R]
        (lambda h: h.real @ h.real.mT, 2 * (2 * 4) * 3 * 2 * 3),
        (lambda h: torch.einsum("sntir,sntjr->snij", h.conj(), h), 8 * 2 * 3 * 3 * 4 * 2),
        (lambda h: torch.linalg.solve(h[0, 0, :3, :, 0] + torch.eye(3), h[0, 0, 0]), 8 * (27 // 3 + 9 * 2)),
        (lambda h: torch.linalg.eigh(h[0, 0, :3, :, 0]), 8 * 9 * 27),
        (lambda h: torch.baddbmm(h[0].real[:, :3, :, 0], h[0].real[:, :3, :, 0], h[0].real[:, :3, :, 0]), 2 * 2 * 27),
        (lambda h: h * h + h.abs(), 0),
    ],
    ids=["complex product", "real product", "einsum", "solve", "eigh", "baddbmm", "element-wise"],
)
def test_operations_are_counted_by_the_book(function, expected):
    assert flops_per_realisation(Applies(function), SHAPE) == expected


class Named(TorchDispatchMode):
    """Remembers what was dispatched."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.add(function.overloadpacket)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", POLICIES.names())
def test_no_policy_uses_linear_algebra_that_is_not_counted(name):
    policy = POLICIES.create(name).build(SHAPE, 0).eval()
    with torch.no_grad(), Named() as dispatched:
        policy(torch.randn(1, 2, 4, 3, 2, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)))
    names = {str(operation).removeprefix("aten."): operation for operation in dispatched.seen}
    found = {key for key in names if COSTLY & set(key.split("_"))} - {"linalg_vector_norm", "_linalg_check_errors"}
    assert found
    assert {names[key] for key in found} <= flops._FORMULAS.keys(), found


@pytest.mark.parametrize("name", POLICIES.names())
@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_policy_as_it_was(name, training):
    policy = POLICIES.create(name).build(SHAPE, 0).train(training)
    before = {key: value.clone() for key, value in policy.state_dict().items()}
    assert flops_per_realisation(policy, SHAPE) == flops_per_realisation(policy, SHAPE) > 0
    assert policy.training is training
    assert all(torch.equal(value, before[key]) for key, value in policy.state_dict().items())


def test_the_cost_of_the_set_policy_grows_in_proportion_to_its_links():
    sizes = [PolicyShape(subcarriers=n, tx_antennas=4, users=6, rx_antennas=2, stations=2) for n in (4, 8, 16)]
    policy = POLICIES.create("set").build(sizes[0], 0)
    counts = [flops_per_realisation(policy, size) for size in sizes]
    assert counts[2] - counts[1] == pytest.approx(2 * (counts[1] - counts[0]), rel=0.01)
    assert counts[2] < 4 * counts[0]
