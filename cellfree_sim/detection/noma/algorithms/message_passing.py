"""Expectation propagation and probabilistic data association, for any codebook.

Codewords are real coordinates z of zero mean and unit variance times a basis: one for an antipodal pair, two for QPSK,
at most as many as a user has answers. The coordinates of each user have a joint Gaussian message. Given the messages of
all others, y says of a user's z that it is Gaussian of precision C (its cavity); with that and the prior, each answer
has a probability, and z a posterior mean and covariance. They make the new messages:

    pda: a Gaussian of the posterior's mean and covariance;
    ep:  what the posterior adds to the cavity: its precision less C, if that is positive definite.

Shape letters: S slots, N users, A answers, R samples, D real coordinates of a user, J = N D.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cellfree_sim.detection.mimo.algorithms.common import apply, inverse
from cellfree_sim.detection.noma.algorithms.common import IMPOSSIBLE, Code

Kind = Literal["ep", "pda"]
SLOTS_AT_ONCE = 1024
RANK = 1e-6  # coordinates of less power than this part of a user's largest are rounding
LEAST = 1e-5  # added to the variances of a posterior; the prior's is 1
MOST = 1e4  # variance of a message


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
    """Scores [S, N, A] after so many iterations, `damping` being the weight of the old messages.

    Messages are kept as precisions [S, N, D, D] and precision times mean [S, N, D], in double precision: that of a user
    nearly decided is large, and the cavity is a difference.
    """
    gram, matched = (part.double() for part in code.statistics(y, h, noise_variance))
    users, _, depth = code.values.shape
    values = code.values.double()
    eye = torch.eye(depth, dtype=gram.dtype, device=gram.device)
    precision = eye.expand(len(y), users, depth, depth)
    weighted = torch.zeros_like(matched).reshape(len(y), users, depth)
    step = 0
    while True:
        cavity, shift = _cavities(gram, matched, precision, weighted)
        through = values @ cavity
        scores = code.log_prior + (values @ shift.unsqueeze(-1)).squeeze(-1) - 0.5 * (through * values).sum(dim=-1)
        step += 1
        if step == iterations:
            return scores.float()
        centre, spread = _moments(scores, values)
        inverted = inverse(spread + LEAST * eye)
        new, about = inverted, apply(inverted, centre)
        if kind == "ep":
            new, about = new - cavity, about - shift
            _, failed = torch.linalg.cholesky_ex(new - eye / MOST)
            taken = (failed == 0)[..., None, None]
            new, about = torch.where(taken, new, precision), torch.where(taken.squeeze(-1), about, weighted)
        precision, weighted = torch.lerp(new, precision, damping), torch.lerp(about, weighted, damping)


def _cavities(gram: Tensor, matched: Tensor, precision: Tensor, weighted: Tensor) -> tuple[Tensor, Tensor]:
    """What y and all others say of each user: a precision [S, N, D, D], and the precision times the mean [S, N, D]."""
    slots, users, depth = weighted.shape
    blocks = (slots, users, depth, users, depth)
    joint = gram.clone()
    joint.view(blocks).diagonal(dim1=1, dim2=3).add_(precision.movedim(1, -1))
    covariance = inverse(joint)
    mean = apply(covariance, matched + weighted.flatten(1)).reshape(slots, users, depth)
    own = inverse(covariance.view(blocks).diagonal(dim1=1, dim2=3).movedim(-1, 1))
    return own - precision, apply(own, mean) - weighted


def _moments(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior mean [S, N, D] and covariance [S, N, D, D] of the coordinates of each user."""
    chance = scores.softmax(dim=-1).unsqueeze(-1)  # [S, N, A, 1]
    mean = (chance * values).sum(dim=-2)
    apart = values - mean.unsqueeze(-2)
    return mean, (chance * apart).mT @ apart
