"""Operations of a detector, counted while it runs: all operators that torch dispatches for it.

A real addition, product, comparison or function of a number is one operation; so are two for a complex addition and six
for a complex product. Products of matrices and decompositions are counted by the usual formulas, as in
`cellfree_sim.downlink.flops`: n^3 / 3 multiply-adds for an LU decomposition, 9 n^3 for the eigen-decomposition of a
Hermitian matrix (Golub and Van Loan, Matrix Computations, 4th edition). To move, make or look at numbers is free.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten

Formula: TypeAlias = "Callable[..., float]"


class OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts, while it is active, the operations of all torch operators of this thread.

    >>> with OperationCounter() as counter:
    ...     _ = torch.ones(2, 3) @ torch.ones(3, 5) + 1
    >>> counter.total                       # 2 x 3 x 5 multiply-adds, and as many additions as there are results
    70.0

    Attributes:
        total: operations so far.
        by_operator: the same for each operator, by its name.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0.0
        self.by_operator: dict[str, float] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        count = _operations(func, args, kwargs or {}, out)
        if count:
            self.total += count
            name = str(func.overloadpacket.__name__)
            self.by_operator[name] = self.by_operator.get(name, 0.0) + count
        return out


def count_operations(work: Callable[[], object]) -> float:
    """Operations that `work` takes."""
    counter = OperationCounter()
    with counter:
        work()
    return counter.total


def _operations(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> float:
    packet = func.overloadpacket
    if (formula := _FORMULAS.get(packet)) is not None:
        return formula(*args)
    if packet in flop_registry:  # attention, convolutions
        return float(flop_registry[packet](*args, **kwargs, out_val=out))
    name = packet.__name__.rstrip("_").removeprefix("_")
    if name in _FREE or _is_view(func):
        return 0.0
    if name in _SORTS:
        lengths = args[0].shape
        depth = math.ceil(math.log2(max(2, lengths[-1] if lengths else 1)))
        return float(args[0].numel() * depth)
    first = next((each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)), None)
    result = next(
        (each for each in (out if isinstance(out, (tuple, list)) else (out,)) if isinstance(each, Tensor)), None
    )
    if first is None or result is None:
        return 0.0
    terms = max(first.numel(), result.numel())  # a reduction reads more than it gives, broadcasting gives more
    return terms * _each(name, args, result)


def _first_tensor(values: Iterable[Any]) -> Tensor | None:
    return next((each for each in values if isinstance(each, Tensor)), None)


def _each(name: str, args: Sequence[Any], result: Tensor) -> float:
    """Operations for one number of an operator that is no product of matrices."""
    weight = _WEIGHTS.get(name, 1.0)
    operands = [each for each in args if isinstance(each, Tensor)]
    if not any(each.is_complex() for each in (*operands, result)):
        return weight
    if name in ("mul", "div", "addcmul", "addcdiv"):
        both = sum(each.is_complex() for each in operands) > 1
        return 6.0 if both else 2.0  # a complex number times a real one takes two products
    return 3.0 if name in ("abs", "angle", "sgn") else 2.0 * weight


def _is_view(func: Any) -> bool:
    return any(each.alias_info is not None and not each.alias_info.is_write for each in func._schema.returns)


def _multiply_add(tensor: Tensor) -> float:
    return 8.0 if tensor.is_complex() else 2.0


def _matrices(matrix: Tensor) -> int:
    return math.prod(matrix.shape[:-2])


def _product(a: Tensor, b: Tensor, *_: Any) -> float:
    """a [..., m, k] times b [..., k, n], or [k]."""
    return _multiply_add(a) * a.numel() * (b.shape[-1] if b.ndim > 1 else 1)


def _biased_product(_bias: Tensor, a: Tensor, b: Tensor, *_: Any) -> float:
    return _product(a, b)


def _dot(a: Tensor, b: Tensor, *_: Any) -> float:
    return _multiply_add(a) * a.numel()


def _cubic(share: float) -> Formula:
    """Multiply-adds of a decomposition of n x n matrices: `share` times n^3."""

    def formula(matrix: Tensor, *_: Any) -> float:
        return _multiply_add(matrix) * _matrices(matrix) * share * matrix.shape[-1] ** 3

    return formula


def _linear_solve(matrix: Tensor, right: Tensor, *_: Any) -> float:
    """LU decomposition, and two substitutions, n^2 / 2 multiply-adds each, for each right-hand side."""
    n = matrix.shape[-1]
    return _multiply_add(matrix) * (_matrices(matrix) * n**3 / 3 + n * right.numel())


def _triangular_solve(matrix: Tensor, right: Tensor, *_: Any) -> float:
    systems = max(_matrices(matrix), _matrices(right))  # the smaller number is 1: it serves all
    return _multiply_add(matrix) * systems * matrix.shape[-1] ** 2 * right.shape[-1] / 2


def _substitutions(right: Tensor, matrix: Tensor, *_: Any) -> float:
    return _multiply_add(matrix) * matrix.shape[-1] * right.numel()


def _lu_solve(matrix: Tensor, _pivots: Tensor, right: Tensor, *_: Any) -> float:
    return _substitutions(right, matrix)


def _orthogonal(matrix: Tensor, *_: Any) -> float:
    """Householder's QR decomposition of m x n matrices, m >= n, both factors: 2 (m n^2 - n^3 / 3) multiply-adds."""
    n, m = sorted(matrix.shape[-2:])
    return _multiply_add(matrix) * _matrices(matrix) * 2 * (m * n**2 - n**3 / 3)


