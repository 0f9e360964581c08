from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cellfree_sim.backhaul import Books, Delivery, Header, Ledger
from cellfree_sim.backhaul.ledger import Entry, pack_entries, unpack_entries

STATIONS = ("mbs", "sbs-0", "sbs-1")
FATES = ("received", "dropped", "lost")
Frame = tuple[str, str, int, int, str]
FRAMES = st.lists(
    st.tuples(
        st.sampled_from(STATIONS),
        st.sampled_from(STATIONS),
        st.integers(1, 99),
        st.integers(0, 1),
        st.sampled_from(FATES),
    ).filter(lambda frame: frame[0] != frame[1]),
    max_size=25,
)


def enter_all(frames: list[Frame]) -> dict[str, list[Entry]]:
    ledgers = {name: Ledger(name) for name in (*STATIONS, "links")}
    for sequence, (sender, receiver, size, attempt, fate) in enumerate(frames):
        header = Header("r", "training", 0, sequence, sender, receiver, (sender, receiver), sequence / 3, attempt)
        options: dict[str, Any] = {"kind": "join", "link_class": "control", "size_bytes": size, "payload_bytes": 0}
        ledgers[sender].record("sent", header, **options)
        if fate == "received":
            ledgers[receiver].record("received", header, **options)
            ledgers[receiver].annotate(header, Delivery(sequence / 3 + 0.1, 0.0, 0.1))
        elif fate == "dropped":
            ledgers["links"].record("dropped", header, **options)
    return {name: ledger.drain() for name, ledger in ledgers.items()}


@given(FRAMES, st.randoms(use_true_random=False), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_any_order_of_feeding_gives_what_was_sent(frames: list[Frame], random: Any, chunk: int) -> None:
    entries = [entry for book in enter_all(frames).values() for entry in book]
    random.shuffle(entries)
    books = Books()
    rows: list[tuple[int, str]] = []
    for start in range(0, len(entries), chunk):
        books.feed(pack_entries(entries[start : start + chunk]))
        taken = books.take_rows()
        rows += zip(taken["sequence"], taken["status"], strict=True)
    first = [frame for frame in frames if frame[3] == 0]
    assert books.frames == len(first)
    assert books.bytes == sum(size for _, _, size, _, _ in first)
    assert books.dropped["bytes"] == sum(size for _, _, size, _, fate in first if fate == "dropped")
    assert books.retransmissions["bytes"] == sum(size for _, _, size, attempt, _ in frames if attempt)
    for name in STATIONS:
        sides = books.by_station.get(name, {"sent": 0, "received": 0})
        assert sides["sent"] == sum(size for sender, _, size, _, _ in first if sender == name)
        assert sides["received"] == sum(
            s for _, receiver, s, _, fate in first if (receiver, fate) == (name, "received")
        )
    status = {"received": "delivered", "dropped": "dropped"}
    assert sorted(rows) == [(index, status[frame[4]]) for index, frame in enumerate(frames) if frame[4] in status]
    assert len(books.unmatched) == sum(fate == "lost" for *_, fate in frames)
    assert books.balanced == all(fate != "lost" for *_, fate in frames)
    if books.balanced:
        received = sum(sides["received"] for sides in books.by_station.values())
        assert books.bytes == received + books.dropped["bytes"]


@given(FRAMES, st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_entries_come_through_bytes_unchanged(frames: list[Frame], one: float, other: float) -> None:
    entries = [entry._replace(sent_s=one, queue_s=other) for book in enter_all(frames).values() for entry in book]
    assert unpack_entries(pack_entries(entries)) == entries
