from __future__ import annotations

import dataclasses
import json
from typing import Any

import pyarrow as pa
import pytest

from cellfree_sim.backhaul import Books, Delivery, Header, Ledger
from cellfree_sim.backhaul.ledger import ROW_COLUMNS, unpack_entries

MESH = Header("demo", "training", 4, 0, "sbs-0", "mbs", ("sbs-0", "sbs-1", "mbs"), 0.1)


def enter(ledger: Ledger, side: Any, header: Header, size: int = 100, kind: str = "policy_output") -> None:
    ledger.record(side, header, kind=kind, link_class="backhaul", size_bytes=size, payload_bytes=size - 10)


def two_sided(*headers: Header, size: int = 100) -> tuple[bytes, bytes]:
    sbs, mbs = Ledger("sbs-0"), Ledger("mbs")
    for header in headers:
        enter(sbs, "sent", header, size)
        enter(mbs, "received", header, size)
    return sbs.drain_bytes(), mbs.drain_bytes()


def test_the_totals_of_a_small_network_computed_by_hand() -> None:
    sbs, mbs, books = Ledger("sbs-0"), Ledger("mbs"), Books()
    down = Header("demo", "validation", 4, 0, "mbs", "sbs-0", ("mbs", "sbs-0"), 0.2)
    enter(sbs, "sent", MESH, 100)
    enter(mbs, "received", MESH, 100)
    enter(mbs, "sent", down, 7, "loss_feedback")
    enter(sbs, "received", down, 7, "loss_feedback")
    books.feed(mbs.drain_bytes())
    books.feed(sbs.drain_bytes())
    assert books.balanced
    assert books.totals() == {
        "frames": 2,
        "bytes": 107,
        "retransmissions": {"frames": 0, "bytes": 0},
        "dropped": {"frames": 0, "bytes": 0},
        "by_kind": {"loss_feedback": 7, "policy_output": 100},
        "by_phase": {"training": 100, "validation": 7},
        "by_class": {"backhaul": 107},
        "by_link": {"mbs>sbs-0": 7, "sbs-0>sbs-1": 100, "sbs-1>mbs": 100},
        "by_station": {"mbs": {"sent": 7, "received": 100}, "sbs-0": {"sent": 100, "received": 7}},
    }


def test_matched_rows_are_a_table_with_the_times_of_either_side() -> None:
    for annotating in ("sbs-0", "mbs"):
        sbs, mbs, books = Ledger("sbs-0"), Ledger("mbs"), Books()
        enter(sbs, "sent", MESH)
        enter(mbs, "received", MESH)
        (sbs if annotating == "sbs-0" else mbs).annotate(MESH, Delivery(0.1 + 0.2, 1 / 3, 1e-17))
        books.feed(sbs.drain_bytes())
        assert books.take_rows()["step"] == []
        books.feed(mbs.drain_bytes())
        table = pa.table(books.take_rows())
        assert table.column_names == list(ROW_COLUMNS)
        (row,) = table.to_pylist()
        assert row["path"] == "sbs-0>sbs-1>mbs"
        assert (row["arrival_s"], row["queue_s"], row["transfer_s"]) == (0.1 + 0.2, 1 / 3, 1e-17)
        assert (row["sent_s"], row["bytes"], row["payload_bytes"], row["status"]) == (0.1, 100, 90, "delivered")
        assert books.take_rows()["step"] == []


def test_entries_come_through_bytes_unchanged() -> None:
    one, other = Ledger("sbs-0"), Ledger("sbs-0")
    for ledger in (one, other):
        enter(ledger, "sent", dataclasses.replace(MESH, sent_s=0.1 + 0.2))
        ledger.annotate(MESH, Delivery(2.0**-1074, 1e308, 0.1))
        enter(ledger, "received", dataclasses.replace(MESH, sequence=2**62))
    assert unpack_entries(one.drain_bytes()) == other.drain()
    assert len(one) == len(other) == 0
    assert unpack_entries(one.drain_bytes()) == []


