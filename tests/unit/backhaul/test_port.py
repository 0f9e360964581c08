from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from cellfree_sim.backhaul import Books, Bundle, Delivery, Header, Port, decode
from cellfree_sim.backhaul.messages import Heartbeat, Leave, ModelTransfer, SoftDecision
from cellfree_sim.backhaul.port import Envelope, Link
from cellfree_sim.errors import FrameError

SOFT = SoftDecision(np.linspace(-3, 0, 60, dtype=np.float32).reshape(3, 5, 4), np.arange(5, dtype=np.int32))


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
        260,
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
    assert sbs.state()["sequence"] == 0


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
    ("precision", "payload"), [("float32", 260), ("float16", 140), ("bfloat16", 140), ("int8", 88)]
)
def test_precision_is_the_ports_unless_the_sender_says_otherwise(precision: Any, payload: int) -> None:
    sbs, mbs = pair(precision=precision)
    mbs.receive(send(sbs))
    mbs.receive(send(sbs, precision="float32"))
    for book in (sbs.ledger, mbs.ledger):
        assert [entry.payload_bytes for entry in book.drain()] == [payload, 260]


def test_a_link_added_to_the_chain_sees_every_frame() -> None:
    class Damage(Link):
        def outgoing(self, envelope: Envelope) -> None:
            envelope.frame = bytes(envelope.frame)[:-1]

    class Restore(Link):
        def incoming(self, envelope: Envelope) -> None:
            envelope.frame = bytes(envelope.frame) + b"\x00"

    sbs, mbs = pair()
    sbs.chain.append(Damage())
    damaged = send(sbs, ModelTransfer({"weight": np.zeros(1, np.float32)}))
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


DIRECT, RELAYED = {"mbs": ("sbs-0", "mbs")}, {"mbs": ("sbs-0", "sbs-1", "mbs")}
CUT = [frozenset(("mbs", "sbs-0"))]


def post(port: Port, now_s: float, to: str = "mbs") -> Header:
    return port.post(Leave("x"), to, phase="training", step=1, now_s=now_s)[0]


def test_a_frame_over_a_cut_link_is_lost_and_sent_again_another_way() -> None:
    sbs, mbs = Port("sbs-0", "demo", DIRECT), Port("mbs", "demo", {})
    sbs.reroute(RELAYED, CUT, 0.05)
    header, frame = sbs.post(SOFT, "mbs", phase="training", step=1, now_s=2.0, precision="float16")
    assert (header.path, header.attempt, header.sent_s, header.sequence) == (RELAYED["mbs"], 1, 2.05, 0)
    assert decode(frame)[0] == header
    mbs.receive(frame)
    lost, dropped, again = sbs.ledger.drain()
    assert (lost.side, dropped.side, again.side) == ("sent", "dropped", "sent")
    assert lost[1:] == dropped[1:]
    assert (lost.path, lost.attempt, lost.sent_s, lost.payload_bytes) == (DIRECT["mbs"], 0, 2.0, 140)
    books = Books()
    books.feed([lost, dropped, again, *mbs.ledger.drain()])
    assert books.balanced and books.frames == books.dropped["frames"] == books.retransmissions["frames"] == 1
    rows = books.take_rows()
    assert list(zip(rows["path"], rows["status"], strict=True)) == [
        ("sbs-0>mbs", "dropped"),
        ("sbs-0>sbs-1>mbs", "delivered"),
    ]


def test_all_frames_are_lost_until_the_first_one_is_sent_again() -> None:
    sbs = Port("sbs-0", "demo", DIRECT)
    sbs.reroute(RELAYED, CUT, 0.05)
    left = [post(sbs, now_s) for now_s in (1.0, 1.0, 1.04, 1.05, 9.0)]
    assert [(header.attempt, header.sent_s) for header in left] == [(1, 1.05), (1, 1.05), (1, 1.05), (0, 1.05), (0, 9)]
    assert [header.sequence for header in left] == [0, 1, 2, 3, 4]
    assert {header.path for header in left} == {RELAYED["mbs"]}
    assert [entry.side for entry in sbs.ledger.drain()].count("dropped") == 3


