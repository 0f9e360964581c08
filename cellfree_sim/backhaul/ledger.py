"""Double-entry books of the backhaul: each frame is entered by its sender and by its receiver.

    station A: Ledger ── drain_bytes ──┐
    station B: Ledger ── drain_bytes ──┼──► Books: match by (sender, sequence, attempt); sent = received + dropped
    links:     Ledger ── drain_bytes ──┘           totals · rows of matched frames · names of unmatched ones

A ledger holds entries until they are drained; the books keep a frame only until its second entry comes and its row is
taken, so that both stay small in a run of any length. Totals are sums over first attempts, on both sides: a frame sent
again is counted apart, so that two equal runs have equal totals whatever failed in between, and the bytes that all
stations sent are those that all received and those that were dropped.
"""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import msgpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cellfree_sim.backhaul.link import Delivery
    from cellfree_sim.backhaul.messages import Header

Side: TypeAlias = Literal["sent", "received", "dropped"]
Key: TypeAlias = tuple[str, int, int]


class Entry(NamedTuple):
    """One line in a station's book. Times are simulated seconds; None where this side does not know."""

    side: Side
    run: str
    phase: str
    step: int
    sequence: int
    kind: str
    link_class: str
    sender: str
    receiver: str
    path: tuple[str, ...]
    bytes: int
    payload_bytes: int
    sent_s: float
    arrival_s: float | None
    queue_s: float | None
    transfer_s: float | None
    attempt: int


_SAME = slice(1, 13)  # what both sides must agree on: run … sent_s
_TOTALS_BY = ("by_kind", "by_phase", "by_class", "by_link")
ROW_COLUMNS: Final = (
    *("phase", "step", "sequence", "kind", "link_class", "sender", "receiver", "path", "bytes", "payload_bytes"),
    *("sent_s", "arrival_s", "queue_s", "transfer_s", "attempt", "status"),
)


