"""The link model: what simulated time a frame takes over the backhaul.

A link between two stations has a capacity C (bit/s) and a latency L (s). Each of its two directions is a queue of its
own, first in, first out, of unlimited length; a station forwards a frame when it has received all of it.
On each link of its path, a frame of n bytes that reaches the queue at t is ready at the next station at

    max(t, time the link is free) + 8 n / C + L,    and occupies the link for 8 n / C.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Tag: TypeAlias = "tuple[int, ...]"
"""Name of a parcel on its way; of parcels that reach a queue at the same time, the one with the smallest goes first."""


class Parcel(NamedTuple):
    """A frame as the links see it: stations of its path, length in bytes, simulated time of sending (s)."""

    path: tuple[str, ...]
    size_bytes: int
    sent_s: float


class Delivery(NamedTuple):
    """When a parcel arrived, and why then: arrival = sent + queue + transfer (up to rounding), all in seconds.

    `queue_s` is the waiting time in front of all links, `transfer_s` the sum of 8 n / C + L over them.
    """

    arrival_s: float
    queue_s: float
    transfer_s: float


class _Direction:
    """One direction of a link."""

    __slots__ = ("busy_s", "capacity_bps", "free_s", "latency_s", "wait_s")

    def __init__(self, capacity_bps: float, latency_s: float) -> None:
        self.capacity_bps = capacity_bps
        self.latency_s = latency_s
        self.free_s = 0.0
        self.busy_s = 0.0
        self.wait_s = 0.0


@dataclass(slots=True)
class _Journey:
    """A parcel under way: how many links it has passed, and what they took."""

    parcel: Parcel
    hop: int = 0
    queue_s: float = 0.0
    transfer_s: float = 0.0


class LinkSimulator:
    """All links of a network, with the time at which each direction is free again.

    Parcels are carried all at once (`carry`), or are handed in one by one and go as far as a given time (`submit`,
    `run`): then what happens does not depend on how often that time is moved on, as long as nothing is handed in late.

    >>> links = LinkSimulator({("sbs-0", "mbs"): (8e6, 0.5e-3)})
    >>> [d.arrival_s for d in links.carry([Parcel(("sbs-0", "mbs"), 1000, 0.0)] * 2)]
    [0.0015, 0.0025]
    >>> links.submit((7,), Parcel(("sbs-0", "mbs"), 1000, 0.25))
    >>> links.run(0.251), [(tag, d.arrival_s) for tag, d in links.run(0.252)]
    ([], [((7,), 0.2515)])
    """

    def __init__(self, links: Mapping[tuple[str, str], tuple[float, float]]) -> None:
        """`links` maps each pair of linked stations, in either order, to its capacity (bit/s) and latency (s)."""
        self._directions: dict[tuple[str, str], _Direction] = {}
        self._journeys: dict[Tag, _Journey] = {}
        self._events: list[tuple[float, Tag]] = []
        for (a, b), (capacity_bps, latency_s) in links.items():
            self.set_link(a, b, capacity_bps, latency_s)

    def set_link(self, a: str, b: str, capacity_bps: float, latency_s: float) -> None:
        """Add the link a-b, or change it from now on; frames that are under way keep what they had."""
        if not capacity_bps > 0 or not latency_s >= 0:
            raise ValueError(f"link {a}-{b}: capacity must be above 0 bit/s and latency at least 0 s")
        for ends in ((a, b), (b, a)):
            direction = self._directions.setdefault(ends, _Direction(capacity_bps, latency_s))
            direction.capacity_bps, direction.latency_s = capacity_bps, latency_s

    def carry(self, parcels: Sequence[Parcel]) -> list[Delivery]:
        """Send all `parcels`, and return when each arrived, in their order.

        Parcels meet in the queues in the order of time; where two reach a queue at once, the one that stands earlier in
        `parcels` goes first. What an earlier call sent keeps its place in front.
        """
        for parcel in parcels:
            self._check(parcel)
        for index, parcel in enumerate(parcels):
            self.submit((index,), parcel)
        deliveries = dict(self.run())
        return [deliveries[index,] for index in range(len(parcels))]

    def submit(self, tag: Tag, parcel: Parcel) -> None:
        """Hand in a parcel, under a name that no other has meanwhile; `run` carries it."""
        self._check(parcel)
        if tag in self._journeys:
            raise ValueError(f"parcel {tag} is on its way already")
        self._journeys[tag] = _Journey(parcel)
        heapq.heappush(self._events, (parcel.sent_s, tag))

    def run(self, until_s: float = math.inf) -> list[tuple[Tag, Delivery]]:
        """What arrives before `until_s`, in the order of arrival, once all that is sent before that was handed in."""
        arrived = []
        while self._events and self._events[0][0] < until_s:
            now_s, tag = heapq.heappop(self._events)
            journey = self._journeys[tag]
            path, size_bytes, _ = journey.parcel
            if journey.hop == len(path) - 1:
                del self._journeys[tag]
                arrived.append((tag, Delivery(now_s, journey.queue_s, journey.transfer_s)))
                continue
            direction = self._directions[path[journey.hop], path[journey.hop + 1]]
            start_s = max(now_s, direction.free_s)
            occupied_s = 8 * size_bytes / direction.capacity_bps
            direction.free_s = start_s + occupied_s
            direction.busy_s += occupied_s
            direction.wait_s = max(direction.wait_s, start_s - now_s)
            journey.queue_s += start_s - now_s
            journey.transfer_s += occupied_s + direction.latency_s
            journey.hop += 1
            heapq.heappush(self._events, (direction.free_s + direction.latency_s, tag))
        return arrived

    def take_use(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Of each direction that was used since the last call: seconds occupied, and the longest wait in front of it.

        It is for who watches: no delivery depends on it.
        """
        use = {ends: (each.busy_s, each.wait_s) for ends, each in self._directions.items() if each.busy_s}
        for ends in use:
            self._directions[ends].busy_s = self._directions[ends].wait_s = 0.0
        return use

    def state(self) -> list[tuple[str, str, float]]:
        """When each direction is free, for a checkpoint: (from, to, free_s)."""
        return [(a, b, direction.free_s) for (a, b), direction in sorted(self._directions.items())]

    def restore(self, state: Sequence[tuple[str, str, float]]) -> None:
        """Take back what `state` gave, on the same links."""
        for a, b, free_s in state:
            self._directions[a, b].free_s = free_s

    def journeys(self) -> list[list[Any]]:
        """The parcels under way, for a checkpoint beside `state`; `resume` takes them back."""
        at_s = {tag: time_s for time_s, tag in self._events}
        return [
            [list(tag), at_s[tag], *each.parcel, each.hop, each.queue_s, each.transfer_s]
            for tag, each in sorted(self._journeys.items())
        ]

    def resume(self, journeys: Sequence[Sequence[Any]]) -> None:
        """See `journeys`; parcels that were under way here are forgotten."""
        self._journeys, self._events = {}, []
        for tag, at_s, path, size_bytes, sent_s, *passed in journeys:
            self._journeys[tuple(tag)] = _Journey(Parcel(tuple(path), size_bytes, sent_s), *passed)
            heapq.heappush(self._events, (at_s, tuple(tag)))

    def _check(self, parcel: Parcel) -> None:
        for ends in zip(parcel.path, parcel.path[1:], strict=False):
            if ends not in self._directions:
                raise ValueError(f"there is no link {ends[0]}-{ends[1]} for the path {'>'.join(parcel.path)}")
