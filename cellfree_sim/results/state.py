"""States of models and optimisers as bytes and back, bit for bit, without pickle.

A state is any nesting of dicts, lists and tuples with None, bools, integers, floats, text, bytes, NumPy arrays and
scalars, and torch tensors (as `state_dict()` returns). msgpack holds the nesting; arrays and tensors are extensions of
it, with dtype, shape and raw little-endian bytes. Reading bytes of unknown origin can fail, but it cannot run code.
"""

from __future__ import annotations

import sys
from typing import Any

import msgpack
import numpy as np

from cellfree_sim.errors import RunFolderError

_ARRAY, _NUMPY_SCALAR, _TENSOR, _TUPLE, _INTEGER = range(1, 6)
_KINDS = "biufcSU"  # dtypes that are nothing but their bytes


def pack_state(state: Any) -> bytes:
    """Bytes of `state`; `unpack_state` gives an equal one. Tensors leave the device they are on.

    Raises:
        TypeError: something in it has no such form, an object for example.

    >>> import numpy as np
    >>> state = unpack_state(pack_state({"step": 3, "weights": np.array([1.0, 2.0]), 0: (None, 2**80)}))
    >>> state["step"], state["weights"].tolist(), state[0] == (None, 2**80)
    (3, [1.0, 2.0], True)
    """
    packed: bytes = msgpack.packb(_without_large_integers(state), default=_extension, strict_types=True)
    return packed


def unpack_state(data: bytes) -> Any:
    """The state in `data`; tensors come back on the CPU, arrays writable.

    Raises:
        RunFolderError: the bytes are no state.
    """
    try:
        return msgpack.unpackb(data, ext_hook=_from_extension, strict_map_key=False)
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise RunFolderError(f"a saved state is damaged: {error}") from error


def _without_large_integers(value: Any) -> Any:
    """msgpack integers have 64 bits; those of a NumPy bit generator have 128."""
    if type(value) is int and not -(2**63) <= value < 2**64:
        return msgpack.ExtType(_INTEGER, str(value).encode())
    if type(value) is list:
        return [_without_large_integers(item) for item in value]
    if type(value) is tuple:
        return tuple(_without_large_integers(item) for item in value)
    if isinstance(value, dict):
        return {key: _without_large_integers(item) for key, item in value.items()}
    return value


def _extension(value: Any) -> Any:
    if type(value) is tuple:
        return msgpack.ExtType(_TUPLE, msgpack.packb(list(value), default=_extension, strict_types=True))
    if isinstance(value, np.ndarray):
        return msgpack.ExtType(_ARRAY, _array_bytes(value))
    if isinstance(value, np.generic):
        return msgpack.ExtType(_NUMPY_SCALAR, _array_bytes(np.asarray(value)))
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return msgpack.ExtType(_TENSOR, _tensor_bytes(value))
    raise TypeError(f"a state cannot hold an object of type {type(value).__name__}")


def _from_extension(code: int, data: bytes) -> Any:
    if code == _TUPLE:
        return tuple(msgpack.unpackb(data, ext_hook=_from_extension, strict_map_key=False))
    if code == _INTEGER:
        return int(data)
    if code == _ARRAY:
        return _array(data)
    if code == _NUMPY_SCALAR:
        return _array(data)[()]
    if code == _TENSOR:
        return _tensor(data)
    raise ValueError(f"extension {code} is unknown")


def _array_bytes(array: np.ndarray[Any, Any]) -> bytes:
    if array.dtype.kind not in _KINDS:
        raise TypeError(f"a state cannot hold an array of dtype {array.dtype}")
    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    packed: bytes = msgpack.packb((little.dtype.str, list(array.shape), little.tobytes()))
    return packed


def _array(data: bytes) -> np.ndarray[Any, Any]:
    name, shape, raw = msgpack.unpackb(data)
    dtype = np.dtype(name)
    if dtype.kind not in _KINDS:
        raise ValueError(f"dtype {name} is not allowed")
    return np.frombuffer(bytearray(raw), dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _tensor_bytes(tensor: Any) -> bytes:
    import torch

    flat = tensor.detach().cpu().contiguous()
    if flat.dtype == torch.bfloat16:  # NumPy has no such type: its bits travel as integers
        return b"b" + _array_bytes(flat.view(torch.int16).numpy())
    return b"n" + _array_bytes(flat.numpy())


def _tensor(data: bytes) -> Any:
    import torch

    tensor = torch.from_numpy(_array(data[1:]))
    return tensor.view(torch.bfloat16) if data[:1] == b"b" else tensor