def test_a_frame_that_never_arrived_is_listed_by_name() -> None:
    books = Books()
    sent, _ = two_sided(MESH)
    books.feed(sent)
    assert not books.balanced
    assert books.unmatched == ["policy_output 0 of step 4 from sbs-0 to mbs: sent, never received"]
    rows = books.take_rows(final=True)
    assert rows["status"] == ["unmatched"]
    assert rows["arrival_s"] == [None]


def test_a_frame_that_nobody_sent_is_listed_by_name() -> None:
    books = Books()
    books.feed(two_sided(MESH)[1])
    assert books.unmatched == ["policy_output 0 of step 4 from sbs-0 to mbs: received, never sent"]


def test_sent_is_received_plus_dropped() -> None:
    books, links = Books(), Ledger("links")
    lost = dataclasses.replace(MESH, sequence=1)
    sent, _ = two_sided(MESH, lost)
    _, received = two_sided(MESH)
    enter(links, "dropped", lost)
    for entries in (links.drain_bytes(), sent, received):
        books.feed(entries)
    assert books.balanced
    assert books.dropped == {"frames": 1, "bytes": 100}
    assert books.bytes == 200 == books.by_station["mbs"]["received"] + books.dropped["bytes"]
    assert sorted(books.take_rows()["status"]) == ["delivered", "dropped"]


def test_a_retransmission_is_counted_apart() -> None:
    undisturbed, disturbed, links = Books(), Books(), Ledger("links")
    for entries in two_sided(MESH):
        undisturbed.feed(entries)
    again = dataclasses.replace(MESH, attempt=1)
    sent, _ = two_sided(MESH, again)
    _, received = two_sided(again)
    enter(links, "dropped", MESH)
    for entries in (sent, received, links.drain_bytes()):
        disturbed.feed(entries)
    assert disturbed.balanced
    assert disturbed.retransmissions == {"frames": 1, "bytes": 100}
    for total in ("frames", "bytes", "by_kind", "by_phase", "by_class", "by_link"):
        assert getattr(disturbed, total) == getattr(undisturbed, total)
    assert disturbed.take_rows()["attempt"] == [1, 0]


def test_a_frame_entered_twice_is_named() -> None:
    books = Books()
    sent, received = two_sided(MESH)
    for entries in (sent, sent, received):
        books.feed(entries)
    assert not books.balanced
    assert books.unmatched == ["policy_output 0 of step 4 from sbs-0 to mbs: sent, and sent again"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"step": 5}, "step 4 and 5"),
        ({"sent_s": 0.25}, "sent_s 0.1 and 0.25"),
        ({"phase": "test"}, "training and test"),
    ],
)
def test_entries_that_differ_do_not_balance(change: dict[str, Any], found: str) -> None:
    books = Books()
    books.feed(two_sided(MESH)[0])
    books.feed(two_sided(dataclasses.replace(MESH, **change))[1])
    assert not books.balanced
    assert found in books.unmatched[0]


def test_sizes_that_differ_do_not_balance() -> None:
    books = Books()
    books.feed(two_sided(MESH)[0])
    books.feed(two_sided(MESH, size=101)[1])
    assert books.unmatched == [
        "policy_output 0 of step 4 from sbs-0 to mbs: sent and received differ in bytes 100 and 101, "
        "payload_bytes 90 and 91"
    ]


def test_books_keep_only_what_is_open() -> None:
    books = Books()
    for sequence in range(2000):
        for entries in two_sided(dataclasses.replace(MESH, sequence=sequence)):
            books.feed(entries)
        books.take_rows()
        assert len(books.state()["open"]) == 0
    assert books.frames == 2000


def test_restored_books_go_on_as_before() -> None:
    one, other = Books(), Books()
    later = dataclasses.replace(MESH, sequence=1)
    sent, received = two_sided(MESH)
    one.feed(sent)
    one.feed(sent)
    other.restore(json.loads(json.dumps(one.state())))
    for books in (one, other):
        books.feed(received)
        for entries in two_sided(later):
            books.feed(entries)
    assert one.totals() == other.totals()
    assert one.unmatched == other.unmatched
    assert one.take_rows() == other.take_rows()


def test_annotating_an_unknown_frame_is_an_error() -> None:
    with pytest.raises(KeyError):
        Ledger("mbs").annotate(MESH, Delivery(0, 0, 0))
