"""Covariances of the uplink's channels."""

from __future__ import annotations

import pytest
import torch

from cellfree_sim.uplink import MimoProblem

COUNT = 40_000
R, N = 5, 3


def covariance(h):
    """E[vec(H) vec(H)^H], users slowest, scaled by R so that an antenna's variance is 1."""
    flat = h.transpose(1, 2).reshape(len(h), -1).to(torch.complex128)
    return R * (flat.T @ flat.conj()) / len(h)


def exponential(size, rho):
    return torch.tensor([[rho ** abs(i - j) for j in range(size)] for i in range(size)], dtype=torch.float64)


@pytest.mark.parametrize(("correlated", "rho"), [("none", 0.0), ("receive", 0.8), ("full", 0.6)])
def test_the_covariance_is_the_kronecker_product_of_the_sides(correlated, rho):
    problem = MimoProblem(R, N, correlation=rho, correlated=correlated)
    h = problem.sample(COUNT, generator=torch.Generator().manual_seed(2)).h
    receive = exponential(R, rho if correlated != "none" else 0)
    users = exponential(N, rho if correlated == "full" else 0)
    error = covariance(h) - torch.kron(users, receive)
    # each entry of a sample covariance has a standard error of at most sqrt(1 / COUNT)
    assert error.abs().max() < 5 / COUNT**0.5
    assert (h.transpose(1, 2).reshape(COUNT, -1, 1) * h.reshape(COUNT, 1, -1)).mean(0).abs().max() < 5 / COUNT**0.5 / R


def test_the_error_of_the_known_channel_has_its_variance_and_is_independent_of_the_channel():
    batch = MimoProblem(R, N, csi_error=0.01).sample(COUNT, generator=torch.Generator().manual_seed(3))
    error = batch.h_known - batch.h
    assert torch.allclose(covariance(error).abs(), 0.01 * torch.eye(R * N, dtype=torch.float64), atol=0.05 / COUNT**0.5)
    assert (error * batch.h.conj()).mean(0).abs().max() < 5 * (0.01 / COUNT) ** 0.5 / R
