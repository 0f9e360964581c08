"""The screen of ``cellfree watch``: it looks at the run, draws what changed, and hears keys.

    keys ──► question ──► order, on a thread ──► what became of it
    run.status() every half second ──► lines ──► the terminal, where something is different

The terminal is given back on every way out. Ctrl-Z works: the screen is drawn anew when the process goes on.
"""

from __future__ import annotations

import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from cellfree_sim.cli.watch import keyboard, view
from cellfree_sim.cli.watch.asking import Question, where_to_inject, whether, which_to_remove
from cellfree_sim.cli.watch.orders import Orders, injected, removed
from cellfree_sim.interrupts import deferred_interrupts

if TYPE_CHECKING:
    from cellfree_sim.results.runs import RunStatus
    from cellfree_sim.watching import Watched

MESSAGE_LINES = 3
REDRAW_S = 1.0  # also where nothing is new: ages and durations go on
KEYS_EVERY_S = 0.25


class Screen:
    """Shows a run until it has ended, or the person has seen enough.

    Args:
        run: which one.
        every_s: seconds between two looks at it.
        console: draws here instead of on standard output, for tests.
        keys: are read from it instead of standard input, for tests.
    """

    def __init__(
        self, run: Watched, every_s: float, *, console: Console | None = None, keys: keyboard.Keyboard | None = None
    ) -> None:
        self._run = run
        self._every_s = every_s
        self._console = console or Console(file=sys.stdout, highlight=False)
        self._utf8 = self._console.encoding.lower().startswith("utf")
        self._keyboard = keys or keyboard.Keyboard()
        self._orders = Orders()
        self._question: Question | None = None
        self._helps = False
        self._left = False
        self._first = 0  # row of the tables that are longer than the screen
        self._status = run.status()
        self._live = Live(
            self._picture(),
            console=self._console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def show(self) -> RunStatus:
        """Draw and listen; returns how the run was at the end, and leaves that on the terminal."""
        try:
            with _stopping_well(self._begin, self._end):
                self._begin()
                self._loop()
        finally:
            with deferred_interrupts():  # nor does a second Ctrl-C keep the terminal
                self._end()
                if not self._left:
                    self._console.print(self._last_picture())
        return self._status

    def _begin(self) -> None:
        self._keyboard.listen()
        self._live.start(refresh=True)

    def _end(self) -> None:
        """Give the terminal back, however far `_begin` has come."""
        self._live.stop()
        self._keyboard.leave()

    def _loop(self) -> None:
        looked_s = drawn_s = time.monotonic()
        drawn: Any = None
        while self._status.lives and not self._left:
            try:
                keys = self._keyboard.read(min(self._every_s, KEYS_EVERY_S))
            except EOFError:  # the terminal is gone
                self._left = True
                return
            for key in keys:
                self._press(key)
            now_s = time.monotonic()
            if now_s - looked_s >= self._every_s:
                self._status, looked_s = self._run.status(), now_s
            what = (self._status.told_at, self._status.status, self._console.size, self._orders.told())
            if keys or what != drawn or now_s - drawn_s >= REDRAW_S:
                self._live.update(self._picture(), refresh=True)
                drawn, drawn_s = what, now_s
        if not self._status.lives and not self._left:
            self._status = self._run.status()  # what was told last

    def _press(self, key: str) -> None:
        if self._question is not None:
            self._question.press(key)
            if not self._question.open:
                self._question = None
            return
        if self._helps:
            self._helps = False
            return
        match key:
            case keyboard.UP | keyboard.DOWN:
                longest = max(len(self._status.stations), len(self._status.links), len(self._status.services))
                self._first = min(max(self._first + (1 if key == keyboard.DOWN else -1), 0), longest)
            case "q":
                self._left = True
            case "?" | "h":
                self._helps = True
            case "i":
                self._question = where_to_inject(self._status.area_m, self._inject)
            case "r":
                self._ask_what_to_remove()
            case "p":
                self._pause()
            case "s":
                prompt = "stop the run at its next round? It is saved."
                self._question = whether(prompt, lambda: self._orders.give("stopping", self._run.stop, _stopped))

    def _inject(self, place: list[float]) -> None:
        doing = f"injecting at {place[0]:g},{place[1]:g}"
        self._orders.give(doing, lambda: self._run.inject(place), injected)

    def _ask_what_to_remove(self) -> None:
        stations = [str(each["name"]) for each in self._status.stations if each.get("kind") == "sbs"]
        if not stations:
            self._orders.say("there is no station yet to remove", "red")
            return
        self._question = which_to_remove(stations, self._remove)

    def _remove(self, station: str) -> None:
        self._orders.give(f"removing {station}", lambda: self._run.remove(station), removed)

    def _pause(self) -> None:
        if self._status.status == "paused":
            self._orders.give("going on", self._run.resume, lambda _: "it goes on")
        else:
            self._orders.give("pausing at the next round", self._run.pause, lambda _: "paused; p lets it go on")

    def _picture(self) -> RenderableType:
        width, height = self._console.size
        foot = self._foot(width)
        room = max(height - len(foot), 0)
        if self._helps:
            lines = [Text(line) for line in view.HELP][:room]
        else:
            lines = view.lines_of(self._status, width, room, first=self._first, utf8=self._utf8)
        shown = [*lines, *([Text()] * (room - len(lines))), *foot][-height:]
        return _unwrapped(shown, width)

    def _foot(self, width: int) -> list[Text]:
        """What became of orders, and the keys; or what is asked, and what is wrong with the answer."""
        told = [
            Text(line, style)
            for text, style in self._orders.told()
            for line in textwrap.wrap(text, max(width, 10))[:MESSAGE_LINES]
        ] or [Text()]
        if self._helps:
            return [*told, Text("any key goes back", "dim")]
        if self._question is None:
            return [*told, view.foot(width, paused=self._status.status == "paused")]
        asked = Text.assemble((f"{self._question.prompt}: ", "bold"), self._question.text, ("_", "blink"))
        if asked.cell_len > width:  # the end is what is being typed
            asked = asked[asked.cell_len - width :]
        return [Text(self._question.wrong, "red") if self._question.wrong else Text("Esc leaves it", "dim"), asked]

    def _last_picture(self) -> RenderableType:
        """What stays on the terminal."""
        width = self._console.width
        return _unwrapped(view.lines_of(self._status, width, 10_000, utf8=self._utf8), width)


def _unwrapped(lines: Sequence[Text], width: int) -> Group:
    for line in lines:
        line.truncate(width, overflow="crop")
        line.no_wrap = True
    return Group(*lines)


def _stopped(_: Any) -> str:
    return "stopping; this screen ends with the run"


@contextmanager
def _stopping_well(begin: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-Z give the terminal back, and take it again when the process goes on."""

    def stop(*_: object) -> None:
        end()
        signal.raise_signal(signal.SIGSTOP)
        begin()

    if threading.current_thread() is not threading.main_thread():  # where no signal arrives
        yield
        return
    before = signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)
