"""A real browser for tests of the live page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 400, "height": 800}


@contextmanager
def chromium() -> Iterator[Any]:
    """A Chromium with a profile of its own, which is gone with it."""
    from playwright.sync_api import sync_playwright

    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.fail("there is no Chromium on PATH: apt-get install chromium, or leave it out with -m 'not browser'")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def _failure(request: Any) -> tuple[bool, str]:
    """Whether a request really failed; a reload ends the stream of the page before."""
    return request.failure != "net::ERR_ABORTED", f"{request.failure}: {request.url}"


class Visitor:
    """Opens pages and hears what they complain of.

    Attributes:
        troubles: errors and warnings in consoles, requests that failed, and requests to other hosts.
    """

    def __init__(self, browser: Any) -> None:
        self.troubles: list[str] = []
        self._browser = browser
        self._contexts: list[Any] = []

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self.close()
        if kind is None:
            assert self.troubles == []

    def visit(self, url: str, **options: Any) -> Any:
        """A page in a fresh profile, open at `url`."""
        context = self._browser.new_context(**{"viewport": WIDE, **options})
        context.set_default_timeout(60_000)
        self._contexts.append(context)
        page = context.new_page()
        own = urlsplit(url).netloc
        page.on("console", lambda message: self._hear(message.type in ("error", "warning"), message.text))
        page.on("pageerror", lambda error: self._hear(True, str(error)))
        page.on("requestfailed", lambda request: self._hear(*_failure(request)))
        page.on("response", lambda answer: self._hear(answer.status >= 400, f"{answer.status}: {answer.url}"))
        page.on("request", lambda request: self._hear(urlsplit(request.url).netloc != own, f"asked {request.url}"))
        page.goto(url)
        return page

    def close(self) -> None:
        """Close all pages, without a word: their streams end with them."""
        heard = list(self.troubles)
        for context in self._contexts:
            context.close()
        self._contexts.clear()
        self.troubles = heard

    def _hear(self, trouble: bool, text: str) -> None:
        if trouble:
            self.troubles.append(text)