def test_another_change_meanwhile_makes_the_wait_no_shorter() -> None:
    sbs = Port("sbs-0", "demo", DIRECT)
    sbs.reroute(RELAYED, CUT, 0.05)
    left = [post(sbs, 1.0)]
    sbs.reroute(RELAYED | {"sbs-7": ("sbs-0", "sbs-7")}, CUT, 0.05)
    left += [post(sbs, now_s) for now_s in (1.04, 1.05)]
    assert [(header.attempt, header.sent_s) for header in left] == [(1, 1.05), (1, 1.05), (0, 1.05)]


def test_only_receivers_behind_the_cut_link_are_concerned() -> None:
    sbs = Port("sbs-0", "demo", DIRECT | {"sbs-1": ("sbs-0", "sbs-1")})
    sbs.reroute(RELAYED | {"sbs-1": ("sbs-0", "sbs-1"), "sbs-2": ("sbs-0", "sbs-1", "sbs-2")}, CUT, 0.05)
    assert [post(sbs, 1.0, to).attempt for to in ("sbs-1", "sbs-2", "mbs")] == [0, 0, 1]


def test_a_link_that_was_restored_before_anything_was_sent_loses_nothing() -> None:
    sbs = Port("sbs-0", "demo", DIRECT)
    sbs.reroute(RELAYED, CUT, 0.05)
    sbs.reroute(DIRECT, [], 0.05)
    assert post(sbs, 1.0).attempt == 0
    assert sbs.state() == {"sequence": 1, "old_paths": {}}


def test_a_second_cut_loses_what_is_sent_over_the_path_that_the_station_knows() -> None:
    sbs = Port("sbs-0", "demo", DIRECT)
    third = {"mbs": ("sbs-0", "sbs-2", "mbs")}
    both = [*CUT, frozenset(("sbs-1", "mbs"))]
    sbs.reroute(RELAYED, CUT, 0.05)
    sbs.reroute(third, both, 0.05)
    assert (post(sbs, 1.0).attempt, sbs.ledger.drain()[0].path) == (1, DIRECT["mbs"]), "it never knew of the relay"
    sbs = Port("sbs-0", "demo", DIRECT)
    sbs.reroute(RELAYED, CUT, 0.05)
    post(sbs, 1.0)
    sbs.ledger.drain()
    sbs.reroute(third, both, 0.05)
    header = post(sbs, 1.01)
    assert (header.path, header.sent_s) == (third["mbs"], 1.01 + 0.05)
    assert sbs.ledger.drain()[0].path == RELAYED["mbs"]


def test_a_station_that_is_cut_off_loses_what_it_sends() -> None:
    sbs = Port("sbs-0", "demo", DIRECT)
    with pytest.raises(FrameError, match="sbs-0 has lost no path to mbs"):
        sbs.lose(SOFT, "mbs", phase="training", step=4, now_s=1.5)
    sbs.reroute({}, CUT, 0.05)
    with pytest.raises(FrameError, match="no path to mbs"):
        post(sbs, 1.0)
    sbs.lose(SOFT, "mbs", phase="training", step=4, now_s=1.5)
    sent, dropped = sbs.ledger.drain()
    assert (sent.side, dropped.side, sent.path, sent.sent_s) == ("sent", "dropped", DIRECT["mbs"], 1.5)
    books = Books()
    books.feed([sent, dropped])
    assert books.balanced and books.retransmissions["frames"] == 0
    sbs.reroute(RELAYED, CUT, 0.05)
    header = post(sbs, 2.0)
    assert (header.attempt, header.sequence) == (0, 1), "it has noticed"


def test_what_a_station_has_not_noticed_survives_a_checkpoint() -> None:
    for sent_before in (False, True):
        one, other = Port("sbs-0", "demo", DIRECT), Port("sbs-0", "demo", RELAYED)
        one.reroute(RELAYED, CUT, 0.05)
        if sent_before:
            post(one, 1.0)
            one.ledger.drain()
        other.restore(json.loads(json.dumps(one.state())))
        for now_s in (1.02, 1.06):
            assert post(one, now_s) == post(other, now_s)
        assert one.ledger.drain() == other.ledger.drain()
