"""Slow calls beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def in_thread(function: Callable[[], T]) -> asyncio.Future[T]:
    """What `function` returns or raises, once it does, in a thread of its own.

    The thread is a daemon and belongs to no pool: neither the end of the event loop nor that of the process waits for a
    station that takes minutes to join.

    >>> async def main():
    ...     return await in_thread(lambda: 6 * 7)
    >>> asyncio.run(main())
    42
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: BaseException | None) -> None:
        if future.done():  # cancelled: nobody waits any more
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, caught = None, None
        try:
            result = function()
        except BaseException as error:
            caught = error
        with suppress(RuntimeError):  # the loop is closed: the server has ended
            loop.call_soon_threadsafe(finish, result, caught)

    threading.Thread(target=work, name="cellfree-web", daemon=True).start()
    return future
