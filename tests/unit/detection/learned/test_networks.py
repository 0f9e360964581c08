"""Networks of learned detectors: what they unfold, what they learn, and what they must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cellfree_sim.detection import create_detector
from cellfree_sim.detection.mimo.algorithms import listing
from cellfree_sim.detection.mimo.algorithms.common import inverse_to_learn_through, real_form, statistics
from cellfree_sim.scenario.extensions import DETECTORS
from cellfree_sim.uplink import MimoProblem

PROBLEM = MimoProblem(12, 6, correlation=0.5, correlated="receive")
NAMES = ["oampnet", "oampnet2", "mmnet", "detnet", "epnet"]


@pytest.fixture
def slots():
    return PROBLEM.sample(40, 12.0, generator=torch.Generator().manual_seed(1))


def made(name, problem=PROBLEM, **options):
    torch.manual_seed(0)
    return DETECTORS.create(name, **options).network(problem)


def scores(network, slots):
    with torch.no_grad():
        return network(slots.y, slots.h, slots.noise_variance)[-1]


def with_parameters(network, **values):
    state = {key: torch.full_like(value, values[key]) for key, value in network.state_dict().items() if key in values}
    network.load_state_dict({**network.state_dict(), **state})
    return network


@pytest.mark.parametrize("options", [{}, {"scalars": 4}])
def test_oampnet_before_training_is_oamp(slots, options):
    plain = create_detector("oamp", PROBLEM, iterations=4)(slots.y, slots.h, slots.noise_variance)
    found = scores(made("oampnet2", layers=4, **options), slots)
    torch.testing.assert_close(found.log_softmax(-1), plain.logits, rtol=1e-4, atol=1e-4)
    assert torch.equal(scores(made("oampnet", layers=4), slots), scores(made("oampnet2", layers=4), slots))


def test_epnet_without_what_it_learns_is_ep(slots):
    plain = create_detector("ep", PROBLEM, iterations=6, damping=0.5)(slots.y, slots.h, slots.noise_variance)
    found = scores(made("epnet", layers=6, undecided=0), slots)
    torch.testing.assert_close(found.softmax(-1), plain.logits.exp(), rtol=0, atol=1e-3)


def test_epnet_before_training_is_ep_with_a_list(slots):
    options = {"iterations": 6, "damping": 0.5, "undecided": 5}
    plain = create_detector("ep", PROBLEM, **options)(slots.y, slots.h, slots.noise_variance)
    found = scores(made("epnet", layers=6, undecided=5), slots)
    torch.testing.assert_close(found.softmax(-1), plain.logits.exp(), rtol=0, atol=1e-3)


def test_mmnet_is_its_formula(slots):
    network = with_parameters(made("mmnet", layers=3), step=0.7, log_variance=0.3)
    found = scores(network, slots).softmax(-1).numpy()
    points = PROBLEM.constellation.numpy().astype(complex)
    for slot in range(5):
        y, h = slots.y[slot].numpy().astype(complex), slots.h[slot].numpy().astype(complex)
        noise, mean = slots.noise_variance[slot].item(), np.zeros(6, complex)
        a = 0.7 * h.conj().T
        for _ in range(3):
            residual = y - h @ mean
            missed = np.linalg.norm(np.eye(6) - a @ h) ** 2 / np.linalg.norm(h) ** 2
            energy = max(np.linalg.norm(residual) ** 2 - 12 * noise, 0)
            variance = np.exp(0.3) / 6 * (missed * energy + np.linalg.norm(a) ** 2 * noise)
            likelihood = np.exp(-(np.abs((mean + a @ residual)[:, None] - points) ** 2) / variance)
            probability = likelihood / likelihood.sum(-1, keepdims=True)
            mean = probability @ points
        np.testing.assert_allclose(found[slot], probability, atol=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_learned_number_has_a_gradient_and_every_layer_its_scores(slots, name):
    network = made(name, layers=3)
    found = network(slots.y, slots.h, slots.noise_variance)
    assert [one.shape for one in found] == [(40, 6, 16)] * 3
    DETECTORS.create(name, layers=3).loss(found, slots.messages).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", ["oampnet2", "mmnet", "epnet"])
def test_order_of_users_and_slots_does_not_matter(slots, name):
    network = made(name, layers=4)
    users, order = torch.randperm(6), torch.randperm(40)
    with torch.no_grad():
        moved = network(slots.y[order], slots.h[order][:, :, users], slots.noise_variance[order])[-1]
    torch.testing.assert_close(
        moved.softmax(-1), scores(network, slots)[order][:, users].softmax(-1), atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("name", ["oampnet", "epnet"])
@pytest.mark.parametrize("constellation", ["qpsk", "qam64"])
def test_one_network_serves_any_number_of_users_and_points(name, constellation):
    problem = PROBLEM.changed(constellation=constellation, correlation=0.0, correlated="none")
    network = made(name, problem)
    for users in (1, 3, 6):
        slots = problem.changed(n_tx=users).sample(30, 40.0, generator=torch.Generator().manual_seed(2))
        assert (scores(network, slots).argmax(-1) == slots.messages).float().mean() > 0.95


def test_detnet_fits_its_number_of_users_only():
    network = made("detnet", layers=2)
    slots = PROBLEM.changed(n_tx=5).sample(3, 10.0)
    with pytest.raises(RuntimeError):
        network(slots.y, slots.h, slots.noise_variance)


def test_the_gradient_of_the_inverse_is_that_of_autograd():
    torch.manual_seed(3)
    root = torch.randn(4, 5, 5, dtype=torch.float64)
    matrix = (root @ root.mT + torch.eye(5)).requires_grad_()
    weights = torch.randn(4, 5, 5, dtype=torch.float64)
    (ours,) = torch.autograd.grad((inverse_to_learn_through(matrix) * weights).sum(), matrix)
    (theirs,) = torch.autograd.grad((torch.linalg.inv(matrix) * weights).sum(), matrix)
    torch.testing.assert_close(ours, theirs)


def test_the_list_holds_the_best_of_the_vectors_that_it_tries():
    """With all parts undecided it is a search through both of the likeliest levels of each part: compare with that."""
    problem = MimoProblem(3, 2, constellation="qpsk")
    slots = problem.sample(200, 4.0, generator=torch.Generator().manual_seed(4))
    known = real_form(statistics(slots.y, slots.h))
    covariance = torch.linalg.inv(known.gram + torch.eye(4))
    ranked = listing.ranked_by_list(
        known, slots.noise_variance, torch.zeros(200, 4), covariance, torch.randn(200, 4, 2), problem.levels, 4
    )
    best = create_detector("sphere", problem)(slots.y, slots.h, slots.noise_variance).messages
    points = problem.constellation[best]
    parts = torch.cat([points.real, points.imag], dim=-1)
    assert torch.equal(problem.levels[ranked.argmax(-1)], parts)
    assert ranked.max() == 0 and ranked.min() >= -listing.UNLISTED
    vectors = problem.levels[torch.cartesian_prod(*[torch.arange(2)] * 4)]
    symbols = torch.complex(vectors[:, :2], vectors[:, 2:])
    energies = (slots.y.unsqueeze(1) - symbols @ slots.h.mT).abs().square().sum(-1)
    lacking = (energies - energies.amin(1, keepdim=True)) / slots.noise_variance.unsqueeze(-1)
    first_low = lacking[:, vectors[:, 0] == problem.levels[0]].amin(1)
    torch.testing.assert_close(ranked[:, 0, 0], -first_low.clamp_max(listing.UNLISTED), atol=1e-3, rtol=1e-3)
