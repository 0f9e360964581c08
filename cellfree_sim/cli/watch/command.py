"""The command ``cellfree watch``: which run, on a screen, as lines or as a page, and the exit status."""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cellfree_sim.cli.commands import Commands
from cellfree_sim.cli.running import ended_like_ctrl_c
from cellfree_sim.cli.terminal import DONE, FAILED, INTERRUPTED, complain, flat
from cellfree_sim.cli.watch import web
from cellfree_sim.errors import UserError

if TYPE_CHECKING:
    import argparse
    from contextlib import AbstractContextManager

    from cellfree_sim.results.runs import RunStatus
    from cellfree_sim.watching import Watched

WAIT_FOR_A_RUN_S = 5.0
POLL_S = 0.2
SCREEN_EVERY_S, PLAIN_EVERY_S = 0.5, 2.0

_EPILOG = """\
examples:
  cellfree watch                                             the run that is running below ./runs
  cellfree watch runs/quickstart-20250101T120000Z
  cellfree watch quickstart-20250101T120000Z --address 10.0.0.5:6379      from any machine
  cellfree watch --plain --every 10 >> watch.log             lines for a log; so it is in a pipe, too
  cellfree watch --web                                       a page for browsers; a click on its map adds a station
  cellfree watch --web --port 0 --open                       on any port that is free, and opened at once

keys: i inject, r remove, p pause or continue, s stop, q quit (the run goes on), ? help

exit status: 0 the run is done, or you quit; 1 it failed or vanished; 2 there is no such run; 130 it was interrupted
"""


def add_to(commands: Commands) -> None:
    """Add the command."""
    watch = commands.add("watch", _watch, "watch a run, and act on it, from any terminal or browser", _EPILOG)
    watch.add_argument("run", metavar="RUN", nargs="?", help="its folder or name (default: the one that is running)")
    watch.add_argument(
        "--address", metavar="ADDR", help="look on the Ray cluster at this address (default: below ./runs)"
    )
    watch.add_argument("--plain", action="store_true", help="lines instead of a screen; so it is where none is there")
    watch.add_argument(
        "--every",
        metavar="S",
        help=f"seconds between two looks (default {SCREEN_EVERY_S:g}; lines of progress: {PLAIN_EVERY_S:g})",
    )
    web.add_options(watch)


def _watch(arguments: argparse.Namespace) -> int:
    web.check(arguments)
    every_s = None if arguments.every is None else _seconds(arguments.every)
    with ended_like_ctrl_c(), _found(arguments.run, arguments.address) as run:
        if arguments.web:
            web.serve(run, arguments)
            return DONE
        try:
            last = _shown(run, every_s, plain=arguments.plain or not _has_screen())
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"{run.status().run} goes on") from None
    if last.lives:
        named = [flat(arguments.run)] if arguments.run else []
        complain(" ".join([f"{last.run} goes on; look again with: cellfree watch", *named]), kind="")
    else:
        complain(how_it_ended(last), kind="")
    return status_of(last)


def _shown(run: Watched, every_s: float | None, *, plain: bool) -> RunStatus:
    """Show the run until it has ended or the person has seen enough; returns how it was then."""
    if plain:
        from cellfree_sim.cli.watch.plain import follow

        return follow(run, sys.stdout, PLAIN_EVERY_S if every_s is None else every_s)
    from cellfree_sim.cli.watch.screen import Screen

    return Screen(run, SCREEN_EVERY_S if every_s is None else every_s).show()


def how_it_ended(run: RunStatus) -> str:
    """One line, with what can be done next."""
    if run.status == "vanished" and not Path(run.folder).is_dir():
        return f"{run.run}: is gone, and where it was is not known to this machine"
    after = f" after step {run.step}" if run.step is not None else ""
    if run.bursts and not run.steps:
        after = f" after burst {run.burst}"
    told = f"{run.run}: {run.status}{after}"
    folder = Path(run.folder)
    if run.status == "done":
        report = folder / "report.html"
        return f"{told}; report: {report}" if report.is_file() else told
    if (folder / "checkpoints").is_dir():
        return f"{told}; go on with: cellfree run --resume {folder}"
    return told


def status_of(run: RunStatus) -> int:
    """The exit status that says how a run ended; 0 where it goes on."""
    if run.lives or run.status == "done":
        return DONE
    return INTERRUPTED if run.status in ("interrupted", "stopped") else FAILED


def _found(name: str | None, address: str | None) -> AbstractContextManager[Watched]:
    """The run; where it is not there yet, it may begin within a few seconds."""
    from cellfree_sim.watching import watch

    if address is None and not _is_there(name):
        what = "no run is running below ./runs" if name is None else f"{flat(name)}: there is no such run"
        complain(f"{what}; waiting {WAIT_FOR_A_RUN_S:g} s for it", kind="")
        until = time.monotonic() + WAIT_FOR_A_RUN_S
        while time.monotonic() < until and not _is_there(name):
            time.sleep(POLL_S)
    return watch(name, address)


def _is_there(name: str | None) -> bool:
    from cellfree_sim.results.run_folder import DEFAULT_PARENT
    from cellfree_sim.results.runs import list_runs

    if name is None:
        return any(run.lives for run in list_runs())
    return any((folder / "run.log").is_file() for folder in (Path(name), DEFAULT_PARENT / name))


def _has_screen() -> bool:
    """Whether keys can be read and a screen be drawn."""
    if sys.stdin is None or sys.stdout is None or os.environ.get("TERM", "dumb") in ("", "dumb", "unknown"):
        return False
    return sys.stdin.isatty() and sys.stdout.isatty()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds <= 3600:
        raise UserError(f"--every: found '{flat(text)}'; allowed: seconds from 0.1 to 3600")
    return seconds