class Ledger:
    """The book of one station."""

    def __init__(self, station: str) -> None:
        self.station = station
        self._entries: list[Entry] = []
        self._places: dict[tuple[Side, Key], int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def record(
        self, side: Side, header: Header, *, kind: str, link_class: str, size_bytes: int, payload_bytes: int
    ) -> None:
        """Enter a frame that this station sent or received, or that the owner of the links dropped."""
        self._places[side, (header.sender, header.sequence, header.attempt)] = len(self._entries)
        self._entries.append(
            Entry(
                *(side, header.run, header.phase, header.step, header.sequence, kind, link_class),
                *(header.sender, header.receiver, header.path, size_bytes, payload_bytes, header.sent_s),
                *(None, None, None, header.attempt),
            )
        )

    def annotate(self, header: Header, delivery: Delivery) -> None:
        """Add to the entry of a frame when it arrived, and why then (KeyError where the book has no such frame)."""
        side: Side = "sent" if header.sender == self.station else "received"
        place = self._places[side, (header.sender, header.sequence, header.attempt)]
        self._entries[place] = self._entries[place]._replace(
            arrival_s=delivery.arrival_s, queue_s=delivery.queue_s, transfer_s=delivery.transfer_s
        )

    def drain(self) -> list[Entry]:
        """Take all entries out of the book."""
        entries, self._entries = self._entries, []
        self._places.clear()
        return entries

    def drain_bytes(self) -> bytes:
        """As `drain`, as one bytes object of msgpack columns, for `Books.feed`; floats keep all their bits."""
        return pack_entries(self.drain())


def pack_entries(entries: Sequence[Entry]) -> bytes:
    """Entries as msgpack columns."""
    packed: bytes = msgpack.packb(list(zip(*entries, strict=True)))
    return packed


def unpack_entries(packed: bytes) -> list[Entry]:
    """Inverse of `pack_entries`."""
    columns = msgpack.unpackb(packed, use_list=False)
    return [Entry(*row) for row in zip(*columns, strict=True)]


class Books:
    """All ledgers of a run, brought together.

    Attributes:
        frames, bytes: sent, first attempts only.
        retransmissions: ``{"frames": …, "bytes": …}`` of all further attempts.
        dropped: the same, of first attempts that the network lost; they are part of what was sent.
        by_kind, by_phase, by_class: bytes sent, by message kind, phase, and link class.
        by_link: bytes on each direction of each link of the frames' paths, under "a>b".
        by_station: ``{"sent": bytes, "received": bytes}`` of each station; what only a further attempt brought is in
            `retransmissions` alone.

    >>> from cellfree_sim.backhaul.messages import Header
    >>> header = Header("demo", "training", 7, 0, "sbs-0", "mbs", ("sbs-0", "mbs"), 0.0)
    >>> sbs, mbs, books = Ledger("sbs-0"), Ledger("mbs"), Books()
    >>> sbs.record("sent", header, kind="join", link_class="control", size_bytes=120, payload_bytes=0)
    >>> books.feed(sbs.drain_bytes())
    >>> books.unmatched
    ['join 0 of step 7 from sbs-0 to mbs: sent, never received']
    >>> mbs.record("received", header, kind="join", link_class="control", size_bytes=120, payload_bytes=0)
    >>> books.feed(mbs.drain_bytes())
    >>> books.balanced, books.bytes, books.take_rows()["path"]
    (True, 120, ['sbs-0>mbs'])
    """

    def __init__(self) -> None:
        self.frames = 0
        self.bytes = 0
        self.retransmissions = {"frames": 0, "bytes": 0}
        self.dropped = {"frames": 0, "bytes": 0}
        self.by_kind: dict[str, int] = {}
        self.by_phase: dict[str, int] = {}
        self.by_class: dict[str, int] = {}
        self.by_link: dict[str, int] = {}
        self.by_station: dict[str, dict[str, int]] = {}
        self._open: dict[Key, Entry] = {}
        self._faults: list[str] = []
        self._rows: list[tuple[Any, ...]] = []

    def feed(self, entries: bytes | Iterable[Entry]) -> None:
        """Take in what a ledger gave; ledgers come in any order."""
        for entry in unpack_entries(entries) if isinstance(entries, bytes) else entries:
            self._total(entry)
            key = (entry.sender, entry.sequence, entry.attempt)
            other = self._open.get(key)
            if other is None:
                self._open[key] = entry
            elif (entry.side == "sent") == (other.side == "sent"):
                self._faults.append(f"{describe(entry)}: {other.side}, and {entry.side} again")
            else:
                del self._open[key]
                self._match(*((entry, other) if entry.side == "sent" else (other, entry)))

    @property
    def unmatched(self) -> list[str]:
        """Frames of which one entry is missing, comes twice, or differs from the other, each in one readable line."""
        missing = {"sent": "sent, never received", "received": "received, never sent", "dropped": "dropped, never sent"}
        return self._faults + [f"{describe(entry)}: {missing[entry.side]}" for entry in self._open.values()]

    @property
    def balanced(self) -> bool:
        """Whether every frame that was sent was received or dropped, once, and both sides say the same of it."""
        return not self._open and not self._faults

    def take_rows(self, *, final: bool = False) -> dict[str, list[Any]]:
        """Rows of the frames matched since the last call, as columns `ROW_COLUMNS`, in the order of matching.

        The path is text, "sbs-0>mbs"; times that no side knew are None. With `final`, frames of which one entry is
        missing follow with status "unmatched".
        """
        rows, self._rows = self._rows, []
        if final:
            rows += [_row(entry, entry, "unmatched") for entry in self._open.values()]
        columns = zip(*rows, strict=True) if rows else ([] for _ in ROW_COLUMNS)
        return {name: list(column) for name, column in zip(ROW_COLUMNS, columns, strict=True)}

    def totals(self) -> dict[str, Any]:
        """All totals, as plain dictionaries sorted by name."""
        return {
            "frames": self.frames,
            "bytes": self.bytes,
            "retransmissions": dict(self.retransmissions),
            "dropped": dict(self.dropped),
            **{name: dict(sorted(getattr(self, name).items())) for name in _TOTALS_BY},
            "by_station": {station: dict(sides) for station, sides in sorted(self.by_station.items())},
        }

    def state(self) -> dict[str, Any]:
        """Totals, open entries and faults for a checkpoint, in types that JSON has. Rows are to be taken before."""
        return {
            "totals": self.totals(),
            "open": [list(entry) for entry in self._open.values()],
            "faults": self._faults[:],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        for name, value in copy.deepcopy(state["totals"]).items():
            setattr(self, name, value)
        entries = [Entry(*fields)._replace(path=tuple(fields[9])) for fields in state["open"]]
        self._open = {(entry.sender, entry.sequence, entry.attempt): entry for entry in entries}
        self._faults = list(state["faults"])
        self._rows = []

    def _total(self, entry: Entry) -> None:
        size = entry.bytes
        if entry.attempt:
            if entry.side == "sent":
                self.retransmissions["frames"] += 1
                self.retransmissions["bytes"] += size
        elif entry.side == "dropped":
            self.dropped["frames"] += 1
            self.dropped["bytes"] += size
        elif entry.side == "received":
            self._station(entry.receiver)["received"] += size
        else:
            self.frames += 1
            self.bytes += size
            self._station(entry.sender)["sent"] += size
            links = [f"{a}>{b}" for a, b in itertools.pairwise(entry.path)]
            _add(self.by_kind, [entry.kind], size)
            _add(self.by_phase, [entry.phase], size)
            _add(self.by_class, [entry.link_class], size)
            _add(self.by_link, links, size)

    def _station(self, name: str) -> dict[str, int]:
        return self.by_station.setdefault(name, {"sent": 0, "received": 0})

    def _match(self, sent: Entry, other: Entry) -> None:
        if sent[_SAME] != other[_SAME]:
            differing = [name for name in Entry._fields[_SAME] if getattr(sent, name) != getattr(other, name)]
            found = [f"{name} {getattr(sent, name)} and {getattr(other, name)}" for name in differing]
            self._faults.append(f"{describe(sent)}: sent and {other.side} differ in {', '.join(found)}")
        self._rows.append(_row(sent, other, "dropped" if other.side == "dropped" else "delivered"))


def _add(totals: dict[str, int], names: Iterable[str], size_bytes: int) -> None:
    for name in names:
        totals[name] = totals.get(name, 0) + size_bytes


def describe(entry: Entry) -> str:
    """A frame by name, for people: kind, sequence number, step, sender, receiver."""
    again = f", attempt {entry.attempt}" if entry.attempt else ""
    return f"{entry.kind} {entry.sequence} of step {entry.step} from {entry.sender} to {entry.receiver}{again}"


def _row(sent: Entry, other: Entry, status: str) -> tuple[Any, ...]:
    timed = sent if sent.arrival_s is not None else other
    return (
        *(sent.phase, sent.step, sent.sequence, sent.kind, sent.link_class, sent.sender, sent.receiver),
        *(">".join(sent.path), sent.bytes, sent.payload_bytes, sent.sent_s),
        *(timed.arrival_s, timed.queue_s, timed.transfer_s, sent.attempt, status),
    )
