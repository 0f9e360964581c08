from __future__ import annotations

import dataclasses
import math
import pickle
import struct
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest

from cellfree_sim.backhaul import decode, encode, payload_bytes
from cellfree_sim.backhaul.codec import open_frame
from cellfree_sim.backhaul.messages import (
    CATALOGUE,
    Admit,
    ChannelReport,
    Heartbeat,
    Join,
    Leave,
    LossFeedback,
    Message,
    ModelTransfer,
    PolicyDecision,
)
from cellfree_sim.backhaul.precision import PRECISIONS
from cellfree_sim.errors import FrameError

KINDS = list(CATALOGUE)


def text_size(text: str) -> int:
    length = len(text.encode())
    return length + (1 if length < 32 else 2 if length < 256 else 3)


def integer_size(value: int) -> int:
    return next(size for size, limit in ((1, 7), (2, 8), (3, 16), (5, 32), (9, 64)) if value < 2**limit)


def array_size(array: np.ndarray[Any, Any], precision: str) -> int:
    raw = array.size * array.dtype.itemsize
    if str(array.dtype) in ("float32", "complex64") and precision != "float32":
        reals = raw // 4
        raw = reals + 4 * math.ceil(reals / 32) if precision == "int8" else 2 * reals
    return 6 + 16 * math.ceil((4 + 4 * array.ndim) / 16) + raw


def value_size(value: Any, precision: str) -> int:
    if isinstance(value, np.ndarray):
        return array_size(value, precision)
    if isinstance(value, bool):
        return 1
    if isinstance(value, float):
        return 9
    if isinstance(value, int):
        return integer_size(value)
    if isinstance(value, str):
        return text_size(value)
    if isinstance(value, dict):
        return value_size(tuple(value.values()), precision) + sum(text_size(name) for name in value)
    return (1 if len(value) < 16 else 3) + sum(value_size(item, precision) for item in value)


def closed_form(header: Any, message: Message, precision: str) -> int:
    """The formula in the module's docstring."""
    total = 69 + value_size(header.path, precision)
    total += sum(text_size(text) for text in (header.run, header.phase, message.KIND, header.sender, header.receiver))
    total += sum(integer_size(number) for number in (header.step, header.sequence, header.attempt))
    for field in dataclasses.fields(message):
        total += text_size(field.name) + value_size(getattr(message, field.name), precision)
    return total


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_as_long_as_the_closed_form(kind: str, precision: Any, sample: Any, header: Any) -> None:
    message = sample(kind)
    assert len(encode(header, message, precision=precision)) == closed_form(header, message, precision)


def test_the_closed_form_holds_for_long_names_long_lists_and_large_numbers(header: Any) -> None:
    stations = tuple(f"station-number-{index:03d}" for index in range(20))
    long = dataclasses.replace(
        header, run="r" * 300, sender=stations[0], receiver=stations[-1], path=stations, step=2**33, sequence=127
    )
    for message in (
        Admit(("é" * 20, "b" * 31, "c" * 32) * 6, 2**62),
        ModelTransfer({f"w{i}": np.zeros(1) for i in range(17)}),
    ):
        assert len(encode(long, message)) == closed_form(long, message, "float32")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_as_it_was(kind: str, sample: Any, arrays_of: Any, header: Any) -> None:
    message = sample(kind)
    found_header, found = decode(encode(header, message), run="demo")
    assert found_header == header
    assert type(found) is type(message)
    sent, received = arrays_of(message), arrays_of(found)
    assert list(sent) == list(received)
    for name, array in sent.items():
        assert received[name].dtype == array.dtype
        assert received[name].shape == array.shape
        assert received[name].tobytes() == array.tobytes()
    for field in dataclasses.fields(message):
        if not isinstance(getattr(message, field.name), (np.ndarray, dict)):
            assert getattr(found, field.name) == getattr(message, field.name)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_both_sides_count_the_same_payload(kind: str, precision: Any, sample: Any, arrays_of: Any, header: Any) -> None:
    message = sample(kind)
    expected = sum(array_size(array, precision) for array in arrays_of(message).values())
    expected -= sum(6 + 16 * math.ceil((4 + 4 * array.ndim) / 16) for array in arrays_of(message).values())
    assert payload_bytes(message, precision) == expected
    assert open_frame(encode(header, message, precision=precision)).payload_bytes == expected


