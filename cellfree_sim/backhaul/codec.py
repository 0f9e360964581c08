"""Frames: a header and a message as msgpack bytes, and back. Nothing else travels between stations.

A frame is one msgpack map with the keys ``v`` (version, 1), ``run``, ``phase``, ``step``, ``seq``, ``kind``, ``from``,
``to``, ``path``, ``sent``, ``attempt`` and ``body``. The body maps each field of the message to its value: an array to
one ExtType (see `arrays`), the state of a model to a map of them. A frame has

    69 + str(run) + str(phase) + str(kind) + str(sender) + str(receiver) + list(path)
       + int(step) + int(sequence) + int(attempt) + sum over fields (str(name) + value)

bytes, with str(t) = 1, 2 or 3 + the UTF-8 bytes of t (below 32 of them, below 256, or more), int(n) = 1, 2, 3, 5 or 9
(n below 2^7, 2^8, 2^16, 2^32, or more), list(l) = 1 or 3 + the sizes of its items (below 16 of them, or more). A float
takes 9 bytes, a bool 1, an array what `arrays` says, and a map as many as the list of its values, and its names.

Decoding runs nothing that the wire names (no pickle), takes memory for what the frame holds and not for what it
announces, and answers every defect with `FrameError` and its reason.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack
import numpy as np

from cellfree_sim.backhaul.arrays import describe, pack_array, unpack_array
from cellfree_sim.backhaul.messages import CATALOGUE, PHASES, Array, Header, Message
from cellfree_sim.backhaul.precision import PRECISIONS, Precision, wire_bytes
from cellfree_sim.errors import FrameError

if TYPE_CHECKING:
    from collections.abc import Iterable

VERSION: Final = 1
DEFAULT_MAX_BYTES: Final = 256 * 2**20
MAX_ITEMS: Final = 4096  # of a path, a roster, a model's state
_KEYS = ("v", "run", "phase", "step", "seq", "kind", "from", "to", "path", "sent", "attempt", "body")
_LARGEST_INT = 2**63 - 1


class Opened(NamedTuple):
    """A decoded frame: header, message, and the raw array bytes it carried."""

    header: Header
    message: Message
    payload_bytes: int


class _Field(NamedTuple):
    """One field of a message: an array where `dtype` is given, a map of arrays where `kind` is dict, else a scalar."""

    name: str
    kind: Any
    letters: str
    dtype: np.dtype[Any] | None


def encode(header: Header, message: Message, *, precision: Precision = "float32") -> bytes:
    """The frame of `message`. Raises FrameError where header or message do not fit the catalogue.

    Args:
        header: run, phase, step, sequence number, sender, receiver, path, simulated send time (s), attempt.
        message: one of the catalogue; arrays must be NumPy arrays of the declared dtype and letters.
        precision: of float32 and complex64 arrays on the wire.

    >>> from cellfree_sim.backhaul.messages import SoftDecision
    >>> header = Header("demo", "training", 0, 0, "sbs-0", "mbs", ("sbs-0", "mbs"), 0.25)
    >>> frame = encode(header, SoftDecision(np.zeros((2, 3, 4), np.float32), np.arange(3, dtype=np.int32)))
    >>> len(frame), decode(frame)[0] == header
    (306, True)
    """
    _check_header(header)
    if CATALOGUE.get(message.KIND) is not type(message):
        raise FrameError(f"a {type(message).__name__} does not travel: it is not in the catalogue")
    if precision not in PRECISIONS:
        raise FrameError(f"unknown precision {describe(precision)}; allowed are {', '.join(PRECISIONS)}")
    try:
        return b"".join(_parts(header, message, precision))
    except UnicodeEncodeError as error:
        raise FrameError(f"{message.KIND}: a text cannot be written as UTF-8: {error.reason}") from None


def decode(
    frame: bytes | memoryview, *, run: str | None = None, max_bytes: int = DEFAULT_MAX_BYTES
) -> tuple[Header, Message]:
    """Header and message of a frame; raises FrameError, and nothing else, where it is not one.

    Args:
        frame: the bytes received.
        run: name of the run; a frame of another run is refused. None accepts any.
        max_bytes: longer frames are refused before they are read.
    """
    opened = open_frame(frame, run=run, max_bytes=max_bytes)
    return opened.header, opened.message


def open_frame(frame: bytes | memoryview, *, run: str | None = None, max_bytes: int = DEFAULT_MAX_BYTES) -> Opened:
    """As `decode`, with the payload bytes that the frame carried."""
    entries = _unpack(frame, max_bytes)
    version = entries.get("v")
    if type(version) is not int or version != VERSION:
        raise FrameError(f"frame version is {describe(version)}; this program reads version {VERSION}")
    _check_keys("frame", entries, _KEYS)
    path, kind, body = entries["path"], entries["kind"], entries["body"]
    header = Header(
        run=entries["run"],
        phase=entries["phase"],
        step=entries["step"],
        sequence=entries["seq"],
        sender=entries["from"],
        receiver=entries["to"],
        path=tuple(path) if type(path) is list else path,
        sent_s=entries["sent"],
        attempt=entries["attempt"],
    )
    _check_header(header)
    if run is not None and header.run != run:
        raise FrameError(f"foreign frame: run {describe(header.run)} of {describe(header.sender)}, not {describe(run)}")
    if type(kind) is not str or kind not in CATALOGUE:
        raise FrameError(f"unknown kind {describe(kind)}; allowed are {', '.join(CATALOGUE)}")
    try:
        message, payload = _read_body(kind, body)
    except FrameError as error:
        raise FrameError(f"{kind} from {describe(header.sender)}: {error}") from None
    return Opened(header, message, payload)


def payload_bytes(message: Message, precision: Precision = "float32") -> int:
    """Raw array bytes of a message on the wire, without names, shapes and header.

    >>> from cellfree_sim.backhaul.messages import SoftDecision
    >>> soft = SoftDecision(np.zeros((2, 3, 4), np.float32), np.arange(3, dtype=np.int32))
    >>> [payload_bytes(soft, precision) for precision in PRECISIONS]
    [108, 60, 60, 40]
    """
    total = 0
    for field in _fields(message.KIND):
        value = getattr(message, field.name)
        arrays = [value] if field.dtype is not None else value.values() if field.kind is dict else []
        total += sum(wire_bytes(array.size, array.dtype, precision) for array in arrays)
    return total


@functools.cache
def _fields(kind: str) -> tuple[_Field, ...]:
    message_type = CATALOGUE[kind]
    hints = typing.get_type_hints(message_type)
    fields = []
    for entry in dataclasses.fields(message_type):
        letters, dtype = message_type.ARRAYS.get(entry.name, ("", None))
        hint = hints[entry.name]
        little = np.dtype(dtype).newbyteorder("<") if dtype else None
        fields.append(_Field(entry.name, typing.get_origin(hint) or hint, letters, little))
    return tuple(fields)


def _parts(header: Header, message: Message, precision: Precision) -> list[Any]:
    """A frame in pieces: packed bytes, and the arrays as they are, so that each is copied once, into the frame."""
    parts: list[Any] = []
    packer = msgpack.Packer(autoreset=False)

    def put(name: str, array: Any) -> None:
        if not isinstance(array, np.ndarray):
            raise FrameError(f"{name} must be an array, found {describe(array)}")
        parts.append(packer.bytes())
        packer.reset()
        parts.extend(pack_array(name, array, precision))

    head = (
        *(VERSION, header.run, header.phase, header.step, header.sequence, message.KIND),
        *(header.sender, header.receiver, header.path, header.sent_s, header.attempt),
    )
    packer.pack_map_header(len(_KEYS))
    for key, value in zip(_KEYS, head, strict=False):
        packer.pack(key)
        packer.pack(value)
    packer.pack(_KEYS[-1])
    fields = _fields(message.KIND)
    packer.pack_map_header(len(fields))
    sizes: dict[str, int] = {}
    for field in fields:
        packer.pack(field.name)
        value = getattr(message, field.name)
        if field.dtype is not None:
            _check_array(field, value, sizes)
            put(field.name, value)
        elif field.kind is dict:
            _check_state(field.name, value)
            packer.pack_map_header(len(value))
            for key, array in value.items():
                packer.pack(key)
                put(f"{field.name}[{describe(key)}]", array)
        else:
            packer.pack(_plain(field, value))
    parts.append(packer.bytes())
    return parts


def _unpack(frame: Any, max_bytes: int) -> dict[Any, Any]:
    """The outer map of a frame, with arrays as they came."""
    if not isinstance(frame, (bytes, bytearray, memoryview)):
        raise FrameError(f"a frame is bytes, found {describe(frame)}")
    size = memoryview(frame).nbytes
    if size > max_bytes:
        raise FrameError(f"frame of {size} bytes is longer than the limit of {max_bytes}")
    try:
        # An announced length allocates at once, so it is limited to what the frame can hold.
        limit = min(MAX_ITEMS, size)
        entries = msgpack.unpackb(frame, object_pairs_hook=_unique, max_array_len=limit, max_map_len=limit)
    except FrameError:
        raise
    except msgpack.ExtraData as error:
        raise FrameError(f"{len(error.extra)} bytes follow the end of the frame") from None
    except (ValueError, TypeError, OverflowError, BufferError, msgpack.UnpackException) as error:
        raise FrameError(f"frame of {size} bytes cannot be read: {error}") from None
    if type(entries) is not dict:
        raise FrameError(f"a frame is a map, found {describe(entries)}")
    return entries


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise FrameError("a key occurs twice in a map of the frame")
    return mapping


def _read_body(kind: str, body: Any) -> tuple[Message, int]:
    """Message and payload bytes."""
    if type(body) is not dict:
        raise FrameError(f"body must be a map, found {describe(body)}")
    fields = _fields(kind)
    _check_keys("body", body, [field.name for field in fields])
    payload = 0
    sizes: dict[str, int] = {}
    values: dict[str, Any] = {}
    for field in fields:
        value = body[field.name]
        if field.dtype is not None:
            array, raw_bytes = unpack_array(field.name, value)
            _check_array(field, array, sizes)
            values[field.name] = array
            payload += raw_bytes
        elif field.kind is dict:
            _check_state(field.name, value)
            state: dict[str, Array] = {}
            for key, item in value.items():
                state[key], raw_bytes = unpack_array(f"{field.name}[{describe(key)}]", item)
                payload += raw_bytes
            values[field.name] = state
        else:
            values[field.name] = _checked(field, value)
    return CATALOGUE[kind](**values), payload


def _check_keys(what: str, found: dict[Any, Any], expected: Iterable[str]) -> None:
    missing = [key for key in expected if key not in found]
    unknown = [describe(key) for key in found if key not in expected]
    if missing or unknown:
        texts = [f"no {', '.join(missing)}"] if missing else []
        texts += [f"unknown {', '.join(unknown[:3])}"] if unknown else []
        raise FrameError(f"{what} has {' and '.join(texts)}")


def _check_header(header: Header) -> None:
    """Types and limits: a header read from the wire may hold anything that msgpack can."""
    names: dict[str, Any] = {"run": header.run, "from": header.sender, "to": header.receiver}
    for name, text in names.items():
        if type(text) is not str or not text:
            raise FrameError(f"{name} must be a name, found {describe(text)}")
    if header.phase not in PHASES:
        raise FrameError(f"phase must be one of {', '.join(PHASES)}, found {describe(header.phase)}")
    numbers: dict[str, Any] = {"step": header.step, "seq": header.sequence, "attempt": header.attempt}
    for name, number in numbers.items():
        if type(number) is not int or not 0 <= number <= _LARGEST_INT:
            raise FrameError(f"{name} must be an integer from 0 to 2^63 - 1, found {describe(number)}")
    _check_time("sent", header.sent_s)
    path = header.path
    if type(path) is not tuple or not 2 <= len(path) <= MAX_ITEMS or not all(type(name) is str for name in path):
        raise FrameError(f"path must be a list of two or more stations, found {describe(path)}")
    if path[0] != header.sender or path[-1] != header.receiver:
        ends = f"{describe(header.sender)} to {describe(header.receiver)}"
        raise FrameError(f"path must lead from {ends}, found {describe(path[0])} to {describe(path[-1])}")


def _check_time(name: str, value: object) -> None:
    if not isinstance(value, float) or not math.isfinite(value) or value < 0:
        raise FrameError(f"{name} must be a finite time of at least 0 s, found {describe(value)}")


def _check_array(field: _Field, array: Any, sizes: dict[str, int]) -> None:
    """Type and shape: one letter is one size in the whole message. An empty array stands for none, of any shape."""
    if not isinstance(array, np.ndarray):
        raise FrameError(f"{field.name} must be an array, found {describe(array)}")
    if array.dtype != field.dtype:
        raise FrameError(f"{field.name} must be {field.dtype}, found {array.dtype}")
    if array.size == 0:
        return
    if array.ndim != len(field.letters):
        raise FrameError(f"{field.name} must have shape [{', '.join(field.letters)}], found {list(array.shape)}")
    for letter, size in zip(field.letters, array.shape, strict=True):
        if sizes.setdefault(letter, size) != size:
            raise FrameError(f"{field.name} has {letter} = {size}, another array of the message {sizes[letter]}")


def _check_state(name: str, state: Any) -> None:
    if not isinstance(state, dict) or len(state) > MAX_ITEMS or not all(type(key) is str for key in state):
        raise FrameError(f"{name} must map at most {MAX_ITEMS} names to arrays, found {describe(state)}")


def _checked(field: _Field, value: Any) -> Any:
    """A scalar, text, or list of texts as it must be on the wire. A float called ``…_s`` is a time: finite, >= 0."""
    if field.kind is tuple:
        if type(value) is not list or len(value) > MAX_ITEMS or not all(type(item) is str for item in value):
            raise FrameError(f"{field.name} must be a list of names, found {describe(value)}")
        return tuple(value)
    if type(value) is not field.kind:
        raise FrameError(f"{field.name} must be of type {field.kind.__name__}, found {describe(value)}")
    if field.kind is int and not -_LARGEST_INT <= value <= _LARGEST_INT:
        raise FrameError(f"{field.name} must fit 64 bits, found {describe(value)}")
    if field.kind is float and field.name.endswith("_s"):
        _check_time(field.name, value)
    return value


def _plain(field: _Field, value: Any) -> Any:
    """`value` of a message about to be sent, without NumPy's types, checked."""
    if isinstance(value, np.generic):
        value = value.item()
    if field.kind is float and type(value) is int:
        value = float(value)
    return _checked(field, list(value) if isinstance(value, tuple) else value)
