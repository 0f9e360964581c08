"""Linear detectors: an estimate of each symbol with a Gaussian error, and what that says about the points.

Each returns unnormalised log-probabilities [S, N, M] for y [S, R], h [S, R, N] and noise variance [S].
"""

from __future__ import annotations

import torch
from torch import Tensor

from cellfree_sim.detection.mimo.algorithms.common import (
    LEAST_VARIANCE,
    Alphabet,
    column_powers,
    diagonal,
    inverse_factor,
    loaded,
    solve_by,
    statistics,
)


def matched_filter(y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
    """h_n^H y / |h_n|^2: the other users count as noise, of the power that they have in this filter."""
    gram, matched = statistics(y, h)
    power = diagonal(gram).clamp_min(torch.finfo(torch.float32).tiny)
    leak = gram.abs().square().sum(dim=-1) - power.square()
    variance = (alphabet.power * leak.clamp_min(0) / power + noise_variance.unsqueeze(-1)) / power
    return alphabet.scores(matched / power, variance)


def zero_forcing(y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
    """G^-1 u: no interference is left, and the noise is amplified by the diagonal of G^-1."""
    gram, matched = statistics(y, h)
    factor = inverse_factor(gram)
    estimate = solve_by(factor, matched)
    return alphabet.scores(estimate, noise_variance.unsqueeze(-1) * column_powers(factor))


def lmmse(y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
    """(G + s I)^-1 u, s = noise variance over symbol power, made unbiased.

    With P = (G + s I)^-1 the filter passes mu_n = 1 - s P_nn of symbol n; divided by mu_n, the error has the variance
    (1 - mu_n) / mu_n times the symbol power.
    """
    gram, matched = statistics(y, h)
    loading = (noise_variance / alphabet.power).unsqueeze(-1)
    factor = inverse_factor(loaded(gram, loading))
    lost = (loading * column_powers(factor)).clamp(LEAST_VARIANCE * 1e-2, 1 - LEAST_VARIANCE)
    estimate = solve_by(factor, matched) / (1 - lost)
    return alphabet.scores(estimate, alphabet.power * lost / (1 - lost))


def mmse_as_published(y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
    """(G + s/2 I)^-1 u, sliced as it is: half the loading, and the bias is left in.

    This is what published curves called "MMSE" show. The log-probabilities take the diagonal of s (G + s/2 I)^-1 for
    the variance of the error.
    """
    gram, matched = statistics(y, h)
    loading = (0.5 * noise_variance / alphabet.power).unsqueeze(-1)
    factor = inverse_factor(loaded(gram, loading))
    estimate = solve_by(factor, matched)
    return alphabet.scores(estimate, noise_variance.unsqueeze(-1) * column_powers(factor))
