"""What Gaussian interference makes of codewords: moments, and distances in the metric of a covariance.

The matrices are small (twice the samples received) and many: sums of products over broadcast axes are then several
times faster than batched products of matrices.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cellfree_sim.detection.mimo.algorithms.common import inverse

SMALL = 12  # real parts of a sample up to which products are summed by hand


def covariance(weight: Tensor, apart: Tensor) -> Tensor:
    """sum_m weight_m apart_m apart_m^T: [..., D, D] of weights [..., M] and vectors [..., M, D]."""
    weighted = weight.unsqueeze(-1) * apart
    if apart.shape[-1] > SMALL:
        return weighted.mT @ apart
    return (weighted.unsqueeze(-1) * apart.unsqueeze(-2)).sum(dim=-3)


def moments(g: Tensor, probability: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [..., D] of codewords g [..., M, D], their distances from it, and their covariance [..., D, D]."""
    mean = (probability.unsqueeze(-1) * g).sum(dim=-2)
    apart = g - mean.unsqueeze(-2)
    return mean, apart, covariance(probability, apart)


def distances(matrix: Tensor, vectors: Tensor) -> Tensor:
    """v_m^T A^-1 v_m [S, M] of symmetric positive definite A [S, D, D] and vectors [S, M, D].

    >>> distances(torch.eye(2).unsqueeze(0) * 4, torch.tensor([[[2.0, 0.0], [2.0, 2.0]]])).tolist()
    [[1.0, 2.0]]
    """
    result: Tensor = _Distances.apply(matrix, vectors)  # type: ignore[no-untyped-call]
    return result


class _Distances(torch.autograd.Function):
    """See `distances`; with x_m = A^-1 v_m the gradients are 2 g_m x_m, and -sum_m g_m x_m x_m^T."""

    @staticmethod
    def forward(context: Any, matrix: Tensor, vectors: Tensor) -> Tensor:
        solved = _product(vectors, inverse(matrix))
        context.save_for_backward(solved)
        return (solved * vectors).sum(dim=-1)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (solved,) = context.saved_tensors
        (gradient,) = gradients
        return -covariance(gradient, solved), 2 * gradient.unsqueeze(-1) * solved


def _product(vectors: Tensor, matrix: Tensor) -> Tensor:
    """Vectors [S, M, D] times symmetric matrices [S, D, D]."""
    if vectors.shape[-1] > SMALL:
        return vectors @ matrix
    return (vectors.unsqueeze(-2) * matrix.unsqueeze(-3)).sum(dim=-1)
