"""Orders that are given to a run while its screen goes on: each on a thread, with what became of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from cellfree_sim.cli.terminal import flat
from cellfree_sim.errors import CellfreeError

SHOWN_S = 20.0


class Orders:
    """What was ordered last: under way, done, or refused.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: dict[int, tuple[str, float]] = {}
        self._last = ("", "", 0.0)  # text, style, since
        self._count = 0

    def give(self, doing: str, order: Callable[[], Any], done: Callable[[Any], str]) -> None:
        """Carry out `order` on a thread; `doing` says what it is, `done` what its result means."""
        with self._lock:
            self._count += 1
            number = self._count
            self._under_way[number] = (doing, self._clock())
        threading.Thread(target=self._carry_out, args=[number, order, done], name="order", daemon=True).start()

    def told(self) -> list[tuple[str, str]]:
        """What a person should know now, each with its style: what became of the last order, and what is under way."""
        with self._lock:
            now_s = self._clock()
            text, style, since = self._last
            told = [(text, style)] if text and now_s - since < SHOWN_S else []
            doing = [f"{what} ... {now_s - began:.0f} s" for what, began in self._under_way.values()]
            return [*told, (", ".join(doing), "cyan")] if doing else told

    def say(self, text: str, style: str = "") -> None:
        """Show this as if it had been ordered."""
        with self._lock:
            self._last = (flat(text), style, self._clock())

    def _carry_out(self, number: int, order: Callable[[], Any], done: Callable[[Any], str]) -> None:
        try:
            text, style = done(order()), "green"
        except CellfreeError as error:
            text, style = str(error), "red"
        with self._lock:
            del self._under_way[number]
        self.say(text, style)


def injected(record: Mapping[str, Any]) -> str:
    """What an injection was worth.

    >>> injected({"station": "sbs-3", "at_step": 27, "sum_rate_before": 13.145, "sum_rate_after": 18.34})
    'sbs-3 joined after step 27: sum rate 13.14 before, 18.34 after'
    """
    return f"{record['station']} joined after step {record['at_step']}: {_rates(record)}"


def removed(record: Mapping[str, Any]) -> str:
    """What a removal cost."""
    return f"{record['station']} left after step {record['at_step']}: {_rates(record)}"


def _rates(record: Mapping[str, Any]) -> str:
    return f"sum rate {record['sum_rate_before']:.2f} before, {record['sum_rate_after']:.2f} after"
