"""The routes: the page and its files, the stream of the run's state, and the orders."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from importlib import resources
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from cellfree_sim.errors import CellfreeError, UserError
from cellfree_sim.web import orders
from cellfree_sim.web.feed import MOST_PAGES, Feed
from cellfree_sim.web.guard import Guard, refusal
from cellfree_sim.web.threads import in_thread

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from cellfree_sim.watching import Watched

MOST_BYTES = 4096
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
INDEX = "index.html"


class Page:
    """The web application for one run."""

    def __init__(self, watched: Watched, *, host: str, token: str) -> None:
        self.feed = Feed(watched)
        self._watched = watched
        self._closing = asyncio.Event()
        self._streams = 0
        self._files = static_files()
        self.application = Starlette(
            routes=[
                Route("/", self._file),
                Route("/api/events", self._events),
                Route("/api/orders/{name}", self._order, methods=["POST"]),
                Route("/{file}", self._file),
            ],
            middleware=[Middleware(Guard, host=host, token=token)],
            exception_handlers={HTTPException: _http_error},
            lifespan=self._lifespan,
        )

    def close(self) -> None:
        """End the streams; orders that are under way stay in force, and who waits for them is told so."""
        self.feed.close()
        self._closing.set()

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        asking = asyncio.create_task(self.feed.keep_asking())
        yield
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking

    async def _file(self, request: Request) -> Response:
        name = request.path_params.get("file", INDEX)
        if name not in self._files:
            return refusal(404, f"there is no '{name}' here")
        content, media_type = self._files[name]
        return Response(content, media_type=media_type)

    async def _events(self, _: Request) -> Response:
        if self._streams >= MOST_PAGES:
            return refusal(503, f"{MOST_PAGES} pages look at this run already; close one")
        return _Stream(self.feed.events(), self._count_stream)

    def _count_stream(self, change: int) -> None:
        self._streams += change

    async def _order(self, request: Request) -> Response:
        try:
            order = orders.read(request.path_params["name"], await _json(request))
        except orders.BadOrderError as error:
            return refusal(400, str(error))
        with self.feed.order(order.facts):
            done = in_thread(lambda: order.carry_out(self._watched))
            ended = asyncio.ensure_future(self._closing.wait())
            await asyncio.wait((done, ended), return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if not done.done():
                done.cancel()
                return refusal(503, "this page's server has ended; the order stays in force")
            try:
                return JSONResponse({"done": dict(done.result())})
            except UserError as error:
                return refusal(409, str(error))
            except CellfreeError as error:
                return refusal(502, str(error))


class _Stream(StreamingResponse):
    """Server-sent events; `count` is told of one stream more, and of one less, whatever becomes of it."""

    def __init__(self, events: AsyncIterator[str], count: Callable[[int], None]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._count(1)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._count(-1)


def static_files() -> Mapping[str, tuple[bytes, str]]:
    """The files of the page by name: content and media type."""
    found = {}
    for file in (resources.files("cellfree_sim.web") / "static").iterdir():
        media_type = MEDIA_TYPES.get(file.name[file.name.rfind(".") :])
        if media_type is not None:
            found[file.name] = (file.read_bytes(), media_type)
    return found


async def _json(request: Request) -> Any:
    """The body of a request.

    Raises:
        BadOrderError: it is too long, or no JSON.
    """
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise orders.BadOrderError("an order is JSON, with Content-Type: application/json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise orders.BadOrderError(f"an order has at most {MOST_BYTES} bytes")
    try:
        return json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise orders.BadOrderError(f"an order is JSON: {error}") from None


def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)
