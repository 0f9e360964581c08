"""The link model: what simulated time a frame takes over the backhaul.

A link between two stations has a capacity C (bit/s) and a latency L (s). Each of its two directions is a queue of its
own, first in, first out, of unlimited length; a station forwards a frame when it has received all of it.
On each link of its path, a frame of n bytes that reaches the queue at t is ready at the next station at

    max(t, time the link is free) + 8 n / C + L,    and occupies the link for 8 n / C.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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

    __slots__ = ("capacity_bps", "free_s", "latency_s")

    def __init__(self, capacity_bps: float, latency_s: float) -> None:
        self.capacity_bps = capacity_bps
        self.latency_s = latency_s
        self.free_s = 0.0


class LinkSimulator:
    """All links of a network, with the time at which each direction is free again.

    >>> links = LinkSimulator({("sbs-0", "mbs"): (8e6, 0.5e-3)})
    >>> [d.arrival_s for d in links.carry([Parcel(("sbs-0", "mbs"), 1000, 0.0)] * 2)]
    [0.0015, 0.0025]
    """

    def __init__(self, links: Mapping[tuple[str, str], tuple[float, float]]) -> None:
        """`links` maps each pair of linked stations, in either order, to its capacity (bit/s) and latency (s)."""
        self._directions: dict[tuple[str, str], _Direction] = {}
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
            for ends in zip(parcel.path, parcel.path[1:], strict=False):
                if ends not in self._directions:
                    raise ValueError(f"there is no link {ends[0]}-{ends[1]} for the path {'>'.join(parcel.path)}")
        ready = [(parcel.sent_s, index, 0) for index, parcel in enumerate(parcels)]
        heapq.heapify(ready)
        queue_s, transfer_s = [0.0] * len(parcels), [0.0] * len(parcels)
        arrival_s = [parcel.sent_s for parcel in parcels]
        while ready:
            now_s, index, hop = heapq.heappop(ready)
            parcel = parcels[index]
            if hop == len(parcel.path) - 1:
                arrival_s[index] = now_s
                continue
            direction = self._directions[parcel.path[hop], parcel.path[hop + 1]]
            start_s = max(now_s, direction.free_s)
            occupied_s = 8 * parcel.size_bytes / direction.capacity_bps
            direction.free_s = start_s + occupied_s
            queue_s[index] += start_s - now_s
            transfer_s[index] += occupied_s + direction.latency_s
            heapq.heappush(ready, (direction.free_s + direction.latency_s, index, hop + 1))
        return [Delivery(*row) for row in zip(arrival_s, queue_s, transfer_s, strict=True)]

    def state(self) -> list[tuple[str, str, float]]:
        """When each direction is free, for a checkpoint: (from, to, free_s)."""
        return [(a, b, direction.free_s) for (a, b), direction in sorted(self._directions.items())]

    def restore(self, state: Sequence[tuple[str, str, float]]) -> None:
        """Take back what `state` gave, on the same links."""
        for a, b, free_s in state:
            self._directions[a, b].free_s = free_s