def _singular_values(matrix: Tensor, *_: Any) -> float:
    """All factors of the thin decomposition of an m x n matrix, m >= n: 7 m n^2 + 4 n^3 multiply-adds."""
    n, m = sorted(matrix.shape[-2:])
    return _multiply_add(matrix) * _matrices(matrix) * (7 * m * n**2 + 4 * n**3)


def _fourier(values: Tensor, axes: Sequence[int], *_: Any) -> float:
    """5 n log2 n for each transform of n complex numbers."""
    length = math.prod(values.shape[axis] for axis in axes)
    return 5.0 * values.numel() * math.log2(max(length, 2))


_FORMULAS: dict[Any, Formula] = {
    aten._fft_c2c: _fourier,
    aten.mm: _product,
    aten.bmm: _product,
    aten.mv: _product,
    aten.addmm: _biased_product,
    aten.baddbmm: _biased_product,
    aten.addmv: _biased_product,
    aten.dot: _dot,
    aten.vdot: _dot,
    aten.linalg_cholesky_ex: _cubic(1 / 6),
    aten.cholesky_inverse: _cubic(1 / 3),
    aten.cholesky_solve: _substitutions,
    aten.linalg_inv_ex: _cubic(1.0),
    aten.linalg_lu_factor_ex: _cubic(1 / 3),
    aten.linalg_lu_solve: _lu_solve,
    aten._linalg_det: _cubic(1 / 3),
    aten._linalg_slogdet: _cubic(1 / 3),
    aten._linalg_solve_ex: _linear_solve,
    aten.linalg_solve_triangular: _triangular_solve,
    aten._linalg_eigh: _cubic(9.0),
    aten._linalg_svd: _singular_values,
    aten.linalg_qr: _orthogonal,
}
_SORTS = {"sort", "topk", "argsort", "kthvalue", "median"}
_WEIGHTS = {"softmax": 3.0, "log_softmax": 3.0, "logsumexp": 3.0, "addcmul": 2.0, "addcdiv": 2.0, "lerp": 3.0}
_WEIGHTS |= {"native_layer_norm": 8.0, "var": 3.0, "var_mean": 3.0, "std": 3.0, "linalg_vector_norm": 2.0}
_FREE = {  # they move, make or look at numbers
    *("clone", "copy", "to_copy", "cat", "stack", "index", "gather", "index_select", "scatter", "index_put", "where"),
    *("masked_fill", "masked_select", "repeat", "repeat_interleave", "expand_copy", "constant_pad_nd", "flip", "roll"),
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "zeros", "zeros_like", "new_zeros"),
    *(
        "ones",
        "ones_like",
        "new_ones",
        "full",
        "full_like",
        "new_full",
        "fill",
        "zero",
        "arange",
        "eye",
        "scalar_tensor",
    ),
    *("local_scalar_dense", "nonzero", "item", "lift_fresh", "lift_fresh_copy", "conj_physical", "resolve_conj"),
    *("tril", "triu", "diag_embed", "unsafe_view", "is_nonzero", "equal", "embedding", "index_copy", "complex"),
    *("conj", "neg_view", "tril_indices", "triu_indices", "bernoulli", "detach", "linalg_check_errors", "one_hot"),
    *("index_fill", "slice_scatter", "select_scatter", "view_as_real_copy", "native_dropout", "record_stream"),
}
