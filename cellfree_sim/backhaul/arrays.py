"""Arrays on the wire: one msgpack ExtType (code 1, 32-bit length) each.

    dtype u8 · precision u8 · ndim u8 · 0 u8 · ndim dimensions u32 LE · zeros up to a multiple of 16 · raw LE bytes

`dtype` is the place in `DTYPES` of the type that the sender declared and the receiver gets, `precision` the place in
`PRECISIONS` of how it travelled (see `precision`); the raw bytes are in C order. An array takes

    6 + 16 ceil((4 + 4 ndim) / 16) + wire bytes

bytes of a frame. The raw bytes of a decoded array are 16-byte aligned, and the array is a read-only view of them unless
its precision was reduced.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any, Final

import msgpack
import numpy as np

from cellfree_sim.backhaul import precision as wire
from cellfree_sim.backhaul.precision import PRECISIONS, Precision
from cellfree_sim.errors import FrameError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARRAY_CODE: Final = 1
MAX_DIMS: Final = 16
DTYPES: Final[tuple[np.dtype[Any], ...]] = tuple(
    np.dtype(name).newbyteorder("<")
    for name in (
        *("complex64", "complex128", "float16", "float32", "float64", "bool"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    )
)
_CODES = {dtype: code for code, dtype in enumerate(DTYPES)}
_BOOL = np.dtype(bool)
_LIMIT = 2**32


def pack_array(name: str, array: NDArray[Any], precision: Precision) -> tuple[bytes, NDArray[Any]]:
    """All bytes of an array up to the raw ones, and a contiguous array that holds the raw ones.

    The raw bytes are not copied here: the frame is joined from its parts in one go. FrameError where the type is not in
    `DTYPES`, or the array is too large for the format; `name` is for the error.
    """
    dtype = array.dtype.newbyteorder("<")
    code = _CODES.get(dtype)
    if code is None:
        raise FrameError(f"{name}: {array.dtype} does not travel; allowed are {', '.join(map(str, DTYPES))}")
    if array.ndim > MAX_DIMS or max(array.shape, default=0) >= _LIMIT:
        raise FrameError(f"{name}: shape {list(array.shape)} does not travel; at most {MAX_DIMS} dimensions below 2^32")
    raw: NDArray[Any] = np.ascontiguousarray(array, dtype=dtype)
    if not wire.acts_on(dtype):
        precision = "float32"
    if precision != "float32":
        raw = wire.pack(raw, precision)
    header = struct.pack(f"<4B{array.ndim}I", code, PRECISIONS.index(precision), array.ndim, 0, *array.shape)
    header += bytes(-len(header) % 16)
    length = len(header) + raw.nbytes
    if length >= _LIMIT:
        raise FrameError(f"{name}: {raw.nbytes} bytes do not travel in one array; the limit is 4 GiB")
    return struct.pack(">BIB", 0xC9, length, ARRAY_CODE) + header, raw


def unpack_array(name: str, value: Any) -> tuple[NDArray[Any], int]:
    """Array, and the number of its raw bytes, from what msgpack made of it.

    Every byte of the array's header must be what `pack_array` writes, and the raw bytes must be as many as the shape
    takes: FrameError otherwise. `name` is for the error.
    """
    if type(value) is not msgpack.ExtType or value.code != ARRAY_CODE:
        raise FrameError(f"{name} must be an array, found {describe(value)}")
    data: bytes = value.data
    if len(data) < 16 or data[0] >= len(DTYPES) or data[1] >= len(PRECISIONS) or data[2] > MAX_DIMS or data[3] != 0:
        raise FrameError(f"{name}: array header starts with {data[:4].hex() or 'nothing'}, which is not one")
    dtype, precision, ndim = DTYPES[data[0]], PRECISIONS[data[1]], data[2]
    if precision != "float32" and not wire.acts_on(dtype):
        raise FrameError(f"{name}: {dtype} cannot travel as {precision}")
    used = 4 + 4 * ndim
    start = used + -used % 16
    if len(data) < start or any(data[used:start]):
        raise FrameError(f"{name}: array header of {ndim} dimensions is truncated or not padded with zeros")
    shape: tuple[int, ...] = struct.unpack_from(f"<{ndim}I", data, 4)
    count = math.prod(shape)
    expected = wire.wire_bytes(count, dtype, precision)
    if len(data) - start != expected:
        raise FrameError(f"{name}: {dtype} {list(shape)} takes {expected} bytes, found {len(data) - start}")
    if precision == "float32":
        array = np.frombuffer(data, dtype, count, offset=start)
        if dtype == _BOOL and count and array.view(np.uint8).max() > 1:
            raise FrameError(f"{name}: bool has bytes other than 0 and 1")
    else:
        array = wire.unpack(memoryview(data)[start:], count, dtype, precision)
        array.flags.writeable = False
    try:
        return array.reshape(shape), expected
    except ValueError:  # an empty array whose other dimensions are beyond what NumPy can index
        raise FrameError(f"{name}: shape {list(shape)} is beyond what an array can have") from None


def describe(value: object) -> str:
    """A value for an error line: on one line, short, and cheap however large the value is.

    >>> describe("x" * 1000), describe(b"x" * 1000), describe(True)
    ("'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'", 'a value of type bytes', 'True')
    """
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:40] + "…")
    if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 2**64):
        return repr(value)
    return f"a value of type {type(value).__name__}"
