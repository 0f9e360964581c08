from __future__ import annotations

import dataclasses
import functools
import typing
from typing import Any

import msgpack
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellfree_sim.backhaul import decode, encode
from cellfree_sim.backhaul.arrays import DTYPES
from cellfree_sim.backhaul.messages import CATALOGUE, PHASES, Header, Message
from cellfree_sim.backhaul.precision import BLOCK, PRECISIONS
from cellfree_sim.errors import FrameError

LETTERS = sorted({letter for kind in CATALOGUE.values() for letters, _ in kind.ARRAYS.values() for letter in letters})
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
WHOLE = st.integers(0, 2**63 - 1)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63) + 1, 2**63 - 1),
    bool: st.booleans(),
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    tuple: st.lists(NAMES, max_size=20).map(tuple),
    dict: st.dictionaries(
        NAMES,
        hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)),
        max_size=4,
    ),
}
TIMES = st.floats(0, 1e300)


@st.composite
def headers(draw: st.DrawFn) -> Header:
    path = tuple(draw(st.lists(NAMES, min_size=2, max_size=18)))
    return Header(
        draw(NAMES),
        draw(st.sampled_from(PHASES)),
        draw(WHOLE),
        draw(WHOLE),
        path[0],
        path[-1],
        path,
        draw(TIMES),
        draw(WHOLE),
    )


@st.composite
def messages(draw: st.DrawFn) -> Message:
    message_type = CATALOGUE[draw(st.sampled_from(list(CATALOGUE)))]
    sizes = {letter: draw(st.integers(1, 3)) for letter in LETTERS}
    hints = typing.get_type_hints(message_type)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(message_type):
        if field.name in message_type.ARRAYS:
            letters, dtype = message_type.ARRAYS[field.name]
            shape = tuple(sizes[letter] for letter in letters)
            values[field.name] = draw(st.one_of(hnp.arrays(dtype, shape), st.just(np.zeros(0, dtype))))
        elif hints[field.name] is float:
            values[field.name] = draw(TIMES if field.name.endswith("_s") else st.floats())
        else:
            values[field.name] = draw(SCALARS[typing.get_origin(hints[field.name]) or hints[field.name]])
    return message_type(**values)


def flatten(message: Message) -> list[Any]:
    """Everything in a message in a form that == compares bit by bit."""
    found: list[Any] = [message.KIND]
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        for name, item in value.items() if isinstance(value, dict) else [(field.name, value)]:
            if isinstance(item, np.ndarray):
                found.append((name, str(item.dtype), item.shape, item.tobytes()))
            else:
                found.append((name, type(item), item.hex() if isinstance(item, float) else item))
    return found


@given(headers(), messages())
@settings(max_examples=300, deadline=None)
def test_every_message_comes_back_bit_for_bit(header: Header, message: Message) -> None:
    frame = encode(header, message)
    found_header, found = decode(frame, run=header.run)
    assert found_header == header
    assert flatten(found) == flatten(message)
    assert encode(found_header, found) == frame


@given(headers(), messages(), st.sampled_from(PRECISIONS[1:]))
@settings(max_examples=150, deadline=None)
def test_reduced_precision_keeps_types_and_shapes_and_all_other_fields(
    header: Header, message: Message, precision: Any
) -> None:
    _, found = decode(encode(header, message, precision=precision))
    for sent, received in zip(flatten(message), flatten(found), strict=True):
        if isinstance(sent, tuple) and len(sent) == 4 and sent[1] in ("float32", "complex64"):
            assert received[:3] == sent[:3]
        else:
            assert received == sent


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(hnp.arrays(np.float32, st.integers(1, 150), elements=FLOATS))
@settings(max_examples=200, deadline=None)
def test_int8_errs_by_at_most_half_a_scale(values: np.ndarray[Any, Any]) -> None:
    header = Header("r", "test", 0, 0, "a", "b", ("a", "b"), 0.0)
    _, found = decode(encode(header, CATALOGUE["model_transfer"](state={"w": values}), precision="int8"))
    error = np.abs(found.state["w"].astype(np.float64) - values)
    for start in range(0, values.size, BLOCK):
        block = slice(start, start + BLOCK)
        scale = max(np.abs(values[block].astype(np.float64)).max() / 127, 2.0**-126)
        assert error[block].max() <= scale * (0.5 + 1e-4)


