"""Expectation propagation and probabilistic data association, for any codebook.

Codewords are real coordinates z of zero mean and unit variance times a basis: one for an antipodal pair, two for QPSK,
at most as many as a user has answers. Each coordinate has a Gaussian message of mean m and variance v. Given the
messages of all others, y says of a coordinate: z = x + error of variance e (its cavity); with that and the prior, each
of a user's answers has a probability, and each coordinate a posterior mean and variance. They make the new messages:

    pda: the posterior's mean and variance themselves;
    ep:  what the posterior adds to the cavity, 1 / v = 1 / v_posterior - 1 / e, and m / v likewise.

Shape letters: S slots, N users, A answers, R samples, D real coordinates of a user, J = N D.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cellfree_sim.detection.mimo.algorithms.common import apply, diagonal, inverse, loaded
from cellfree_sim.detection.noma.algorithms.common import IMPOSSIBLE, Code

Kind = Literal["ep", "pda"]
SLOTS_AT_ONCE = 1024
RANK = 1e-6  # coordinates of less power than this part of a user's largest are rounding
LEAST = 1e-5  # variance of a message; the prior's is 1
MOST = 1e4


class RealCoordinates:
    """Codewords as real coordinates: `basis` complex64 [N, D, K], `values` float32 [N, A, D], `mean` complex64 [N, K].

    A user with fewer than D coordinates has zeros for the others.
    """

    def __init__(self, code: Code) -> None:
        chance = code.log_prior.double().exp().unsqueeze(-1)
        words = torch.view_as_real(code.words.to(torch.complex128)).flatten(2)  # [N, A, 2K]
        mean = (chance * words).sum(dim=1)
        apart = torch.where(code.log_prior.unsqueeze(-1) > IMPOSSIBLE, words - mean.unsqueeze(1), 0)
        power, vectors = torch.linalg.eigh((chance * apart).mT @ apart)
        power, vectors = power.flip(-1), vectors.flip(-1)
        seen = power > RANK * power[:, :1]
        count = int(seen.sum(dim=-1).max())
        root = torch.where(seen, power, 0).clamp_min(0).sqrt()[:, None, :count]
        basis = (vectors[..., :count] * root).mT
        values = torch.where(root > 0, apart @ vectors[..., :count] / root.clamp_min(1e-30), 0)
        self.basis = _complex(basis)
        self.values = values.float()
        self.mean = _complex(mean)
        self.log_prior = code.log_prior
        self._code = code
        self._elsewhere: dict[torch.device, RealCoordinates] = {code.words.device: self}

    def to(self, device: torch.device) -> RealCoordinates:
        """The same on `device`, made once."""
        if device not in self._elsewhere:
            self._elsewhere[device] = RealCoordinates(self._code.to(device))
        return self._elsewhere[device]

    def statistics(self, y: Tensor, h: Tensor, noise_variance: Tensor) -> tuple[Tensor, Tensor]:
        """2 / s Re G^H G [S, J, J] and 2 / s Re G^H (y - mean) [S, J] for y [S, R] and h [S, N, R]."""
        slots, users, samples = h.shape
        by_antenna = h.reshape(slots, users, 1, -1, self.basis.shape[-1])
        columns = (by_antenna * self.basis.unsqueeze(-2)).reshape(slots, -1, samples)  # [S, J, R]
        received = y - (by_antenna * self.mean[:, None, None]).flatten(2).sum(dim=1)
        both = torch.view_as_real(columns).flatten(2)
        scale = 2 / noise_variance
        gram = both @ both.mT * scale[:, None, None]
        matched = apply(both, torch.view_as_real(received.contiguous()).flatten(1)) * scale.unsqueeze(-1)
        return gram, matched


def _complex(parts: Tensor) -> Tensor:
    """Complex64 [..., K] of real and imaginary parts in turn [..., 2 K]."""
    return torch.complex(parts[..., 0::2], parts[..., 1::2]).to(torch.complex64)


def gaussian_messages(
    y: Tensor, h: Tensor, noise_variance: Tensor, code: RealCoordinates, *, kind: Kind, iterations: int, damping: float
) -> Tensor:
    """Scores [S, N, A] after so many iterations, `damping` being the weight of the old messages."""
    gram, matched = code.statistics(y, h, noise_variance)
    mean, variance = torch.zeros_like(matched), torch.ones_like(matched)
    step = 0
    while True:
        estimate, error = _cavities(gram, matched, mean, variance)
        scores = _scores(estimate, error, code)
        step += 1
        if step == iterations:
            return scores
        centre, spread = _moments(scores, code)
        if kind == "pda":
            mean = torch.lerp(centre, mean, damping)
            variance = torch.lerp(spread, variance, damping).clamp_min(LEAST)
            continue
        spread = spread.clamp_min(LEAST)
        precision = 1 / spread - 1 / error
        taken = precision > 1 / MOST
        old = 1 / variance
        new = torch.where(taken, torch.lerp(precision, old, damping), old)
        weighted = torch.lerp(centre / spread - estimate / error, mean * old, damping)
        mean = torch.where(taken, weighted, mean * old) / new
        variance = (1 / new).clamp_min(LEAST)


def _cavities(gram: Tensor, matched: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """What y and the messages of all other coordinates say of each: estimates and their error variances [S, J].

    With W = v^1/2 G v^1/2, P = (W + I)^-1 and p = diag(W P): x = m + v^1/2 P v^1/2 (u - G m) / p, e = v (1 - p) / p.
    """
    root = variance.sqrt()
    inner = gram * root.unsqueeze(-1) * root.unsqueeze(-2)
    inverted = inverse(loaded(inner, torch.ones_like(root)))
    passed = (inner * inverted).sum(dim=-1).clamp(1e-9, 1 - 1e-6)
    residual = apply(inverted, root * (matched - apply(gram, mean)))
    return mean + root * residual / passed, variance * diagonal(inverted) / passed


def _scores(estimate: Tensor, error: Tensor, code: RealCoordinates) -> Tensor:
    users, _, depth = code.values.shape
    place = estimate.reshape(len(estimate), users, 1, depth)
    weight = (0.5 / error).reshape(len(estimate), users, 1, depth)
    scores: Tensor = code.log_prior - ((place - code.values).square() * weight).sum(dim=-1)
    return scores


def _moments(scores: Tensor, code: RealCoordinates) -> tuple[Tensor, Tensor]:
    """Posterior mean and variance of each coordinate, [S, J] each."""
    chance = scores.softmax(dim=-1).unsqueeze(-2)  # [S, N, 1, A]
    mean = (chance @ code.values).squeeze(-2)
    apart = (code.values - mean.unsqueeze(-2)).square()
    return mean.flatten(1), (chance @ apart).squeeze(-2).flatten(1)
