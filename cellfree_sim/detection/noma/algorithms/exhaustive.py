"""The exact posterior of each user's answer, from all combinations of all users' answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cellfree_sim.detection.noma.algorithms.common import IMPOSSIBLE, as_real, normalised

COMBINATIONS_AT_ONCE = 1 << 20
UNLIKELY = -80.0  # combinations below it from the best count as this: exp is slow where it underflows
LEAST_NOISE = 1e-4  # of unit energy: with less, float32 loses digits of the distances that matter


def posterior(y: Tensor, received: Tensor, noise_variance: Tensor, log_prior: Tensor) -> Tensor:
    """`log_marginals` of any number of slots, piece by piece, without gradients: float32 [S, N, A]."""
    exact = torch.float64 if noise_variance.min() < LEAST_NOISE else torch.float32
    wide = torch.complex128 if exact == torch.float64 else torch.complex64
    step = max(1, COMBINATIONS_AT_ONCE // combinations(log_prior))
    parts = []
    for start in range(0, len(y), step):
        chunk = slice(start, start + step)
        arriving = received if len(received) == 1 else received[chunk]
        noise = noise_variance[chunk].to(exact)
        parts.append(log_marginals(y[chunk].to(wide), arriving.to(wide), noise, log_prior.to(exact)).float())
    return torch.cat(parts)


def combinations(log_prior: Tensor) -> int:
    """Number of combinations of the users' answers."""
    return math.prod((log_prior > IMPOSSIBLE).sum(dim=-1).tolist())


def log_marginals(y: Tensor, received: Tensor, noise_variance: Tensor, log_prior: Tensor) -> Tensor:
    """ln P(answer | y) of each user, [S, N, A], by enumeration; gradients flow to everything that asks for one.

    The users are taken in two halves. With a and b the sums of codewords of all combinations of each half,

        ln P(a, b | y) = -|y - a|^2 / s + 2 Re (y - a)^H b / s - |b|^2 / s + ln P(a) + ln P(b) + a constant,

    which is one product of matrices for all pairs; marginals are sums over rows and columns. Time and memory go with
    the number of combinations: `posterior` takes few slots at once where there are many.

    Args:
        y: complex [S, R].
        received: codewords as they arrive, complex [S, N, A, R], or [1, N, A, R] if they are the same in all slots.
        noise_variance: s, [S].
        log_prior: of the answers, [N, A]; -inf or `IMPOSSIBLE` for those that a user does not have.
    """
    first, second = _halves((log_prior > IMPOSSIBLE).sum(dim=-1).tolist())
    one, two = _combined(received, log_prior, first), _combined(received, log_prior, second)
    scale = noise_variance.reciprocal()[:, None, None]
    rest = as_real(y).unsqueeze(1) - as_real(one.words)  # [S, P, 2R]
    words = as_real(two.words)  # [S or 1, Q, 2R]
    row = one.log_prior - rest.square().sum(dim=-1) * scale.squeeze(-1)
    column = two.log_prior - words.square().sum(dim=-1) * scale.squeeze(-1)
    rest = torch.cat([2 * scale * rest, row.unsqueeze(-1), torch.ones_like(row).unsqueeze(-1)], dim=-1)
    words = torch.cat(
        [words.expand(len(y), -1, -1), torch.ones_like(column).unsqueeze(-1), column.unsqueeze(-1)], dim=-1
    )
    joint = rest @ words.mT  # [S, P, Q]
    weight = joint.sub_(joint.detach().amax(dim=(1, 2), keepdim=True)).clamp_min_(UNLIKELY).exp_()
    found = {**_marginals(weight.sum(dim=2), first, one), **_marginals(weight.sum(dim=1), second, two)}
    scores = [_filled(*found[user], log_prior.shape[1]) for user in range(len(log_prior))]
    return normalised(torch.stack(scores, dim=1), log_prior)


class _Combined(NamedTuple):
    """All combinations of some users: their sums [S, P, R], ln P [P], and each user's `answers`."""

    words: Tensor
    log_prior: Tensor
    answers: list[Tensor]


def _halves(counts: Sequence[int]) -> tuple[list[int], list[int]]:
    """The users in two parts with about as many combinations each."""
    parts: tuple[list[int], list[int]] = ([], [])
    sizes = [1, 1]
    for user in sorted(range(len(counts)), key=lambda each: -counts[each]):
        smaller = int(sizes[1] < sizes[0])
        parts[smaller].append(user)
        sizes[smaller] *= counts[user]
    return parts


def _combined(received: Tensor, log_prior: Tensor, users: list[int]) -> _Combined:
    """All combinations of `users`, the last user's answers next to each other."""
    words = received.new_zeros(len(received), 1, received.shape[-1])
    prior = log_prior.new_zeros(1)
    answers = [(log_prior[user] > IMPOSSIBLE).nonzero().squeeze(-1) for user in users]
    for user, own in zip(users, answers, strict=True):
        words = (words.unsqueeze(2) + received[:, user, own].unsqueeze(1)).flatten(1, 2)
        prior = (prior.unsqueeze(1) + log_prior[user, own]).flatten()
    return _Combined(words, prior, answers)


def _marginals(weight: Tensor, users: list[int], combined: _Combined) -> dict[int, tuple[Tensor, Tensor]]:
    """For each user the sums [S, answers] of `weight` [S, P] over the others' answers, and which answers these are."""
    grid = weight.reshape(len(weight), *(len(own) for own in combined.answers))
    every = range(1, grid.ndim)
    return {
        user: (grid.sum(dim=[axis for axis in every if axis != place]) if len(users) > 1 else grid, own)
        for place, (user, own) in zip(every, zip(users, combined.answers, strict=True), strict=True)
    }


def _filled(chances: Tensor, answers: Tensor, size: int) -> Tensor:
    """ln of `chances` [S, answers] at their places among all answers: [S, A]."""
    least = torch.finfo(chances.dtype).tiny
    scores = chances.new_full((len(chances), size), IMPOSSIBLE)
    return scores.index_copy(1, answers, chances.clamp_min(least).log())
