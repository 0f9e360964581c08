"""Bytes, waiting and computing of a run while it runs: its books, and what meters have read since they were brought up.

commit ─► settle(books)      all that was counted before is in them
rows   ─► take(source, reading)
look   ─► bytes so far; and of the last interval: bytes per second, longest waits, shares of time
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellfree_sim.backhaul.meter import merge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellfree_sim.backhaul.ledger import Books
    from cellfree_sim.network import Network

LEAST_INTERVAL_S = 1.0
MOST_IDLE_S = 5.0
MOST_IDLE_INTERVALS = 3.0


class Traffic:
    """Adds up readings (`Meter.read`) of several sources, each with a simulated clock of its own.

    An interval lasts at least a second of wall time, and ends with a reading. Where none comes for long, nothing moves.
    """

    def __init__(self) -> None:
        self.simulated_s = 0.0
        self._kinds: dict[str, int] = {}  # in the books
        self._links: dict[str, int] = {}
        self._pending: dict[str, dict[str, Any]] = {}  # not in the books yet, by source
        self._interval: dict[str, dict[str, Any]] = {}
        self._clocks: dict[str, float] = {}  # at the beginning of the interval
        self._began_s: float | None = None
        self._length_s = LEAST_INTERVAL_S
        self._flow: dict[str, tuple[float, float, float]] = {}  # bytes/s, share of time, longest wait
        self._load: dict[str, float] = {}

    def settle(self, books: Books) -> None:
        """Everything is in the books, or undone."""
        self._kinds, self._links = dict(books.by_kind), dict(books.by_link)
        self._pending.clear()

    def take(self, source: str, reading: Mapping[str, Any]) -> None:
        """A reading of the MBS's downlink or uplink."""
        for table in (self._pending, self._interval):
            empty = {"now_s": 0.0, "kinds": {}, "links": {}, "computed_s": {}}
            merge(table.setdefault(source, empty), reading)
        self._clocks.setdefault(source, 0.0)
        self.simulated_s = max(self.simulated_s, float(reading["now_s"]))

    def look(self, now_s: float) -> None:
        """End the interval where it is long enough; `now_s` is the wall clock."""
        if self._began_s is None:
            self._began_s = now_s
        passed_s = now_s - self._began_s
        if self._interval and passed_s >= LEAST_INTERVAL_S:
            self._conclude(passed_s)
            self._began_s, self._length_s = now_s, passed_s
        elif not self._interval and passed_s > max(MOST_IDLE_S, MOST_IDLE_INTERVALS * self._length_s):
            self._flow, self._load = {}, {}

    def by_kind(self) -> dict[str, int]:
        """Bytes so far by message kind, on the backhaul and on the air."""
        found = dict(self._kinds)
        for reading in self._pending.values():
            for kind, size_bytes in reading["kinds"].items():
                found[kind] = found.get(kind, 0) + size_bytes
        return dict(sorted(found.items()))

    def links(self, network: Network) -> list[dict[str, Any]]:
        """Each backhaul link of a network, see `RunStatus.links`."""
        found = []
        for a, b in network.links():
            ways = (f"{a}>{b}", f"{b}>{a}")
            flows = [self._flow.get(way, (0.0, 0.0, 0.0)) for way in ways]
            found.append(
                {
                    "a": a,
                    "b": b,
                    "capacity_bps": network.capacity_bps(a, b),
                    "up": network.is_up(a, b),
                    "bytes": sum(self._bytes(way) for way in ways),
                    "bytes_per_s": sum(flow[0] for flow in flows),
                    "queue_s": max(flow[2] for flow in flows),
                    "utilisation": max(flow[1] for flow in flows),
                }
            )
        return found

    def load(self, station: str) -> float:
        """Share of the last interval in which a station computed, by the simulated clock of what it computed for."""
        return self._load.get(station, 0.0)

    def _bytes(self, way: str) -> int:
        pending = sum(reading["links"].get(way, (0,))[0] for reading in self._pending.values())
        return self._links.get(way, 0) + int(pending)

    def _conclude(self, passed_s: float) -> None:
        flow: dict[str, tuple[float, float, float]] = {}
        load: dict[str, float] = {}
        for source, reading in self._interval.items():
            simulated_s = reading["now_s"] - self._clocks[source]
            self._clocks[source] = reading["now_s"]
            per_s = 1.0 / simulated_s if simulated_s > 0 else 0.0
            for way, (size_bytes, busy_s, wait_s) in reading["links"].items():
                rate, share, wait = flow.get(way, (0.0, 0.0, 0.0))
                flow[way] = (rate + size_bytes / passed_s, min(1.0, share + per_s * busy_s), max(wait, wait_s))
            for station, computed_s in reading["computed_s"].items():
                load[station] = min(1.0, load.get(station, 0.0) + per_s * computed_s)
        self._flow, self._load = flow, load
        self._interval = {}
