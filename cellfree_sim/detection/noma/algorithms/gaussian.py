"""Codewords as Gaussian: what y says of all users together, if their answers were Gaussian with the same covariance.

Each user's codewords are c_n = mean + B_n z with few coordinates z of zero mean and unit variance: one for a user that
spreads a symbol, at most as many as it has answers. The joint posterior of all coordinates, a mean x [J] and a
covariance E [J, J], is what linear filters, successive cancellation and tree search need, for any codebook:
conditioning on a user's coordinate is a step of cancellation.

The slots are the last axis here, so that the small matrices of many slots are worked on together.

Shape letters: S slots, N users, A answers, R samples, D coordinates of a user, J = N D.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cellfree_sim.detection.noma.algorithms.common import IMPOSSIBLE, Code

SLOTS_AT_ONCE = 2048
RANK = 1e-6  # coordinates of less power than this part of a user's largest are rounding
LEAST = 1e-12  # of a coordinate's unit variance


class Coordinates:
    """Codewords as coordinates: `basis` complex64 [N, D, K], `values` complex64 [N, A, D], `mean` complex64 [N, K].

    A user with fewer than D coordinates has zeros for the others, which say nothing.
    """

    def __init__(self, code: Code) -> None:
        chance = code.log_prior.double().exp().unsqueeze(-1)
        words = code.words.to(torch.complex128)
        mean = (chance * words).sum(dim=1)
        apart = torch.where(code.log_prior.unsqueeze(-1) > IMPOSSIBLE, words - mean.unsqueeze(1), 0)
        covariance = (chance * apart).mT @ apart.conj()  # E c c^H
        power, vectors = torch.linalg.eigh(covariance)
        power, vectors = power.flip(-1), vectors.flip(-1)
        seen = power > RANK * power[:, :1]
        count = int(seen.sum(dim=-1).max())
        root = torch.where(seen, power, 0).clamp_min(0).sqrt()[:, :count]
        basis = vectors.mT[:, :count] * root.unsqueeze(-1)
        inverse = torch.where(root > 0, 1 / root.clamp_min(1e-30), 0).unsqueeze(-1)
        values = apart @ (vectors.mT[:, :count].conj() * inverse).mT
        self.basis = basis.to(torch.complex64)
        self.values = values.to(torch.complex64)
        self.mean = mean.to(torch.complex64)
        self.log_prior = code.log_prior
        self.silence = code.silence
        self.sending = 1 - chance[:, -1, 0].float() if code.silence else torch.ones_like(code.log_prior[:, 0])
        self._code = code
        self._elsewhere: dict[torch.device, Coordinates] = {code.words.device: self}

    def to(self, device: torch.device) -> Coordinates:
        """The same on `device`, made once."""
        if device not in self._elsewhere:
            self._elsewhere[device] = Coordinates(self._code.to(device))
        return self._elsewhere[device]

    def posterior(self, y: Tensor, h: Tensor, noise_variance: Tensor) -> Posterior:
        """Of the coordinates of all users, given y [S, R] and h [S, N, R]."""
        resources = self.basis.shape[-1]
        by_antenna = h.movedim(0, -1).reshape(h.shape[1], 1, -1, resources, len(h))  # [N, 1, antennas, K, S]
        columns = by_antenna * self.basis[:, :, None, :, None]
        columns = columns.flatten(2, 3).flatten(0, 1)  # [J, R, S]
        received = y.mT
        if self.mean.any():
            received = received - (by_antenna.squeeze(1) * self.mean[:, None, :, None]).flatten(1, 2).sum(dim=0)
        return joint_posterior(received.contiguous(), columns.contiguous(), noise_variance)


class Posterior(NamedTuple):
    """Mean complex64 [J, S] and Hermitian covariance complex64 [J, J, S] of the coordinates of all users."""

    mean: Tensor
    covariance: Tensor


def joint_posterior(received: Tensor, columns: Tensor, noise_variance: Tensor) -> Posterior:
    """From the prior of unit variances, one sample after the other: received [R, S], columns [J, R, S], s [S].

    With gain k = E g^* / (g^T E g^* + s), x grows by k (y_r - g^T x) and E shrinks by k (E g^*)^H.
    """
    size, samples, slots = columns.shape
    mean = received.new_zeros(size, slots)
    covariance = torch.eye(size, dtype=received.dtype, device=received.device).unsqueeze(-1).repeat(1, 1, slots)
    for sample in range(samples):
        row = columns[:, sample]
        shared = (covariance * row.conj()).sum(dim=1)  # E g^*, [J, S]
        spread = (row * shared).sum(dim=0).real + noise_variance
        gain = shared / spread
        mean = mean + gain * (received[sample] - (row * mean).sum(dim=0))
        covariance = covariance - gain.unsqueeze(1) * shared.conj().unsqueeze(0)
    return Posterior(mean, covariance)


def variances(covariance: Tensor) -> Tensor:
    """Diagonal of covariances [J, J, S], above zero: [J, S]."""
    return covariance.diagonal().mT.real.clamp_min(LEAST)


def squared(values: Tensor) -> Tensor:
    """|values|^2."""
    return values.real.square() + values.imag.square()
