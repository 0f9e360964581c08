"""Floating-point operations of policies and references: counted operation by operation, and the paper's closed forms.

Counted are matrix products (a complex multiply-add is 8 operations, a real one 2), linear solves, Hermitian
eigen-decompositions and singular value decompositions. Element-wise work is not counted, as usual.
`torch.utils.flop_counter` finds the operations that are really dispatched; its own formulas take a complex product for
a real one and know no linear algebra, so they are replaced.

The closed forms are written in the paper's symbols: B stations with M_t antennas, N subcarriers, I users with M_r
antennas. They say what the paper compares, not what runs here: those of its baselines take 6 operations for a complex
multiplication and invert a matrix of I M_r rows, which is singular as soon as I M_r > M_t.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cellfree_sim.downlink.policy import PolicyShape

if TYPE_CHECKING:
    from cellfree_sim.downlink.reference import Reference

aten = torch.ops.aten

PAPER_HIDDEN = (512, 1024, 512)


def flops_per_realisation(module: nn.Module, shape: PolicyShape) -> int:
    """FLOPs of one forward pass in evaluation mode, for a single realisation of the sizes in `shape`.

    >>> from cellfree_sim.downlink.policies.dense import Dense
    >>> shape = PolicyShape(subcarriers=1, tx_antennas=1, users=1, rx_antennas=1, stations=1)
    >>> flops_per_realisation(Dense(hidden=(8,)).build(shape, seed=0), shape)     # 2 (3 x 8 + 8 x 3)
    96
    """
    parameter = next(module.parameters())
    sizes = (1, shape.subcarriers, shape.tx_antennas, shape.users, shape.rx_antennas)
    channel = torch.ones(sizes, dtype=torch.complex64, device=parameter.device)
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            return _counted(lambda: module(channel))
    finally:
        module.train(training)


def reference_flops(reference: Reference, channel: Tensor, *, min_rate: float = 0.02, seed: int = 0) -> float:
    """FLOPs that `reference` takes for one realisation, averaged over those of `channel` [S, B, N, T, I, R].

    Iterative algorithms stop when they are done, so that their FLOPs depend on the channel. Greedy and random
    allocation compare and draw, which is not counted; neither are combiners of users with one or two antennas, which
    have a closed form.
    """
    return _counted(lambda: reference.solve(channel, min_rate=min_rate, seed=seed)) / len(channel)


def rsa_zfbf_flops(shape: PolicyShape) -> int:
    """RSA+ZFBF as the paper counts it, all stations together: 6 B N (2 I M_t M_r + (2 M_t + I M_r) (I M_r)^2).

    >>> rsa_zfbf_flops(PolicyShape(subcarriers=4, tx_antennas=4, users=10, rx_antennas=2, stations=3))
    817920
    """
    b, n, i, t, r = _symbols(shape)
    return 6 * b * n * (2 * i * t * r + (2 * t + i * r) * (i * r) ** 2)


def gsa_zfbf_flops(shape: PolicyShape) -> int:
    """GSA+ZFBF as the paper counts it: 6 B N I (2 M_t M_r + (2 I + 1) M_t M_r^2 + (I^2 + 1) M_r^3).

    This is RSA+ZFBF and the products behind the greedy search, 6 B N I (M_t M_r^2 + M_r^3).

    >>> gsa_zfbf_flops(PolicyShape(subcarriers=4, tx_antennas=4, users=10, rx_antennas=2, stations=3))
    835200
    """
    b, n, i, t, r = _symbols(shape)
    return 6 * b * n * i * (2 * t * r + (2 * i + 1) * t * r**2 + (i**2 + 1) * r**3)


def cmtssl_flops(shape: PolicyShape, hidden: Sequence[int] = PAPER_HIDDEN) -> int:
    """One forward pass of the paper's central dense network: two operations for each weight of its layers.

    Inputs are the real and imaginary parts of H, 2 B N M_t I M_r; outputs are those of w, 2 B N M_t I, then v, B N I,
    and beta. The paper gives no formula, only "the actual statistics of the Python library"; such libraries often count
    multiply-adds, which are half of this.

    >>> shape = PolicyShape(subcarriers=4, tx_antennas=4, users=10, rx_antennas=2, stations=3, loss_weights=14)
    >>> cmtssl_flops(shape)             # 2 (1920 x 512 + 512 x 1024 + 1024 x 512 + 512 x 1094)
    5183488
    """
    return _dense_flops(shape, shape.stations, hidden)


def dmtssl_flops(shape: PolicyShape, hidden: Sequence[int] = PAPER_HIDDEN) -> int:
    """The same of the network of one station; the paper counts one of them, as they work side by side.

    >>> shape = PolicyShape(subcarriers=4, tx_antennas=4, users=10, rx_antennas=2, stations=3, loss_weights=14)
    >>> dmtssl_flops(shape)             # 2 (640 x 512 + 512 x 1024 + 1024 x 512 + 512 x 374)
    3135488
    """
    return _dense_flops(shape, 1, hidden)


def _symbols(shape: PolicyShape) -> tuple[int, int, int, int, int]:
    """B, N, I, M_t, M_r."""
    return shape.stations, shape.subcarriers, shape.users, shape.tx_antennas, shape.rx_antennas


def _dense_flops(shape: PolicyShape, stations: int, hidden: Sequence[int]) -> int:
    _, n, i, t, r = _symbols(shape)
    links = stations * n * i
    widths = [2 * links * t * r, *hidden, 2 * links * t + links + shape.loss_weights]
    return sum(2 * a * b for a, b in itertools.pairwise(widths))


def _counted(work: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        work()
    return int(counter.get_total_flops())


def _multiply_add(tensor: Tensor) -> int:
    return 8 if tensor.is_complex() else 2


def _product(a: Tensor, b: Tensor, *_: Any, **__: Any) -> int:
    """a [..., m, k] times b [..., k, n]."""
    return _multiply_add(a) * a.numel() * b.shape[-1]


def _biased_product(_bias: Tensor, a: Tensor, b: Tensor, *_: Any, **__: Any) -> int:
    return _product(a, b)


def _linear_solve(matrix: Tensor, right: Tensor, *_: Any, **__: Any) -> int:
    """LU decomposition, n^3 / 3 multiply-adds, and two substitutions, n^2 for each right-hand side."""
    n = matrix.shape[-1]
    matrices = math.prod(matrix.shape[:-2])
    sides = right.numel() // (matrices * n)
    return _multiply_add(matrix) * matrices * (n**3 // 3 + n**2 * sides)


def _hermitian_eigen(matrix: Tensor, *_: Any, **__: Any) -> int:
    """Reduction to tridiagonal form, implicit QR and back-transformation: about 9 n^3 multiply-adds."""
    n = matrix.shape[-1]
    return _multiply_add(matrix) * math.prod(matrix.shape[:-2]) * 9 * n**3


def _singular_values(matrix: Tensor, *_: Any, **__: Any) -> int:
    """All factors of the thin decomposition of an m x n matrix, m >= n: 7 m n^2 + 4 n^3 multiply-adds."""
    n, m = sorted(matrix.shape[-2:])
    return _multiply_add(matrix) * math.prod(matrix.shape[:-2]) * (7 * m * n**2 + 4 * n**3)


def _pseudo_inverse(matrix: Tensor, *_: Any, **__: Any) -> int:
    """A singular value decomposition, and the product of its factors."""
    n, m = sorted(matrix.shape[-2:])
    return _singular_values(matrix) + _multiply_add(matrix) * math.prod(matrix.shape[:-2]) * m * n**2


for _formula in (_product, _biased_product, _linear_solve, _hermitian_eigen, _singular_values, _pseudo_inverse):
    setattr(_formula, "_get_raw", True)  # noqa: B010  (asks FlopCounterMode for tensors instead of shapes)

_FORMULAS: dict[Any, Any] = {
    aten.mm: _product,
    aten.bmm: _product,
    aten.addmm: _biased_product,
    aten.baddbmm: _biased_product,
    aten._linalg_solve_ex: _linear_solve,
    aten.linalg_solve_ex: _linear_solve,
    aten._linalg_eigh: _hermitian_eigen,
    aten._linalg_svd: _singular_values,
    aten.linalg_pinv: _pseudo_inverse,
}
