"""Who may ask: the page of this server, on the machine it was meant for, with the token that the command printed.

A page of another site that the same browser shows can send requests to this machine, too. It knows no token, is of
another origin, and where it uses a name of its own that leads here (DNS rebinding), that name is not one of ours.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("lab-3")
    (True, True, False, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Refuses what does not come from the page, before anything else looks at it; adds the headers of a safe page.

    Args:
        app: what is guarded.
        host: that the server listens on.
        token: that everything below ``/api/`` must bring, as ``Authorization: Bearer TOKEN``.
    """

    def __init__(self, app: ASGIApp, host: str, token: str) -> None:
        self._app = app
        named = {host} if is_loopback(host) else {host, socket.gethostname()}
        self._names = LOOPBACK | {name.lower() for name in named}  # as browsers write them
        self._any_address = not is_loopback(host)
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY)
            await send(message)

        refused = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
        await (refused or self._app)(scope, receive, send_safely)

    def _refusal(self, method: str, path: str, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return refusal(
                403, f"Host '{host}' is not a name of this server; open the address that the command printed"
            )
        if method not in ("GET", "HEAD"):
            origin = headers.get("origin")
            if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
                return refusal(403, f"Origin '{origin}' is not this page")
            if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return refusal(403, "orders come from this page only")
        if path.startswith("/api/"):
            given = headers.get("authorization", "").encode()
            if not hmac.compare_digest(given, self._expected):
                return refusal(401, "the token is missing or not that of this server; open the address that it printed")
        return None

    def _is_ours(self, host: str) -> bool:
        name = hostname(host)
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._any_address  # an address is no name that somebody else could let lead here


def refusal(status: int, text: str) -> JSONResponse:
    """An error, for programs and for people."""
    return JSONResponse({"error": text}, status)


def hostname(host: str) -> str:
    """The name in a Host header, without its port.

    >>> hostname("127.0.0.1:8642"), hostname("[::1]:8642"), hostname("Localhost")
    ('127.0.0.1', '::1', 'localhost')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
