"""Precision on the wire: what a float32 or complex64 array becomes inside a frame, and what comes back.

A complex array is taken as interleaved real pairs (re, im, re, im, …). n is the number of real values:

| precision  | wire bytes              | x comes back as                                                         |
| ---------- | ----------------------- | ----------------------------------------------------------------------- |
| `float32`  | 4 n                     | x, bit for bit                                                          |
| `float16`  | 2 n                     | nearest float16, ties to even; finite values beyond 65504 become ±65504 |
| `bfloat16` | 2 n                     | nearest bfloat16, ties to even (values above 3.39e38 become infinite)   |
| `int8`     | n + 4 ceil(n / 32)      | q s, with q = round(x / s) in [-127, 127] and one scale s per 32 values |

`int8` takes blocks of 32 consecutive values in C order, the last one may be shorter; s = max |x| / 127 as float32, at
least 2^-126, so that |x - q s| <= s / 2 up to float32 rounding (below 1e-4 s). Values lie on the wire before scales.
A block with a NaN or an infinity comes back as NaN throughout: a diverged value is never hidden. float16 and bfloat16
keep NaN and infinities.

Arrays of other types (indices, masks, float64) always travel as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Precision: TypeAlias = Literal["float32", "float16", "bfloat16", "int8"]
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)
BLOCK: Final = 32

_FLOAT32 = np.dtype("<f4")
_COMPLEX64 = np.dtype("<c8")
_FLOAT16_MAX = np.float32(65504.0)
_SMALLEST_SCALE = np.float32(2.0**-126)
# 127 times the largest scale must still be a finite float32.
_LARGEST_SCALE = np.nextafter(np.finfo(np.float32).max / np.float32(127.0), np.float32(0.0), dtype=np.float32)


def acts_on(dtype: np.dtype[Any]) -> bool:
    """Whether a reduced precision changes arrays of this type."""
    return dtype in (_FLOAT32, _COMPLEX64)


def wire_bytes(count: int, dtype: np.dtype[Any], precision: Precision) -> int:
    """Raw bytes of `count` elements of `dtype` on the wire (the table above).

    >>> [wire_bytes(40, np.dtype("complex64"), p) for p in ("float32", "float16", "bfloat16", "int8")]
    [320, 160, 160, 92]
    >>> wire_bytes(40, np.dtype("int32"), "int8")
    160
    """
    if precision == "float32" or not acts_on(dtype):
        return count * dtype.itemsize
    reals = count * (dtype.itemsize // 4)
    return reals + 4 * -(-reals // BLOCK) if precision == "int8" else 2 * reals


def pack(array: NDArray[Any], precision: Precision) -> NDArray[Any]:
    """The array whose bytes travel: `array` (C-contiguous float32 or complex64) in a reduced precision, flat."""
    reals: NDArray[np.float32] = array.reshape(-1).view(np.float32)
    if precision == "float16":
        return _to_float16(reals)
    if precision == "bfloat16":
        return _to_bfloat16(reals)
    return _to_int8(reals)


def unpack(raw: bytes | memoryview, count: int, dtype: np.dtype[Any], precision: Precision) -> NDArray[Any]:
    """Inverse of `pack`: flat array of `count` elements of the declared `dtype`; `raw` has `wire_bytes` bytes."""
    reals = count * (dtype.itemsize // 4)
    values: NDArray[np.float32]
    if precision == "float16":
        values = np.frombuffer(raw, "<f2", reals).astype(np.float32)
    elif precision == "bfloat16":
        values = (np.frombuffer(raw, "<u2", reals).astype(np.uint32) << np.uint32(16)).view(np.float32)
    else:
        steps = np.frombuffer(raw, "<i1", reals)
        scales = np.frombuffer(raw, "<f4", -(-reals // BLOCK), offset=reals)
        with np.errstate(invalid="ignore", over="ignore"):  # scales of a damaged frame may be anything
            values = steps.astype(np.float32)
            whole = reals - reals % BLOCK
            values[:whole].reshape(-1, BLOCK)[...] *= scales[: whole // BLOCK, None]
            values[whole:] *= scales[whole // BLOCK :]
    return values.view(dtype)


def _to_float16(reals: NDArray[np.float32]) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        halves: NDArray[np.float16] = reals.astype("<f2")
    infinite = np.isinf(halves)
    if infinite.any():
        saturated = infinite & np.isfinite(reals)
        halves[saturated] = np.copysign(_FLOAT16_MAX, reals[saturated])
    return halves


def _to_bfloat16(reals: NDArray[np.float32]) -> NDArray[np.uint16]:
    bits = reals.view(np.uint32)
    # Half a unit in the last kept place, minus one where that place is even: a tie then rounds to even.
    rounded = bits >> np.uint32(16)
    rounded &= np.uint32(1)
    rounded += np.uint32(0x7FFF)
    rounded += bits
    rounded >>= np.uint32(16)
    halves: NDArray[np.uint16] = rounded.astype("<u2")
    halves[np.isnan(reals)] = 0x7FC0  # rounding could carry a NaN over to infinity or zero
    return halves


def _to_int8(reals: NDArray[np.float32]) -> NDArray[np.uint8]:
    count = reals.size
    padded = np.zeros((-(-count // BLOCK), BLOCK), np.float32)
    padded.reshape(-1)[:count] = reals
    peak = np.abs(padded).max(axis=1)
    broken = ~np.isfinite(peak)
    peak[broken] = 0.0
    padded[broken] = 0.0
    scales = np.clip(peak / np.float32(127.0), _SMALLEST_SCALE, _LARGEST_SCALE)
    padded /= scales[:, None]
    steps = np.rint(padded, out=padded).astype(np.int8)
    scales[broken] = np.nan
    return np.concatenate([steps.reshape(-1)[:count].view(np.uint8), scales.astype("<f4").view(np.uint8)])
