"""Counted operations against closed forms."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cellfree_sim.downlink import flops
from cellfree_sim.downlink.flops import flops_per_realisation
from cellfree_sim.downlink.policy import PolicyShape
from cellfree_sim.scenario.extensions import POLICIES, REFERENCES

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
        (lambda h: torch.linalg.svd(h[0, 0, :, :, 0], full_matrices=False), 8 * (7 * 4 * 9 + 4 * 27)),
        (lambda h: torch.linalg.pinv(h[0, 0, :, :, 0].mT), 8 * (7 * 4 * 9 + 4 * 27 + 4 * 9)),
        (lambda h: torch.baddbmm(h[0].real[:, :3, :, 0], h[0].real[:, :3, :, 0], h[0].real[:, :3, :, 0]), 2 * 2 * 27),
        (lambda h: h * h + h.abs(), 0),
    ],
    ids=["complex product", "real product", "einsum", "solve", "eigh", "svd", "pinv", "baddbmm", "element-wise"],
)
def test_operations_are_counted_by_the_book(function, expected):
    assert flops_per_realisation(Applies(function), SHAPE) == expected


PAPER = PolicyShape(subcarriers=4, tx_antennas=4, users=10, rx_antennas=2, stations=3, loss_weights=14)


def test_the_closed_forms_of_the_paper_by_hand():
    """B = 3, N = 4, I = 10, M_t = 4, M_r = 2 (Table I)."""
    assert flops.rsa_zfbf_flops(PAPER) == 72 * (160 + 28 * 400) == 817_920
    assert flops.gsa_zfbf_flops(PAPER) == 720 * (16 + 21 * 16 + 101 * 8) == 835_200
    central = 1920 * 512 + 512 * 1024 + 1024 * 512 + 512 * 1094  # 2 x 960 in; 960 + 120 + 14 out
    assert flops.cmtssl_flops(PAPER) == 2 * central == 5_183_488
    local = 640 * 512 + 512 * 1024 + 1024 * 512 + 512 * 374
    assert flops.dmtssl_flops(PAPER) == 2 * local == 3_135_488


@pytest.mark.parametrize(("b", "n", "i", "t", "r"), [(1, 1, 1, 1, 1), (2, 3, 5, 4, 1), (6, 8, 20, 8, 3)])
def test_greedy_search_is_what_sets_the_baselines_apart(b, n, i, t, r):
    """The products H^H H of all links, M_t M_r^2, and M_r^3 more, 6 operations each."""
    shape = PolicyShape(subcarriers=n, tx_antennas=t, users=i, rx_antennas=r, stations=b)
    greedy, random = flops.gsa_zfbf_flops(shape), flops.rsa_zfbf_flops(shape)
    assert greedy - random == 6 * b * n * i * (t * r**2 + r**3)


def test_baselines_grow_with_the_cube_of_the_users_and_networks_in_proportion():
    """Fig. 7: linear in B and N all of them; in I, networks linear, and the baselines' last difference constant."""

    def counts(of, key):
        return [of(dataclasses.replace(PAPER, **{key: value})) for value in (10, 20, 30, 40, 50)]

    for of in (flops.rsa_zfbf_flops, flops.gsa_zfbf_flops):
        assert np.ptp(np.diff(counts(of, "stations"))) == np.ptp(np.diff(counts(of, "subcarriers"))) == 0
        assert np.ptp(np.diff(counts(of, "users"), n=2)) > np.ptp(np.diff(counts(of, "users"), n=3)) == 0
    for of in (flops.cmtssl_flops, flops.dmtssl_flops):
        for key in ("stations", "subcarriers", "users"):
            assert np.ptp(np.diff(counts(of, key))) == 0


def test_the_closed_form_of_a_dense_network_is_what_is_counted():
    policy = POLICIES.create("paper").build(PAPER, 0)
    assert flops.dmtssl_flops(PAPER) == flops_per_realisation(policy, PAPER)
    policy = POLICIES.create("paper", hidden=(7, 5)).build(SHAPE, 0)
    assert flops.dmtssl_flops(SHAPE, hidden=(7, 5)) == flops_per_realisation(policy, SHAPE)


def channels(s=3, b=2, n=3, t=4, i=5, r=2):
    return torch.randn(s, b, n, t, i, r, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))


def test_the_references_are_counted_by_the_book():
    """For each link H^H H and H p; for zero-forcing a pseudo-inverse of each station's subcarrier; a mean per drop."""
    channel, b, n, t, i, r = channels(), 2, 3, 4, 5, 2
    combining = 8 * b * n * i * (t * r * r + t * r)
    assert flops.reference_flops(REFERENCES.create("mrt"), channel) == combining

    def inverse(rows, columns):
        small, large = sorted((rows, columns))
        return 8 * (7 * large * small**2 + 4 * small**3 + large * small**2)

    for name in ("gsa-zf", "rsa-zf", "gsa2-zf", "rsa2-zf"):
        assert flops.reference_flops(REFERENCES.create(name), channel) == combining + b * n * inverse(t, i)
    for name in ("gsa-zf-literal", "rsa-zf-literal"):
        assert flops.reference_flops(REFERENCES.create(name), channel) == b * n * inverse(t, i * r)


@pytest.mark.parametrize(("name", "option"), [("wmmse", "iterations"), ("ascent", "steps")])
def test_each_iteration_costs_the_same(name, option):
    channel, options = channels(), {"tolerance": 0.0} if name == "wmmse" else {}
    counts = [
        flops.reference_flops(REFERENCES.create(name, **{option: count}, **options), channel) for count in (1, 2, 4)
    ]
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0]) > 0


@pytest.mark.parametrize("name", REFERENCES.names())
def test_no_reference_uses_linear_algebra_that_is_not_counted(name):
    options = {"ascent": {"steps": 2}, "wmmse": {"iterations": 2}}.get(name, {})
    with Named() as dispatched:
        REFERENCES.create(name, **options).solve(channels(), min_rate=0.02, seed=0)
    assert costly(dispatched) <= flops._FORMULAS.keys()


class Named(TorchDispatchMode):
    """Remembers what was dispatched."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.add(function.overloadpacket)
        return function(*args, **(kwargs or {}))


def costly(dispatched):
    """The operations that are linear algebra by name."""
    names = {str(operation).removeprefix("aten."): operation for operation in dispatched.seen}
    found = {key for key in names if COSTLY & set(key.split("_"))} - {"linalg_vector_norm", "_linalg_check_errors"}
    return {names[key] for key in found}


@pytest.mark.parametrize("name", POLICIES.names())
def test_no_policy_uses_linear_algebra_that_is_not_counted(name):
    policy = POLICIES.create(name).build(SHAPE, 0).eval()
    with torch.no_grad(), Named() as dispatched:
        policy(torch.randn(1, 2, 4, 3, 2, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)))
    assert costly(dispatched)
    assert costly(dispatched) <= flops._FORMULAS.keys()


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
