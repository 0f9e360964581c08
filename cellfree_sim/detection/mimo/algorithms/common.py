"""What the MIMO detectors share: sufficient statistics, symbols under Gaussian observation, real-valued form.

All detectors work on G = H^H H and u = H^H y, of the size of the users and not of the antennas: with y = H x + noise
they hold all that y says about x. For inverses of G the detectors keep to Cholesky factors.

Shape letters: S slots, R receive antennas, N users, M points of the constellation, L levels of a real part.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

LEAST_VARIANCE = 1e-6  # of a symbol of unit power, where float32 arithmetic would give 0 or less
JITTER = 1e-6  # of the mean diagonal, where a Gram matrix has to be positive definite in float32


class Statistics(NamedTuple):
    """Sufficient statistics of slots: `gram` [S, N, N] = H^H H and `matched` [S, N] = H^H y."""

    gram: Tensor
    matched: Tensor


def statistics(y: Tensor, h: Tensor) -> Statistics:
    """Gram matrix and matched filter of y [S, R] and h [S, R, N]."""
    adjoint = h.mH
    return Statistics(adjoint @ h, (adjoint @ y.unsqueeze(-1)).squeeze(-1))


def diagonal(matrix: Tensor) -> Tensor:
    """Real diagonal of Hermitian matrices [S, N, N]: [S, N]."""
    return matrix.diagonal(dim1=-2, dim2=-1).real


def loaded(gram: Tensor, loading: Tensor) -> Tensor:
    """`gram` [S, N, N] with `loading` [S, N] or [S, 1] added to its diagonal."""
    result = gram.clone()
    result.diagonal(dim1=-2, dim2=-1).add_(loading)
    return result


def inverse(matrix: Tensor) -> Tensor:
    """Inverses of Hermitian positive definite matrices [S, N, N] (see `cholesky`)."""
    result: Tensor = torch.cholesky_inverse(cholesky(matrix))
    return result


class _Inverse(torch.autograd.Function):
    """See `inverse`; the gradient of an inverse P is -P g P."""

    @staticmethod
    def forward(context: Any, matrix: Tensor) -> Tensor:
        inverted = inverse(matrix)
        context.save_for_backward(inverted)
        return inverted

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        (inverted,) = context.saved_tensors
        gradient: Tensor = -(inverted @ gradients[0] @ inverted)
        return gradient


def inverse_to_learn_through(matrix: Tensor) -> Tensor:
    """What `inverse` gives, with a gradient that takes two products of matrices and no second factor."""
    result: Tensor = _Inverse.apply(matrix)  # type: ignore[no-untyped-call]
    return result


def cholesky(matrix: Tensor) -> Tensor:
    """Lower Cholesky factors of Hermitian matrices [S, N, N].

    Slots whose matrix is not definite in the precision that it has are loaded a little, and no others.
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    wrong = failed.bool() | ~factor.diagonal(dim1=-2, dim2=-1).real.isfinite().all(dim=-1)
    if wrong.any():
        factor = factor.clone()
        factor[wrong] = torch.linalg.cholesky(_made_definite(matrix[wrong]))
    result: Tensor = factor
    return result


def _made_definite(matrix: Tensor) -> Tensor:
    """The matrix with its diagonal raised to what rounding leaves definite, in the precision it has."""
    share = JITTER if matrix.dtype in (torch.float32, torch.complex64) else 1e-13
    size = matrix.shape[-1]
    scale = diagonal(matrix).mean(dim=-1, keepdim=True)
    return loaded(matrix, scale * share * size + torch.finfo(scale.dtype).tiny)


def apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrices [S, N, N] times vectors [S, N]."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


