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
LEAF = 16  # rows of a matrix that is better left to LAPACK
JITTER = 1e-6  # of the mean diagonal, where a Gram matrix has to be positive definite in float32


class Statistics(NamedTuple):
    """Sufficient statistics of slots: `gram` [S, N, N] = H^H H and `matched` [S, N] = H^H y."""

    gram: Tensor
    matched: Tensor


def statistics(y: Tensor, h: Tensor) -> Statistics:
    """Gram matrix and matched filter of y [S, R] and h [S, R, N]."""
    conjugate = h.conj().resolve_conj()  # once for both
    return Statistics(conjugate.mT @ h, (y.unsqueeze(1) @ conjugate).squeeze(1))


def diagonal(matrix: Tensor) -> Tensor:
    """Real diagonal of Hermitian matrices [S, N, N]: [S, N]."""
    return matrix.diagonal(dim1=-2, dim2=-1).real


def loaded(gram: Tensor, loading: Tensor) -> Tensor:
    """`gram` [S, N, N] with `loading` [S, N] or [S, 1] added to its diagonal."""
    result = gram.clone()
    result.diagonal(dim1=-2, dim2=-1).add_(loading)
    return result


def inverse(matrix: Tensor) -> Tensor:
    """Inverses of Hermitian positive definite matrices [S, N, N] (see `inverse_factor`)."""
    factor = inverse_factor(matrix)
    result: Tensor = factor.mH @ factor
    return result


def inverse_factor(matrix: Tensor) -> Tensor:
    """Lower triangular T [S, N, N] with T^H T = A^-1 of Hermitian positive definite A: the inverse Cholesky factor.

    By halves, as far as matrices are larger than `LEAF`: with A_11 = L_1 L_1^H, T_1 = L_1^-1 and L_21 = A_21 T_1^H,

        T = [[T_1, 0], [-T_2 L_21 T_1, T_2]],   T_2 of A_22 - L_21 L_21^H,

    which turns most of the work into products of matrices, whose kernels are several times as fast as those of the
    decompositions of many small matrices. For slots that are not definite see `cholesky`. Where a gradient is wanted,
    T is made in one piece.
    """
    if matrix.requires_grad and torch.is_grad_enabled():
        return _triangular_inverse(cholesky(matrix))
    factor = torch.empty_like(matrix, memory_format=torch.contiguous_format)
    failed = _factor_into(factor, matrix)
    wrong = (failed > 0) | ~diagonal(factor).isfinite().all(dim=-1)
    if wrong.any():
        factor[wrong] = _triangular_inverse(cholesky(matrix[wrong]))
    return factor


def _factor_into(factor: Tensor, matrix: Tensor) -> Tensor:
    """Write T into `factor`; return what is above 0 for slots that failed [S]."""
    size = matrix.shape[-1]
    failed: Tensor
    if size <= LEAF:
        lower, failed = torch.linalg.cholesky_ex(matrix)
        factor.copy_(_triangular_inverse(lower))
        return failed
    half = size // 2
    first, last = factor[:, :half, :half], factor[:, half:, half:]
    failed = _factor_into(first, matrix[:, :half, :half])
    below = matrix[:, half:, :half] @ first.mH
    failed = failed + _factor_into(last, torch.baddbmm(matrix[:, half:, half:], below, below.mH, alpha=-1))
    factor[:, :half, half:] = 0
    factor[:, half:, :half] = (last @ (below @ first)).neg_()
    return failed


def _triangular_inverse(lower: Tensor) -> Tensor:
    one = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device)
    result: Tensor = torch.linalg.solve_triangular(lower, one, upper=False)
    return result


def solve_by(factor: Tensor, vector: Tensor) -> Tensor:
    """A^-1 times vectors [S, N], by T = `inverse_factor` of A."""
    return (apply(factor, vector).conj().unsqueeze(1) @ factor).squeeze(1).conj()


def column_powers(matrix: Tensor) -> Tensor:
    """Sums of squared magnitudes of the columns of matrices [S, K, N]: [S, N]; of T they are the diagonal of A^-1."""
    if matrix.is_complex():
        return torch.view_as_real(matrix.resolve_conj()).square().sum(dim=-3).sum(dim=-1)
    return matrix.square().sum(dim=-2)


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
        parts = torch.view_as_real(estimate.resolve_conj())
        mean, spread = level_moments(parts, 0.5 * variance.unsqueeze(-1), self.levels)
        return torch.view_as_complex(mean), spread.sum(dim=-1)

    def nearest(self, estimate: Tensor) -> Tensor:
        """Index int64 [S, N] of the point nearest to `estimate` [S, N]."""
        if self.levels is None:
            return self.scores(estimate, torch.ones_like(estimate.real)).argmax(dim=-1)
        middles = (self.levels[1:] + self.levels[:-1]) / 2
        parts = torch.view_as_real(estimate.resolve_conj())
        real, imaginary = (parts > middles.view(-1, *(1,) * parts.ndim)).sum(dim=0).unbind(-1)
        return self.of_cell[real * len(self.levels) + imaginary]

    def sliced(self, estimate: Tensor) -> Tensor:
        """The point nearest to `estimate` [S, N]."""
        return self.points[self.nearest(estimate)]


def _sums(first: Tensor, second: Tensor) -> Tensor:
    """All sums [..., L * L] of entries of `first` and `second` [..., L]."""
    return (first.unsqueeze(-1) + second.unsqueeze(-2)).flatten(-2)


def level_moments(estimate: Tensor, variance: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance [...] of real parts given `estimate` [...] = part + noise of real `variance` [...].

    Levels come first here: sums over them are then sums of whole tensors.
    """
    apart = levels.view(-1, *(1,) * estimate.ndim)
    probability = ((estimate - apart).square() * (-0.5 / variance)).softmax(dim=0)
    mean = torch.tensordot(levels, probability, 1)
    return mean, (probability * (apart - mean).square()).sum(dim=0)


def level_scores(estimate: Tensor, variance: Tensor, levels: Tensor) -> Tensor:
    """Unnormalised log-probabilities [S, N, L] of real parts (see `level_moments`)."""
    return (estimate.unsqueeze(-1) - levels).square() / (-2 * variance.unsqueeze(-1))


def real_form(known: Statistics) -> Statistics:
    """Statistics of the real-valued model of twice the size: real parts of all users, then imaginary parts."""
    slots, users = known.matched.shape
    gram = known.matched.real.new_empty(slots, 2, users, 2, users)
    gram[:, 0, :, 0] = gram[:, 1, :, 1] = known.gram.real
    gram[:, 1, :, 0] = known.gram.imag
    torch.neg(known.gram.imag, out=gram[:, 0, :, 1])
    return Statistics(gram.view(slots, 2 * users, 2 * users), torch.cat([known.matched.real, known.matched.imag], -1))
