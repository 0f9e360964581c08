"""The batching queue of an edge service, in simulated time: which requests are detected together, and when.

    offer ──► waiting, first in first out ──► a batch, when the server is free and
              (at most `capacity`)            `batch` requests wait, or the oldest has waited for `deadline_s`

A request that waits for the server longer than its deadline goes with the next batch, which takes as many as it may.
What comes out depends on when requests arrive, and not on how often the queue is looked at: only batches that begin
before a time up to which all arrivals are known are formed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from cellfree_sim.scenario.uplink import Queue

T = TypeVar("T")


class Formed(NamedTuple, Generic[T]):
    """A batch: its requests in the order of arrival, and when the server began and ended it, seconds."""

    items: list[T]
    begun_s: float
    ended_s: float


class BatchingQueue(Generic[T]):
    """One queue with one server.

    Args:
        options: size and deadline of a batch, capacity.
        work_s: simulated time that the server takes for a batch, seconds; called once for each, in order.

    >>> from cellfree_sim.scenario.uplink import Queue
    >>> queue = BatchingQueue[str](Queue(batch=2, deadline_s=1.0, capacity=9), lambda batch: 0.5 * len(batch))
    >>> [queue.offer(name, at_s) for name, at_s in (("a", 0.0), ("b", 0.25), ("c", 0.5))]
    [True, True, True]
    >>> [(batch.items, batch.begun_s, batch.ended_s) for batch in queue.run()]
    [(['a', 'b'], 0.25, 1.25), (['c'], 1.5, 2.0)]
    """

    def __init__(self, options: Queue, work_s: Callable[[Sequence[T]], float]) -> None:
        self._options = options
        self._work_s = work_s
        self._waiting: deque[tuple[float, T]] = deque()
        self._free_s = 0.0
        self._formed: list[Formed[T]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, item: T, at_s: float) -> bool:
        """A request arrives, not before any other did; False: the queue is full, and it is refused."""
        self._form(at_s)
        if len(self._waiting) >= self._options.capacity:
            return False
        self._waiting.append((at_s, item))
        return True

    def run(self, until_s: float = math.inf) -> list[Formed[T]]:
        """The batches that begin before `until_s`, each once; no request may arrive before that any more."""
        self._form(until_s)
        formed, self._formed = self._formed, []
        return formed

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold: arrivals and requests that wait, and when the server is free."""
        return {"waiting": [[at_s, item] for at_s, item in self._waiting], "free_s": self._free_s}

    def restore(self, waiting: Sequence[tuple[float, T]], free_s: float) -> None:
        """Take back what `state` gave."""
        self._waiting, self._free_s, self._formed = deque(waiting), free_s, []

    def _form(self, until_s: float) -> None:
        while self._waiting and (begins_s := self._next_s()) < until_s:
            size = min(self._options.batch, len(self._waiting))
            items = [self._waiting.popleft()[1] for _ in range(size)]
            self._free_s = begins_s + self._work_s(items)
            self._formed.append(Formed(items, begins_s, self._free_s))

    def _next_s(self) -> float:
        """When the next batch begins, if nothing else arrives before."""
        oldest_s = self._waiting[0][0]
        ready_s = oldest_s + self._options.deadline_s
        if len(self._waiting) >= self._options.batch:
            ready_s = min(ready_s, self._waiting[self._options.batch - 1][0])
        return max(ready_s, self._free_s)
