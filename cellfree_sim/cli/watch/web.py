"""``cellfree watch --web``: the live view of a run, as a page for browsers."""

from __future__ import annotations

import sys
import webbrowser
from typing import TYPE_CHECKING

from cellfree_sim.cli.terminal import complain, flat, show
from cellfree_sim.errors import UserError

if TYPE_CHECKING:
    import argparse

    from cellfree_sim.watching import Watched

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8642


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the page."""
    web = parser.add_argument_group("in the browser")
    web.add_argument("--web", action="store_true", help="serve a page for browsers, and print its address")
    web.add_argument("--port", metavar="N", help=f"of the page; 0 for any that is free (default {DEFAULT_PORT})")
    web.add_argument(
        "--host", metavar="H", help=f"address to listen on (default {DEFAULT_HOST}: only this machine sees the page)"
    )
    web.add_argument("--open", dest="open", action="store_true", help="open the page in a browser, too")
    web.add_argument("--no-open", dest="open", action="store_false", help="only print its address (default)")
    web.set_defaults(open=False)


def check(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together, before anything begins."""
    if arguments.web:
        others = {"plain": arguments.plain, "every": arguments.every is not None}
        reason = "has no meaning with --web"
    else:
        others = {name: getattr(arguments, name) is not None for name in ("port", "host")} | {"open": arguments.open}
        reason = "has a meaning only with --web"
    for name, given in others.items():
        if given:
            raise UserError(f"--{name}: {reason}")
    port(arguments.port)


def serve(watched: Watched, arguments: argparse.Namespace) -> None:
    """Serve the page until Ctrl-C; the run goes on."""
    from cellfree_sim.web import PageServer
    from cellfree_sim.web.guard import is_loopback

    host = arguments.host or DEFAULT_HOST
    server = PageServer(watched, host=host, port=port(arguments.port))
    if not is_loopback(host):
        complain(
            f"whoever reaches this machine at {flat(host)}:{server.port} and has the address below can watch, change "
            "and stop the run, and nothing is encrypted; safer: without --host, and on the other machine "
            f"'ssh -L {server.port}:127.0.0.1:{server.port} THIS-MACHINE'",
            kind="warning: ",
        )
    show(server.url)
    sys.stdout.flush()
    complain("open this address in a browser; Ctrl-C ends the page, and the run goes on", kind="")
    if arguments.open and not webbrowser.open(server.url):
        complain("there is no browser that could be opened from here", kind="")
    server.run()


def port(text: str | None) -> int:
    """The number of ``--port``.

    >>> port("9000"), port(None)
    (9000, 8642)

    Raises:
        UserError: it is no port.
    """
    if text is None:
        return DEFAULT_PORT
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise UserError(f"--port: found '{flat(text)}'; allowed: 0 to 65535, 0 for any that is free")
    return int(text)
