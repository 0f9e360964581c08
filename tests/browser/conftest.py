"""A headless Chromium, and pages in it that remember every complaint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser_support import Visitor, chromium
from fake_watched import FakeRun

from cellfree_sim.web import PageServer


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Not for the whole session: an event loop belongs to it, and beside that no test with one of its own can run."""
    with chromium() as found:
        yield found


@pytest.fixture
def visitor(browser: Any) -> Iterator[Visitor]:
    """Opens pages; at the end of the test none of them may have complained."""
    with Visitor(browser) as opened:
        yield opened


@pytest.fixture
def watch(visitor: Visitor) -> Iterator[Callable[..., Any]]:
    """Factory: `watch(run)` is the page of a run, in a fresh profile."""
    servers = []

    def opened(run: FakeRun, **options: Any) -> Any:
        server = PageServer(run)
        serving = server.in_background()
        serving.__enter__()
        servers.append(serving)
        return visitor.visit(server.url, **options)

    yield opened
    visitor.close()
    for serving in servers:
        serving.__exit__(None, None, None)
