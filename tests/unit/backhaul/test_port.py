from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cellfree_sim.backhaul import Books, Bundle, Delivery, Port, decode
from cellfree_sim.backhaul.messages import Heartbeat, Leave, SoftDecision
from cellfree_sim.backhaul.port import Envelope, Link
from cellfree_sim.errors import FrameError

SOFT = SoftDecision(np.linspace(-3, 0, 60, dtype=np.float32).reshape(3, 5, 4))


def pair(**options: Any) -> tuple[Port, Port]:
    sbs = Port("sbs-0", "demo", {"mbs": ("sbs-0", "mbs"), "sbs-1": ("sbs-0", "mbs", "sbs-1")}, **options)
    return sbs, Port("mbs", "demo", {"sbs-0": ("mbs", "sbs-0")}, **options)


def send(port: Port, message: Any = SOFT, to: str = "mbs", **options: Any) -> bytes:
    return port.send(message, to, phase="training", step=3, now_s=0.5, **options)


def test_what_is_sent_is_received_and_both_books_say_so() -> None:
    sbs, mbs = pair()
    frame = send(sbs)
    header, message = mbs.receive(frame)
    np.testing.assert_array_equal(message.log_probabilities, SOFT.log_probabilities)
    mbs.annotate(header, Delivery(0.75, 0.0, 0.25))
    (sent,), (received,) = sbs.ledger.drain(), mbs.ledger.drain()
    assert (sent.side, received.side) == ("sent", "received")
    assert sent[1:13] == received[1:13]
    assert (sent.bytes, sent.payload_bytes, sent.kind, sent.link_class) == (
        len(frame),
        240,
        "soft_decision",
        "backhaul",
    )
    assert received.arrival_s == 0.75


def test_sequence_numbers_count_from_zero_per_sender_and_survive_a_checkpoint() -> None:
    sbs, mbs = pair()
    assert [decode(send(sbs, to=to))[0].sequence for to in ("mbs", "sbs-1", "mbs")] == [0, 1, 2]
    assert decode(send(mbs, to="sbs-0"))[0].sequence == 0
    other, _ = pair()
    other.restore(sbs.state())
    assert send(other) == send(sbs)


def test_a_refused_message_leaves_no_trace() -> None:
    sbs, _ = pair(max_bytes=200)
    for message, to in ((SOFT, "mbs"), (Heartbeat(math.nan), "mbs"), (Heartbeat(0.0), "sbs-9")):
        with pytest.raises(FrameError):
            send(sbs, message, to)
    assert len(sbs.ledger) == 0
    assert sbs.state() == {"sequence": 0}


def test_a_refused_frame_is_not_entered() -> None:
    sbs, mbs = pair()
    stranger = Port("sbs-0", "another-run", {"mbs": ("sbs-0", "mbs")})
    _, narrow = pair(max_bytes=64)
    for frame, reason in ((send(sbs, to="sbs-1"), "not for mbs"), (send(stranger), "foreign"), (b"\x00", "map")):
        with pytest.raises(FrameError, match=reason):
            mbs.receive(frame)
    with pytest.raises(FrameError, match="longer than the limit of 64"):
        narrow.receive(send(sbs))
    assert len(mbs.ledger) == len(narrow.ledger) == 0


@pytest.mark.parametrize(
    ("precision", "payload"), [("float32", 240), ("float16", 120), ("bfloat16", 120), ("int8", 68)]
)
def test_precision_is_the_ports_unless_the_sender_says_otherwise(precision: Any, payload: int) -> None:
    sbs, mbs = pair(precision=precision)
    mbs.receive(send(sbs))
    mbs.receive(send(sbs, precision="float32"))
    for book in (sbs.ledger, mbs.ledger):
        assert [entry.payload_bytes for entry in book.drain()] == [payload, 240]


def test_a_link_added_to_the_chain_sees_every_frame() -> None:
    class Damage(Link):
        def outgoing(self, envelope: Envelope) -> None:
            envelope.frame = bytes(envelope.frame)[:-1]

    class Restore(Link):
        def incoming(self, envelope: Envelope) -> None:
            envelope.frame = bytes(envelope.frame) + b"\x00"

    sbs, mbs = pair()
    sbs.chain.append(Damage())
    damaged = send(sbs, SoftDecision(np.zeros((1, 1, 1), np.float32)))
    with pytest.raises(FrameError):
        mbs.receive(damaged)
    mbs.chain.append(Restore())
    mbs.receive(damaged)
    books = Books()
    books.feed(sbs.ledger.drain_bytes())
    books.feed(mbs.ledger.drain_bytes())
    assert books.balanced


def test_a_chain_that_decodes_nothing_says_so() -> None:
    _, mbs = pair()
    mbs.chain.clear()
    with pytest.raises(FrameError, match="no link of the chain decoded"):
        mbs.receive(b"")


def test_a_posted_frame_comes_with_its_header() -> None:
    sbs, _ = pair()
    header, frame = sbs.post(Leave("done"), "mbs", phase="control", step=9, now_s=2, attempt=1)
    assert decode(frame) == (header, Leave("done"))
    assert (header.step, header.sent_s, header.attempt) == (9, 2.0, 1)


def test_a_bundle_gives_back_its_frames() -> None:
    frames = [b"", b"a", bytes(1000)]
    bundle = Bundle()
    for index, frame in enumerate(frames):
        bundle.add(frame, arrival_s=index / 3)
    bundle.add(b"unknown")
    packed = bundle.pack()
    found = list(Bundle.unpack(packed))
    assert [bytes(frame) for frame, _ in found] == [*frames, b"unknown"]
    assert [arrival_s for _, arrival_s in found[:3]] == [0.0, 1 / 3, 2 / 3]
    assert math.isnan(found[3][1])
    ends = {0}
    for frame in [*frames, b"unknown"]:
        ends.add(max(ends) + 12 + len(frame))
    for length in range(len(packed)):
        if length in ends:
            list(Bundle.unpack(packed[:length]))
        else:
            with pytest.raises(FrameError, match="ends within"):
                list(Bundle.unpack(packed[:length]))
