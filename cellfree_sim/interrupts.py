"""Ctrl-C in places where it would tear something apart."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """Keep Ctrl-C from breaking into the block, however often it comes; yields a function that says whether it came.

    What the block must not leave half done: a round, of which some stations have learned and others have not, or the
    saving of one. Outside the main thread, where no Ctrl-C arrives, nothing is changed.

    >>> import signal
    >>> with deferred_interrupts() as interrupted:
    ...     signal.raise_signal(signal.SIGINT)
    ...     interrupted()
    True
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    seen: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, previous)