@pytest.mark.parametrize("precision", PRECISIONS)
def test_decoded_arrays_are_aligned_and_read_only(precision: Any, sample: Any, arrays_of: Any, header: Any) -> None:
    for kind in ("policy_output", "model_transfer"):
        _, message = decode(encode(header, sample(kind), precision=precision))
        for array in arrays_of(message).values():
            assert array.ctypes.data % 16 == 0 or array.size == 0
            assert array.flags.aligned
            assert not array.flags.writeable


def test_a_full_precision_array_is_a_view_of_what_was_unpacked(header: Any) -> None:
    _, message = decode(encode(header, ChannelReport(np.ones((2, 1, 1, 3, 1), np.complex64))))
    assert isinstance(message, ChannelReport)
    assert not message.channel.flags.owndata


def test_an_array_in_any_memory_order_travels_in_c_order(header: Any) -> None:
    array = np.arange(120, dtype=np.float32).reshape(1, 2, 3, 4, 5).astype(np.complex64)
    for given in (np.asfortranarray(array), array[:, ::-1], array.transpose(4, 3, 2, 1, 0), array.astype(">c8")):
        _, message = decode(encode(header, ModelTransfer({"w": given})))
        assert isinstance(message, ModelTransfer)
        np.testing.assert_array_equal(message.state["w"], given)


def test_an_independent_reader_finds_what_the_format_says(header: Any) -> None:
    allocation = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    frame = encode(header, PolicyDecision(np.zeros((1, 2, 4, 3), np.complex64), allocation))
    entries = msgpack.unpackb(frame)
    assert list(entries) == [
        "v",
        "run",
        "phase",
        "step",
        "seq",
        "kind",
        "from",
        "to",
        "path",
        "sent",
        "attempt",
        "body",
    ]
    assert entries["v"] == 1
    assert entries["kind"] == "policy_decision"
    code, data = entries["body"]["allocation"]
    assert code == 1
    assert data[:16] == bytes([3, 0, 3, 0]) + struct.pack("<3I", 1, 2, 3)
    assert struct.unpack("<6f", data[16:]) == (0, 1, 2, 3, 4, 5)


def test_a_frame_of_an_independent_writer_is_read() -> None:
    data = bytes([3, 0, 3, 0]) + struct.pack("<3I", 1, 2, 2) + struct.pack("<4f", 1, 2, 3, 4)
    users = bytes([8, 0, 1, 0]) + struct.pack("<I", 2) + bytes(8) + struct.pack("<2i", 3, 70_000)
    frame = msgpack.packb(
        {
            "v": 1,
            "run": "r",
            "phase": "test",
            "step": 1,
            "seq": 2,
            "kind": "soft_decision",
            "from": "a",
            "to": "b",
            "path": ["a", "b"],
            "sent": 0.5,
            "attempt": 0,
            "body": {
                "log_probabilities": msgpack.ExtType(1, data),
                "users": msgpack.ExtType(1, users),
                "service": "ep",
            },
        }
    )
    header, message = decode(memoryview(frame))
    assert header.sent_s == 0.5
    np.testing.assert_array_equal(message.log_probabilities, [[[1, 2], [3, 4]]])
    assert (message.users.tolist(), message.service) == ([3, 70_000], "ep")


def test_numpy_scalars_become_plain_ones(header: Any) -> None:
    _, join = decode(encode(header, Join(np.int64(7), np.uint32(8))))
    assert join == Join(7, 8)
    _, beat = decode(encode(header, Heartbeat(np.float32(0.5))))
    assert beat == Heartbeat(0.5)


def test_a_diverged_loss_travels_but_a_diverged_time_does_not(sample: Any, header: Any) -> None:
    feedback = dataclasses.replace(sample("loss_feedback"), joint_loss=math.nan)
    _, found = decode(encode(header, feedback))
    assert isinstance(found, LossFeedback)
    assert math.isnan(found.joint_loss)
    for time_s in (math.nan, math.inf, -1e-9):
        with pytest.raises(FrameError, match="now_s must be a finite time"):
            encode(header, Heartbeat(time_s))


