"""What pages are told: the last known state of the run, and only those parts of it that a page has not seen."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cellfree_sim.results.report_events import in_words
from cellfree_sim.web.threads import in_thread

if TYPE_CHECKING:
    from cellfree_sim.watching import Watched

PERIOD_S = 0.25  # pages are told this often, whether something is new or not
MOST_PAGES = 32


class Feed:
    """Asks the run for its state while anybody looks, and hands pages what is new to them.

    The state is kept as its parts (the keys of `RunStatus`), each as JSON with the number of the change that brought
    it. A page remembers one number. So a slow page costs nothing, and memory is that of one state, however long it is.

    Args:
        watched: the run.
        sleep: waits for so many seconds.

    Attributes:
        pages: how many look.
    """

    def __init__(self, watched: Watched, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.pages = 0
        self._watched = watched
        self._sleep = sleep
        self._parts: dict[str, tuple[int, str]] = {}
        self._change = 0
        self._closed = False
        self._orders: dict[int, dict[str, Any]] = {}
        self._numbers = itertools.count(1)

    def close(self) -> None:
        """Let every page know that this is the end, and stop asking."""
        self._closed = True

    async def keep_asking(self) -> None:
        """Ask the run, a few times a second while a page is open, until `close`."""
        while not self._closed:
            if self.pages:
                await self.ask()
            await self._sleep(PERIOD_S)

    async def ask(self) -> None:
        """Ask the run once. A run that cannot be read leaves its last state, and `problem` says why."""
        try:
            state = (await in_thread(self._watched.status)).as_dict()
            events = [{**event, "words": in_words(event)} for event in state["events"]]
            self._learn({**state, "events": events, "problem": None})
        except Exception as error:  # whatever it is, pages must learn of it, and the next answer may be whole
            self._learn({"problem": str(error) or type(error).__name__})

    def _learn(self, state: Mapping[str, Any]) -> None:
        self._change += 1
        for key, value in state.items():
            text = json.dumps(without_nan(value), allow_nan=False, separators=(",", ":"), default=str)
            if self._parts.get(key, (0, ""))[1] != text:
                self._parts[key] = (self._change, text)

    @contextmanager
    def order(self, facts: Mapping[str, Any]) -> Iterator[None]:
        """Tell all pages that something is being done, for as long as it is."""
        number = next(self._numbers)
        self._orders[number] = {**facts, "since": time.time()}
        self._learn({"orders": list(self._orders.values())})
        try:
            yield
        finally:
            del self._orders[number]
            self._learn({"orders": list(self._orders.values())})

    async def events(self) -> AsyncIterator[str]:
        """Server-sent events for one page: ``state`` a few times a second, ``goodbye`` at the end.

        The data of ``state`` is a JSON object with `now` (Unix time here) and `parts`: what has changed, by key.
        """
        seen = 0
        self.pages += 1
        try:
            while not self._closed:
                fresh = [f"{json.dumps(key)}:{text}" for key, (change, text) in self._parts.items() if change > seen]
                seen = self._change
                yield f'event: state\ndata: {{"now":{time.time():.3f},"parts":{{{",".join(fresh)}}}}}\n\n'
                await self._sleep(PERIOD_S)
            yield "event: goodbye\ndata: {}\n\n"
        finally:
            self.pages -= 1


def without_nan(value: Any) -> Any:
    """`value` with None in place of numbers that JSON does not have.

    >>> without_nan({"loss": [1.5, float("nan"), float("inf")], "rates": (2, None)})
    {'loss': [1.5, None, None], 'rates': [2, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