@functools.cache
def valid_frame(kind: str, precision: Any) -> bytes:
    """One small frame of a kind."""
    message_type = CATALOGUE[kind]
    hints = typing.get_type_hints(message_type)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(message_type):
        origin = typing.get_origin(hints[field.name]) or hints[field.name]
        if field.name in message_type.ARRAYS:
            letters, dtype = message_type.ARRAYS[field.name]
            values[field.name] = np.ones((2,) * len(letters), dtype)
        else:
            plain: dict[Any, Any] = {int: 300, float: 0.5, bool: True, str: "why", tuple: ("a", "b")}
            values[field.name] = (
                {"w": np.ones((2, 3), np.float32), "n": np.array(7)} if origin is dict else plain[origin]
            )
    return encode(
        Header("r", "test", 1, 2, "a", "b", ("a", "m", "b"), 0.5), message_type(**values), precision=precision
    )


@st.composite
def damaged_frames(draw: st.DrawFn) -> bytes:
    """A valid frame with bytes changed, removed, inserted, or repeated."""
    frame = bytearray(valid_frame(draw(st.sampled_from(list(CATALOGUE))), draw(st.sampled_from(PRECISIONS))))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(frame) - 1, 0)))
        action = draw(st.sampled_from(["change", "flip", "cut", "remove", "insert", "repeat"]))
        if action == "change" and frame:
            frame[place] = draw(st.integers(0, 255))
        elif action == "flip" and frame:
            frame[place] ^= 1 << draw(st.integers(0, 7))
        elif action == "cut":
            del frame[place:]
        elif action == "remove":
            del frame[place : place + draw(st.integers(1, 16))]
        elif action == "insert":
            frame[place:place] = draw(st.binary(min_size=1, max_size=16))
        else:
            frame[place:place] = frame[place : place + draw(st.integers(1, 32))]
    return bytes(frame)


def decodes_or_refuses(frame: bytes) -> None:
    """Either FrameError in one line, or a message that can be sent again and is then the same."""
    reason = ""
    try:
        header, message = decode(frame, max_bytes=1 << 20)
    except FrameError as error:
        reason = str(error)
    if reason:
        assert "\n" not in reason
        assert len(reason) < 600
        return
    again_header, again = decode(encode(header, message))
    assert again_header == header
    assert flatten(again) == flatten(message)


@given(damaged_frames())
@settings(max_examples=1200, deadline=None)
def test_a_damaged_frame_is_a_frame_error_or_a_valid_message(frame: bytes) -> None:
    decodes_or_refuses(frame)


@given(st.binary(max_size=400))
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xc9\xff\xff\xff\xff\x01")
@settings(max_examples=500, deadline=None)
def test_random_bytes_are_a_frame_error(data: bytes) -> None:
    decodes_or_refuses(data)


SCALAR_OBJECTS = st.one_of(
    *(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(),
        st.text(max_size=20),
        st.binary(max_size=20),
    ),
    st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=60)),
    st.builds(msgpack.Timestamp, st.integers(0, 2**34 - 1), st.integers(0, 999_999_999)),
)
OBJECTS = st.recursive(
    SCALAR_OBJECTS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(OBJECTS)
@settings(max_examples=150, deadline=None)
def test_random_msgpack_is_a_frame_error(thing: Any) -> None:
    decodes_or_refuses(msgpack.packb(thing))


@given(st.sampled_from(list(CATALOGUE)), st.data())
@settings(max_examples=500, deadline=None)
def test_a_random_object_in_any_place_is_a_frame_error_or_a_valid_message(kind: str, data: st.DataObject) -> None:
    entries = msgpack.unpackb(valid_frame(kind, "float32"))
    place = data.draw(st.sampled_from([*entries, *(("body", name) for name in entries["body"])]))
    thing = data.draw(OBJECTS)
    if isinstance(place, tuple):
        entries["body"][place[1]] = thing
    else:
        entries[place] = thing
    decodes_or_refuses(msgpack.packb(entries))