def test_empty_arrays_stand_for_none_in_any_shape(sample: Any, header: Any) -> None:
    empty = np.zeros(0, np.complex64)
    message = dataclasses.replace(sample("loss_feedback"), gradient_beams=empty)
    _, found = decode(encode(header, message))
    assert found.gradient_beams.shape == (0,)


def repacked(frame: bytes, **changes: Any) -> bytes:
    """`frame` with other entries; None removes one; body is updated."""
    entries = msgpack.unpackb(frame)
    entries["body"] |= changes.pop("body", {}) if isinstance(changes.get("body"), dict) else {}
    entries |= {key + "_" if key == "from_" else key.rstrip("_"): value for key, value in changes.items()}
    packed: bytes = msgpack.packb({key: value for key, value in entries.items() if value is not None})
    return packed


def array_value(code: int = 3, precision: int = 0, shape: tuple[int, ...] = (1, 1, 2), raw: bytes = bytes(8)) -> Any:
    head = bytes([code, precision, len(shape), 0]) + struct.pack(f"<{len(shape)}I", *shape)
    return msgpack.ExtType(1, head + bytes(-len(head) % 16) + raw)


REFUSED_ENTRIES: list[tuple[dict[str, Any], str]] = [
    ({"v": 2}, "version is 2"),
    ({"v": None}, "version is None"),
    ({"v": True}, "version is True"),
    ({"run": "other"}, "foreign frame"),
    ({"run": ""}, "run must be a name"),
    ({"run": b"demo"}, "run must be a name"),
    ({"phase": "training "}, "phase must be one of"),
    ({"phase": 3}, "phase must be one of"),
    ({"phase": ["training"]}, "phase must be one of"),
    ({"step": -1}, "step must be an integer"),
    ({"step": 1.0}, "step must be an integer"),
    ({"step": True}, "step must be an integer"),
    ({"step": 2**63}, "step must be an integer"),
    ({"seq": "7"}, "seq must be an integer"),
    ({"attempt": False}, "attempt must be an integer"),
    ({"sent": math.nan}, "sent must be a finite time"),
    ({"sent": math.inf}, "sent must be a finite time"),
    ({"sent": -0.5}, "sent must be a finite time"),
    ({"sent": 1}, "sent must be a finite time"),
    ({"to": 5}, "to must be a name"),
    ({"path": ["sbs-0"]}, "two or more stations"),
    ({"path": ["sbs-0", 5, "mbs"]}, "two or more stations"),
    ({"path": "sbs-0>mbs"}, "two or more stations"),
    ({"path": ["sbs-1", "mbs"]}, "path must lead from 'sbs-0' to 'mbs'"),
    ({"path": ["sbs-0", "sbs-1"]}, "path must lead from 'sbs-0' to 'mbs'"),
    ({"kind": "gossip"}, "unknown kind 'gossip'"),
    ({"kind": 7}, "unknown kind 7"),
    ({"kind": ["join"]}, "unknown kind"),
    ({"attempt": None}, "no attempt"),
    ({"extra": 1}, "unknown 'extra'"),
    ({"body": None}, "no body"),
    ({"body": 7}, "body must be a map"),
    ({"kind": "join"}, "body has no parameters"),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED_ENTRIES)
def test_a_bad_entry_is_refused_with_its_reason(changes: dict[str, Any], reason: str, sample: Any, header: Any) -> None:
    frame = repacked(encode(header, sample("soft_decision")), **changes)
    with pytest.raises(FrameError, match=reason) as caught:
        decode(frame, run="demo")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


