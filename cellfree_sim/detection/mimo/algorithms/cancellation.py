"""Detectors that take what they have decided out of what was received: successive and parallel cancellation."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cellfree_sim.detection.mimo.algorithms.common import (
    LEAST_VARIANCE,
    Alphabet,
    apply,
    column_powers,
    diagonal,
    inverse,
    loaded,
    statistics,
)


def successive(
    y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet, *, criterion: Literal["zf", "mmse"]
) -> Tensor:
    """Ordered successive interference cancellation (V-BLAST): scores [S, N, M].

    The user with the least error is decided, cancelled, and the rest estimated again. With P = (G + s I)^-1 (s = 0 for
    zero-forcing) the error of user n is least where P_nn is. Deciding user k for x_k moves the estimates of the others
    by -P_nk / P_kk (x̂_k - x_k), and P becomes P - P_:k P_k: / P_kk: one rank-1 step for each user, no other inverse.
    """
    gram, matched = statistics(y, h)
    users = matched.shape[-1]
    factor = 1.0 if criterion == "mmse" else 0.0
    loading = factor * (noise_variance / alphabet.power).unsqueeze(-1)
    peeling = _Peeling(loaded(gram, loading))
    estimate = apply(peeling.error, matched)
    unbiased, error = torch.empty_like(estimate), torch.empty_like(estimate.real)
    for _ in range(users):
        chosen, row, own = peeling.next()
        raw = estimate.gather(1, chosen)
        passed = (1 - loading * own).clamp(LEAST_VARIANCE, 1)
        found = raw / passed
        unbiased.scatter_(1, chosen, found)
        error.scatter_(1, chosen, own / passed)
        estimate -= row.conj() * ((raw - alphabet.sliced(found)) * own.rsqrt())
    return alphabet.scores(unbiased, noise_variance.unsqueeze(-1) * error)


def detection_order(gram: Tensor) -> Tensor:
    """The order int64 [S, N] in which `successive` would decide the users under zero-forcing; first is the surest."""
    peeling = _Peeling(gram)
    return torch.cat([peeling.next()[0] for _ in range(gram.shape[-1])], dim=-1)


class _Peeling:
    """Users taken out of Hermitian matrices A [S, N, N] one by one, that of least error first.

    With P = A^-1 the errors are what is left of its diagonal; taking out user k leaves P - r^H r, where r is row k of
    what was left, over the root of its error. Only the diagonal and the row that is asked for are ever made, from P and
    the rows r before it, as in a pivoted Cholesky decomposition of P. No error is below 1 / A_nn, which holds it where
    rounding would not.

    Attributes:
        error: P [S, N, N].
    """

    def __init__(self, matrix: Tensor) -> None:
        self.error = inverse(matrix)
        self._left = diagonal(self.error).contiguous()
        self._least = 1 / diagonal(matrix).clamp_min(torch.finfo(torch.float32).tiny ** 0.5)
        self._rows = torch.empty_like(self.error)
        self._count = 0

    def next(self) -> tuple[Tensor, Tensor, Tensor]:
        """Take out one user per slot: users [S, 1], rows r [S, N], errors [S, 1]."""
        own, chosen = torch.maximum(self._left, self._least).min(dim=-1, keepdim=True)
        users = self.error.shape[-1]
        row = self.error.gather(1, chosen.unsqueeze(-1).expand(-1, 1, users))
        if self._count:
            before = self._rows[:, : self._count]
            share = before.gather(2, chosen.unsqueeze(1).expand(-1, self._count, 1))
            row = torch.baddbmm(row, share.mH, before, alpha=-1)
        row = row.squeeze(1) * own.rsqrt()
        self._rows[:, self._count] = row
        self._count += 1
        self._left -= column_powers(row.unsqueeze(1))
        self._least.scatter_(1, chosen, torch.inf)
        return chosen, row, own


def zf_pic(y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
    """Zero-forcing decisions; then, of each user, a matched filter on y without the others' decisions: [S, N, M]."""
    gram, matched = statistics(y, h)
    first = alphabet.sliced(apply(inverse(gram), matched))
    power = diagonal(gram).clamp_min(torch.finfo(torch.float32).tiny)
    estimate = first + (matched - apply(gram, first)) / power
    return alphabet.scores(estimate, noise_variance.unsqueeze(-1) / power)


def mmse_pic(y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet, *, iterations: int) -> Tensor:
    """Soft parallel interference cancellation with MMSE filters: scores [S, N, M].

    Each iteration takes means m and variances v of the symbols from the last, cancels the others' means, and filters
    what is left: with D = diag(v), s the noise variance and A = G D + s I,

        z_n = m_n + (A^-1 (u - G m))_n / mu_n,   mu_n = (A^-1 G)_nn,   error variance (1 - v_n mu_n) / mu_n.

    A^-1 G = D^-1/2 (I - s (D^1/2 G D^1/2 + s I)^-1) D^-1/2 keeps to Hermitian inverses. The first iteration, from the
    prior, is LMMSE.
    """
    gram, matched = statistics(y, h)
    noise = noise_variance.unsqueeze(-1)
    mean = torch.zeros_like(matched)
    variance = torch.full_like(matched.real, alphabet.power)
    scores = torch.empty(0)
    for step in range(iterations):
        root = variance.clamp_min(LEAST_VARIANCE * alphabet.power).sqrt()
        inner = gram * root.unsqueeze(-1) * root.unsqueeze(-2)
        inverted = inverse(loaded(inner, noise))
        passed = (inner * inverted.mT).sum(dim=-1).real.clamp(1e-9, 1 - 1e-6)  # v_n mu_n, without a difference
        residual = apply(inverted, root * (matched - apply(gram, mean)))
        estimate = mean + root * residual / passed
        error = root.square() * (1 - passed) / passed
        if step == iterations - 1:
            scores = alphabet.scores(estimate, error)
        else:
            mean, variance = alphabet.moments(estimate, error)
    return scores