class Alphabet:
    """The points that a symbol may take, and what a Gaussian observation says about them.

    Points [M] that are all sums of one of few real and one of few imaginary parts (square QAM) are handled part by
    part: with circular noise the two are independent, and 16 points cost 2 x 4 exponentials. `levels` [L] are then the
    values of both parts; else it is None. `of_cell` [M] is the index of the point with each pair of levels, the real
    part's first (of each point, where there are no levels).
    """

    def __init__(self, points: Tensor) -> None:
        self.points = points.to(torch.complex64)
        self.power = self.points.abs().square().mean().item()
        self.levels: Tensor | None = None
        self._elsewhere: dict[torch.device, Alphabet] = {}
        self.of_cell = torch.arange(len(points), device=points.device)
        parts = torch.cat([self.points.real, self.points.imag])
        values, at = torch.unique(parts.mul(1e5).round(), return_inverse=True)
        if len(values) ** 2 == len(points):
            self.levels = torch.empty_like(values).scatter_(0, at, parts)
            self.cell = at[: len(points)] * len(values) + at[len(points) :]
            self.of_cell = self.cell.argsort()

    def to(self, device: torch.device) -> Alphabet:
        """The same on `device`, made once."""
        if self.points.device == device:
            return self
        if device not in self._elsewhere:
            self._elsewhere[device] = Alphabet(self.points.to(device))
        return self._elsewhere[device]

    def scores(self, estimate: Tensor, variance: Tensor) -> Tensor:
        """Unnormalised log-probabilities [S, N, M] of x, where `estimate` [S, N] = x + noise of `variance` [S, N]."""
        if self.levels is None:
            return -(estimate.unsqueeze(-1) - self.points).abs().square() / variance.unsqueeze(-1)
        scale = variance.unsqueeze(-1)
        return self.joined(
            -(estimate.real.unsqueeze(-1) - self.levels).square() / scale,
            -(estimate.imag.unsqueeze(-1) - self.levels).square() / scale,
        )

    def distances(self, target: Tensor, scale: Tensor) -> Tensor:
        """|target - scale x|^2 [..., M] for complex `target` and real `scale` [...], for all points x by `of_cell`."""
        scale = scale.unsqueeze(-1)
        if self.levels is None:
            return (target.unsqueeze(-1) - scale * self.points).abs().square()
        steps = scale * self.levels
        return _sums((target.real.unsqueeze(-1) - steps).square(), (target.imag.unsqueeze(-1) - steps).square())

    def joined(self, real: Tensor, imaginary: Tensor) -> Tensor:
        """Scores [S, N, M] from those of the real and imaginary parts [S, N, L]."""
        return _sums(real, imaginary).index_select(-1, self.cell)

    def moments(self, estimate: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Mean [S, N] and variance [S, N] of x given `estimate` [S, N] = x + noise of `variance` [S, N]."""
        if self.levels is None:
            probability = self.scores(estimate, variance).softmax(dim=-1)
            mean = probability.to(self.points.dtype) @ self.points
            spread = (self.points - mean.unsqueeze(-1)).abs().square()
            return mean, (probability * spread).sum(dim=-1)
        both = torch.view_as_real(estimate.resolve_conj()).flatten(-2)
        mean, spread = level_moments(both, 0.5 * variance.repeat_interleave(2, dim=-1), self.levels)
        return torch.view_as_complex(mean.reshape(*estimate.shape, 2)), spread.reshape(*estimate.shape, 2).sum(dim=-1)

    def nearest(self, estimate: Tensor) -> Tensor:
        """Index int64 [S, N] of the point nearest to `estimate` [S, N]."""
        return self.scores(estimate, torch.ones_like(estimate.real)).argmax(dim=-1)

    def sliced(self, estimate: Tensor) -> Tensor:
        """The point nearest to `estimate` [S, N]."""
        return self.points[self.nearest(estimate)]


def _sums(first: Tensor, second: Tensor) -> Tensor:
    """All sums [..., L * L] of entries of `first` and `second` [..., L]."""
    return (first.unsqueeze(-1) + second.unsqueeze(-2)).flatten(-2)


def level_moments(estimate: Tensor, variance: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance [S, N] of real parts given `estimate` [S, N] = part + noise of real `variance` [S, N]."""
    probability = level_scores(estimate, variance, levels).softmax(dim=-1)
    mean = probability @ levels
    return mean, (probability * (levels - mean.unsqueeze(-1)).square()).sum(dim=-1)


def level_scores(estimate: Tensor, variance: Tensor, levels: Tensor) -> Tensor:
    """Unnormalised log-probabilities [S, N, L] of real parts (see `level_moments`)."""
    return (estimate.unsqueeze(-1) - levels).square() / (-2 * variance.unsqueeze(-1))


def real_form(known: Statistics) -> Statistics:
    """Statistics of the real-valued model of twice the size: real parts of all users, then imaginary parts."""
    real, imaginary = known.gram.real, known.gram.imag
    gram = torch.cat([torch.cat([real, -imaginary], -1), torch.cat([imaginary, real], -1)], -2)
    return Statistics(gram, torch.cat([known.matched.real, known.matched.imag], -1))