REFUSED_BODIES: list[tuple[str, dict[str, Any], str]] = [
    ("soft_decision", {"log_probabilities": [1.0, 2.0]}, "must be an array, found a value of type list"),
    ("soft_decision", {"log_probabilities": bytes(64)}, "must be an array"),
    ("soft_decision", {"log_probabilities": msgpack.ExtType(2, bytes(64))}, "must be an array"),
    ("soft_decision", {"log_probabilities": msgpack.Timestamp(1)}, "must be an array"),
    ("soft_decision", {"log_probabilities": msgpack.ExtType(1, b"")}, "starts with nothing"),
    ("soft_decision", {"log_probabilities": array_value(code=14)}, "starts with 0e0003"),
    ("soft_decision", {"log_probabilities": array_value(precision=4)}, "starts with 030403"),
    ("soft_decision", {"log_probabilities": array_value(shape=(1,) * 17)}, "starts with 030011"),
    ("soft_decision", {"log_probabilities": array_value(code=0)}, "must be float32, found complex64|takes 16 bytes"),
    ("soft_decision", {"log_probabilities": array_value(code=9, precision=1)}, "int64 cannot travel as float16"),
    ("soft_decision", {"log_probabilities": array_value(code=9, raw=bytes(16))}, "must be float32, found int64"),
    ("soft_decision", {"log_probabilities": array_value(raw=bytes(9))}, "takes 8 bytes, found 9"),
    ("soft_decision", {"log_probabilities": array_value(raw=bytes(4))}, "takes 8 bytes, found 4"),
    ("soft_decision", {"log_probabilities": array_value(shape=(2**32 - 1,) * 3)}, "takes .* bytes, found 8"),
    ("soft_decision", {"log_probabilities": array_value(shape=(2,))}, r"must have shape \[S, I, M\], found \[2\]"),
    ("soft_decision", {"log_probabilities": array_value(shape=(0,) + (2**32 - 1,) * 15, raw=b"")}, "beyond"),
    ("soft_decision", {"log_probabilities": msgpack.ExtType(1, bytes([3, 0, 4, 0]) + bytes(12))}, "truncated"),
    ("soft_decision", {"log_probabilities": msgpack.ExtType(1, bytes([3, 0, 0, 0]) + b"x" * 12 + bytes(4))}, "padded"),
    ("soft_decision", {"other": 1}, "unknown 'other'"),
    ("policy_decision", {"allocation": array_value(shape=(1, 1, 2))}, "has S = 1, another array of the message 3"),
    ("model_transfer", {"state": {"mask": array_value(code=5, shape=(2,), raw=b"\x01\x02")}}, "other than 0 and 1"),
    ("model_transfer", {"state": {"w": 5}}, r"state\['w'\] must be an array, found 5"),
    ("model_transfer", {"state": {b"w": array_value()}}, "state must map"),
    ("model_transfer", {"state": [array_value()]}, "state must map"),
    ("heartbeat", {"now_s": 1}, "now_s must be of type float, found 1"),
    ("heartbeat", {"now_s": math.nan}, "now_s must be a finite time"),
    ("join", {"parameters": True}, "parameters must be of type int, found True"),
    ("join", {"parameters": 5.0}, "parameters must be of type int"),
    ("join", {"parameters": 2**64 - 1}, "must fit 64 bits"),
    ("leave", {"reason": b"bye"}, "reason must be of type str"),
    ("leave", {"reason": ["x" * 100_000]}, "reason must be of type str, found a value of type list"),
    ("loss_feedback", {"hold": 0}, "hold must be of type bool, found 0"),
    ("admit", {"roster": "sbs-0"}, "roster must be a list of names"),
    ("admit", {"roster": ["sbs-0", 1]}, "roster must be a list of names"),
]


@pytest.mark.parametrize(("kind", "body", "reason"), REFUSED_BODIES)
def test_a_bad_body_is_refused_with_its_reason(
    kind: str, body: dict[str, Any], reason: str, sample: Any, header: Any
) -> None:
    with pytest.raises(FrameError, match=reason) as caught:
        decode(repacked(encode(header, sample(kind)), body=body))
    assert str(caught.value).startswith(f"{kind} from 'sbs-0': ")
    assert len(str(caught.value)) < 400


def test_every_truncation_is_refused(sample: Any, header: Any) -> None:
    frame = encode(header, sample("policy_output"))
    for length in range(len(frame)):
        with pytest.raises(FrameError):
            decode(frame[:length])


def test_what_follows_a_frame_is_refused(sample: Any, header: Any) -> None:
    frame = encode(header, sample("join"))
    with pytest.raises(FrameError, match="3 bytes follow the end"):
        decode(frame + b"abc")
    with pytest.raises(FrameError, match="bytes follow the end"):
        decode(frame + frame)


