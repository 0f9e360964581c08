"""Semidefinite relaxation against another interior-point solver, brute force, and its own two bounds.

The reference numbers are those of Clarabel through CVXPY (relative gap 1e-10) for `slot` below, computed once.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from cellfree_sim.detection import create_detector
from cellfree_sim.detection.mimo.algorithms.semidefinite import relax
from cellfree_sim.uplink import MimoProblem

SOLVED = [  # antennas, users, levels, shift; least value, first real parts
    ((6, 4, 4, 0.0), -36.813841, [-1.0, -3.0, 3.0, 1.0, 1.45555, 1.88456, -3.0, -1.18711]),
    ((6, 4, 4, 1.0), -48.727802, [-1.0, -3.0, 3.0, 1.0, 1.09623, 2.12158, -3.0, -1.0]),
    ((5, 3, 2, 0.0), -3.992467, [0.98629, -0.99998, 0.99372, -0.9833, 0.72304, -0.98935]),
    ((4, 2, 8, 2.0), -142.206128, [-5.6539, 1.84202, -3.48008, 5.97985]),
    ((40, 32, 4, 0.0), -375.081882, [-1.30998, -2.99411, 2.99713, 0.7828, -1.42031, -2.98158, 2.18749, 0.36244]),
]


def slot(antennas, users, levels, shift):
    """G and u of a slot that follows from formulas alone, in units of the levels."""
    r, n = np.arange(antennas)[:, None], np.arange(users)[None, :]
    real, imaginary = np.cos(1.3 * r * r + 2.1 * r * n + n + shift), np.sin(0.7 * r * n * n + 1.9 * r + shift)
    grid = np.arange(1 - levels, levels, 2)
    x = grid[(3 * np.arange(users) + 1) % levels] + 1j * grid[(5 * np.arange(users) + 2) % levels]
    noise = 0.6 * (np.sin(2.7 * np.arange(antennas) + shift) + 1j * np.cos(3.1 * np.arange(antennas) ** 2))
    channel = (real + 1j * imaginary) / np.sqrt(antennas)
    y = channel @ x + noise
    whole = np.block([[channel.real, -channel.imag], [channel.imag, channel.real]])
    return torch.tensor(whole.T @ whole), torch.tensor(whole.T @ np.concatenate([y.real, y.imag]))


@pytest.mark.parametrize(("what", "least", "parts"), SOLVED)
def test_another_solver_finds_the_same(what, least, parts):
    gram, matched = slot(*what)
    found = relax(gram[None], matched[None], (what[2] - 1.0) ** 2, iterations=60, tolerance=1e-7)
    assert found.objective.item() == pytest.approx(least, abs=2e-6)
    assert found.estimate[0, : len(parts)].numpy() == pytest.approx(parts, abs=2e-3)
    assert found.iterations < 35


@pytest.mark.parametrize("users", [16, 32])
def test_it_converges_for_many_users(users):
    problem = MimoProblem(n_rx=64, n_tx=users, correlation=0.7, correlated="receive")
    batch = problem.sample(40, 16.0, generator=torch.Generator().manual_seed(4))
    out = create_detector("sdr", problem)(batch.y, batch.h, batch.noise_variance)
    assert out.iterations is not None and out.iterations < 30  # of the 60 it may take: all slots reached the gap
    fine = create_detector("sdr", problem, tolerance=1e-5)(batch.y, batch.h, batch.noise_variance)
    assert (out.messages == fine.messages).float().mean() > 0.999


@pytest.mark.parametrize(("constellation", "levels"), [("qpsk", (-1.0, 1.0)), ("qam16", (-3.0, -1.0, 1.0, 3.0))])
def test_the_true_optimum_is_within_the_gap_and_below_every_vector(constellation, levels):
    """The relaxation is a lower bound of the least of all vectors; for QPSK with little noise it often attains it."""
    problem = MimoProblem(n_rx=6, n_tx=3, constellation=constellation)
    batch = problem.sample(40, 12.0, generator=torch.Generator().manual_seed(3))
    unit = (problem.levels[1] - problem.levels[0]).double() / 2
    h, y = batch.h.to(torch.complex128) * unit, batch.y.to(torch.complex128)
    whole = torch.cat([torch.cat([h.real, -h.imag], -1), torch.cat([h.imag, h.real], -1)], -2)
    gram, matched = whole.mT @ whole, (whole.mT @ torch.cat([y.real, y.imag], -1).unsqueeze(-1)).squeeze(-1)
    vectors = torch.tensor(list(itertools.product(levels, repeat=6)), dtype=torch.float64)
    best = (torch.einsum("vi,sij,vj->sv", vectors, gram, vectors) - 2 * matched @ vectors.T).min(dim=1)
    largest = levels[-1] ** 2
    rough, fine = (relax(gram, matched, largest, iterations=60, tolerance=gap) for gap in (1.0, 1e-8))
    assert (fine.objective - fine.gap <= best.values + 1e-6).all()
    assert (rough.objective - rough.gap <= fine.objective + 1e-9).all()
    assert (fine.objective <= rough.objective + 1e-9).all()
    tight = (fine.objective - best.values).abs() < 1e-5
    if constellation == "qpsk":
        assert tight.sum() > 30
        assert torch.allclose(fine.estimate[tight], vectors[best.indices[tight]], atol=0.02)


@pytest.mark.parametrize("constellation", ["qpsk", "qam16", "qam64"])
def test_a_quiet_slot_is_found_whatever_the_load(constellation):
    problem = MimoProblem(n_rx=10, n_tx=8, constellation=constellation)
    batch = problem.sample(20, 45.0, generator=torch.Generator().manual_seed(5))
    out = create_detector("sdr", problem)(batch.y, batch.h, batch.noise_variance)
    assert torch.equal(out.messages, batch.messages)
    assert not out.soft
