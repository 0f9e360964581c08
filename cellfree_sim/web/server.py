"""A server for the live view of one run: its socket, its address, its life."""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import uvicorn

from cellfree_sim.errors import UserError
from cellfree_sim.web.app import Page

if TYPE_CHECKING:
    from cellfree_sim.watching import Watched

LOCAL = "127.0.0.1"
PATIENCE_S = 2  # for browsers to close their connections when the server ends


class PageServer:
    """Serves the live view of a run; nobody is served before `run` or `in_background`.

    For example, from a notebook:

        with watch("runs/quickstart-20250101T120000Z", None) as watched:
            server = PageServer(watched)
            with server.in_background():
                print(server.url)
                ...

    Args:
        watched: the run.
        host: address or name to listen on.
        port: to listen on; 0 for any that is free.
        token: that everything but the page's own files needs; by default a new one that nobody can guess.

    Attributes:
        host: as given.
        port: that it listens on.
        token: as given, or made.

    Raises:
        UserError: the port is in use or may not be used, or the host is no address of this machine.
    """

    def __init__(self, watched: Watched, *, host: str = LOCAL, port: int = 0, token: str | None = None) -> None:
        self.host = host
        self.token = token or secrets.token_urlsafe(24)
        self._socket = listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._page = Page(watched, host=host, token=self.token)
        config = uvicorn.Config(
            self._page.application,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=PATIENCE_S,
        )
        self._server = _Server(config, self._page.close)

    @property
    def url(self) -> str:
        """Where the page is. The token follows '#', which browsers keep to themselves."""
        shown = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}/#{self.token}"

    def run(self) -> None:
        """Serve until Ctrl-C."""
        with suppress(KeyboardInterrupt):
            self._server.run(sockets=[self._socket])

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Serve from another thread, until the block is left."""
        thread = threading.Thread(target=self.run, name="cellfree-web-server", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._server.should_exit = True
            thread.join()

    def close(self) -> None:
        """Let go of the port; for a server that never ran."""
        self._socket.close()


class _Server(uvicorn.Server):
    """Ends its streams before it waits for their ends."""

    def __init__(self, config: uvicorn.Config, on_end: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_end = on_end

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close all connections; that of a page that has stopped to read (its laptop sleeps) is cut, without a word."""
        self._on_end()
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UserError: it cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(f"--host {host}: is no address of this machine; allowed: one, such as {LOCAL}") from error
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(128)
    except OSError as error:
        found.close()
        raise UserError(_reason(host, port, error)) from error
    return found


def _reason(host: str, port: int, error: OSError) -> str:
    other = f"give another one, such as --port {port + 1 if port < 65535 else port - 1}, or --port 0 for any"
    match error.errno:
        case errno.EADDRINUSE:
            return f"--port {port}: is in use on {host} (another 'cellfree watch --web'?); {other}"
        case errno.EACCES:
            return f"--port {port}: only the administrator may use it; {other}"
        case errno.EADDRNOTAVAIL:
            return f"--host {host}: is no address of this machine; allowed: one, such as {LOCAL}"
        case _:
            return f"--host {host} --port {port}: {error.strerror or error}"