def test_a_frame_at_the_limit_passes_and_one_byte_more_does_not(sample: Any, header: Any) -> None:
    frame = encode(header, sample("join"))
    decode(frame, max_bytes=len(frame))
    with pytest.raises(FrameError, match=f"{len(frame)} bytes is longer than the limit of {len(frame) - 1}"):
        decode(frame, max_bytes=len(frame) - 1)


def test_a_key_twice_is_refused(header: Any) -> None:
    frame = encode(header, Heartbeat(0.5))
    assert frame[0] == 0x80 + 12
    twice = bytes([0x80 + 13]) + frame[1:] + msgpack.packb("step") + msgpack.packb(8)
    with pytest.raises(FrameError, match="twice"):
        decode(twice)


@pytest.mark.parametrize(
    "foreign",
    [b"", b"\xc1", b"\x00", b"\x80", pickle.dumps({"v": 1}), b"GET / HTTP/1.1\r\n\r\n", b"\xa1\xff", b"\x81\x90\x01"],
)
def test_what_is_no_frame_is_refused(foreign: bytes) -> None:
    with pytest.raises(FrameError):
        decode(foreign)


@pytest.mark.parametrize("thing", [None, 5, "frame", [1], np.zeros((4, 4), np.float32)[:, ::2].data])
def test_what_is_no_bytes_is_refused(thing: Any) -> None:
    with pytest.raises(FrameError):
        decode(thing)


def test_announced_sizes_allocate_nothing(header: Any) -> None:
    frame = encode(header, Leave("x" * 16))
    announced = b"\xff\xff\xff\xff"
    hostile = [prefix + announced + bytes(5000) for prefix in (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9")]
    hostile += [b"\xdd\x00\x00\x10\x00" * 2000, b"\xdf\x00\x00\x10\x00\xa1k" * 2000, b"\x91" * 100_000]
    hostile += [frame.replace(b"\xb0" + b"x" * 16, b"\xc9" + announced + b"\x01" + b"x" * 11)]
    for attack in hostile:
        tracemalloc.start()
        with pytest.raises(FrameError):
            decode(attack)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 64 * 2**20


UNFIT: list[tuple[Any, str]] = [
    (ChannelReport([[1.0]]), "channel must be an array"),
    (ChannelReport(np.zeros((1, 1, 1, 1, 1))), "channel must be complex64, found float64"),
    (ChannelReport(np.ones((1, 1, 1), np.complex64)), "must have shape"),
    (PolicyDecision(np.ones((2, 1, 1, 3), np.complex64), np.ones((2, 1, 4), np.float32)), "has I = 4"),
    (ModelTransfer({"w": np.array(["a"])}), "does not travel"),
    (ModelTransfer({"w": np.array([object()])}), "does not travel"),
    (ModelTransfer({"w": np.zeros((1,) * 17)}), "at most 16 dimensions"),
    (ModelTransfer({"w": [1.0]}), "must be an array"),
    (ModelTransfer({5: np.zeros(1)}), "state must map"),
    (Join(2**63, 1), "must fit 64 bits"),
    (Join(1.0, 1), "must be of type int"),
    (Join(True, 1), "must be of type int"),
    (Leave("\ud800"), "UTF-8"),
    (Admit(("sbs-0", 5), 1), "list of names"),
    (Admit("sbs-0", 1), "list of names"),
    (Message(), "not in the catalogue"),
]


@pytest.mark.parametrize(("message", "reason"), UNFIT)
def test_a_message_that_does_not_fit_is_not_sent(message: Message, reason: str, header: Any) -> None:
    with pytest.raises(FrameError, match=reason):
        encode(header, message)


def test_a_bad_header_or_precision_is_not_sent(header: Any) -> None:
    with pytest.raises(FrameError, match="sent must be a finite time"):
        encode(dataclasses.replace(header, sent_s=math.nan), Heartbeat(0.0))
    with pytest.raises(FrameError, match="path must lead"):
        encode(dataclasses.replace(header, path=("mbs", "sbs-0")), Heartbeat(0.0))
    with pytest.raises(FrameError, match="unknown precision 'float8'"):
        encode(header, Heartbeat(0.0), precision="float8")
