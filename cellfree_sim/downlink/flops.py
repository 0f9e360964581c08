"""Floating-point operations of a policy's forward pass, counted operation by operation.

Counted are matrix products (a complex multiply-add is 8 operations, a real one 2), linear solves and Hermitian
eigen-decompositions. Element-wise work is not counted, as usual. `torch.utils.flop_counter` finds the operations that
are really dispatched; its own formulas take a complex product for a real one and know no linear algebra, so they are
replaced.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cellfree_sim.downlink.policy import PolicyShape

aten = torch.ops.aten


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
    counter = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
    try:
        with torch.no_grad(), counter:
            module(channel)
    finally:
        module.train(training)
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


for _formula in (_product, _biased_product, _linear_solve, _hermitian_eigen):
    setattr(_formula, "_get_raw", True)  # noqa: B010  (asks FlopCounterMode for tensors instead of shapes)

_FORMULAS: dict[Any, Any] = {
    aten.mm: _product,
    aten.bmm: _product,
    aten.addmm: _biased_product,
    aten.baddbmm: _biased_product,
    aten._linalg_solve_ex: _linear_solve,
    aten.linalg_solve_ex: _linear_solve,
    aten._linalg_eigh: _hermitian_eigen,
}
