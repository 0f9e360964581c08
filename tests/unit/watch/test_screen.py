"""``cellfree watch`` on a pseudo terminal: keys are sent, the screen is read, the terminal is as it was afterwards."""

from __future__ import annotations

import os
import re
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, ConsoleDimensions
from watch_support import LIMIT_S, STATUS, Terminal, station, wait_until

from cellfree_sim.cli.watch.keyboard import Keyboard
from cellfree_sim.cli.watch.screen import Screen
from cellfree_sim.errors import UserError
from cellfree_sim.results.runs import RunStatus


class Run:
    """A run that does what it is told, and says what that was."""

    def __init__(self) -> None:
        self.now = STATUS
        self.orders: list[Any] = []
        self.may_join = threading.Event()

    def status(self) -> RunStatus:
        return self.now

    def inject(self, position_m: Sequence[float], **options: Any) -> dict[str, Any]:
        self.orders.append(("inject", list(position_m)))
        assert self.may_join.wait(LIMIT_S)
        return {"station": "sbs-3", "at_step": 12, "sum_rate_before": 13.0, "sum_rate_after": 18.0}

    def remove(self, station: str) -> dict[str, Any]:
        self.orders.append(("remove", station))
        raise UserError(f"demo: {station} is the last one")

    def pause(self) -> None:
        self.orders.append("pause")
        self.now = replace(self.now, status="paused")

    def resume(self) -> None:
        self.orders.append("resume")
        self.now = replace(self.now, status="running")

    def stop(self) -> None:
        self.orders.append("stop")
        self.now = replace(self.now, status="interrupted", step=13)


class ItsConsole(Console):
    """Rich asks the terminal of the process for its size; this is another one."""

    @property
    def size(self) -> ConsoleDimensions:
        return ConsoleDimensions(*os.get_terminal_size(self.file.fileno()))

    @size.setter
    def size(self, _: tuple[int, int]) -> None:
        raise AssertionError("a terminal says its size")


class Shown(Terminal):
    """A screen that is shown on a terminal, in this process."""

    def __init__(self, run: Run, columns: int = 120, rows: int = 30, encoding: str = "utf-8") -> None:
        super().__init__(columns, rows)
        self.run = run
        self.last: list[RunStatus] = []
        self._file = open(os.dup(self.its), "w", encoding=encoding, errors="replace")  # noqa: PTH123, SIM115
        console = ItsConsole(file=self._file, force_terminal=True, color_system="standard", highlight=False)
        screen = Screen(run, 0.05, console=console, keys=Keyboard(self.its))
        self._thread = threading.Thread(target=lambda: self.last.append(screen.show()), daemon=True)
        self._thread.start()

    def ended(self) -> RunStatus:
        """How the run was when the screen ended."""
        self._thread.join(LIMIT_S)
        self._file.flush()
        assert self.last, f"it goes on: {self.screen}"
        return self.last[0]

    def close(self) -> None:
        self.run.may_join.set()
        if not self.last:
            self.type("\x1b\x1bq")
        self._thread.join(LIMIT_S)
        self._file.close()
        super().close()


@pytest.fixture
def shown() -> Iterator[Callable[..., Shown]]:
    made: list[Shown] = []

    def show(run: Run, columns: int = 120, rows: int = 30, encoding: str = "utf-8") -> Shown:
        made.append(Shown(run, columns, rows, encoding))
        return made[-1]

    yield show
    for each in made:
        each.close()


def test_all_that_is_known_stands_on_a_wide_screen(shown: Any) -> None:
    screen = shown(Run()).shows("inject")
    text = "\n".join(screen)
    assert screen[0] == "demo  running  training"
    assert re.search(r"step 12/60 ━+─+", text)
    for part in ("sum rate 21.50 bit/s/Hz", "12.0 MB", "4.50 MB/s", "joint loss █▅▁ -3"):
        assert part in text
    assert re.search(r"sbs-1 +12 +8.00 +50 % +cpu +mbs-sbs-2 +1.50 +4.0 +0.2 +25 %", text)
    assert re.search(r"ep-fused +ep +0.0123 +1.5 +2.5", text)
    assert re.search(r"9 +inject_sbs +station sbs-2", text)
    assert len(screen) == 30
    assert screen[-1] == "i inject  r remove  p pause  s stop  q quit  ? help"


@pytest.mark.parametrize(("columns", "rows"), [(40, 12), (20, 6), (12, 3), (80, 24)])
def test_a_picture_fits_its_screen(shown: Any, columns: int, rows: int) -> None:
    screen = shown(Run(), columns, rows).shows("demo")
    assert len(screen) == rows
    assert max(len(line) for line in screen) <= columns


def test_it_follows_the_size_of_the_terminal(shown: Any) -> None:
    terminal = shown(Run(), 120, 30)
    assert len(terminal.shows("inject")) == 30
    terminal.resize(40, 12)
    narrow = terminal.shows("i r p s q ?")
    assert (len(narrow), max(len(line) for line in narrow)) <= (12, 40)


def test_an_injection_is_asked_for_checked_and_does_not_stop_the_screen(shown: Any) -> None:
    run = Run()
    terminal = shown(run)
    terminal.shows("inject")
    terminal.type("i")
    terminal.shows("inject at X,Y in metres: _")
    terminal.type("75,500\r")
    terminal.shows("y: found 500; allowed: 0 to 100")
    terminal.type("\x7f\r")
    terminal.shows("injecting at 75,50 ...")
    run.now = replace(run.now, step=13, told_at=1.0)
    terminal.shows("step 13/60")
    assert run.orders == [("inject", [75.0, 50.0])]
    run.may_join.set()
    terminal.shows("sbs-3 joined after step 12: sum rate 13.00 before, 18.00 after")


def test_a_station_is_chosen_and_what_is_refused_is_said(shown: Any) -> None:
    run = Run()
    terminal = shown(run)
    terminal.shows("inject")
    terminal.type("r")
    terminal.shows("remove (arrows choose): sbs-0_")
    terminal.type("\x1b[B")
    terminal.shows("sbs-1_")
    terminal.type("sbs-9\r")
    terminal.shows("there is no station 'sbs-9'; there are sbs-0, sbs-1, sbs-2")
    terminal.type("\x1b[A\r")
    terminal.shows("demo: sbs-0 is the last one")
    assert run.orders == [("remove", "sbs-0")]


def test_it_pauses_goes_on_and_stops_once_that_is_confirmed(shown: Any) -> None:
    run = Run()
    terminal = shown(run)
    terminal.shows("inject")
    terminal.type("p")
    terminal.shows("demo  paused  training")
    terminal.shows("p continue")
    terminal.type("p")
    terminal.shows("demo  running  training")
    terminal.type("sn\r")
    terminal.type("s")
    terminal.shows("stop the run at its next round? It is saved. y/n: _")
    terminal.type("\x1b")
    terminal.shows("s stop")
    assert run.orders == ["pause", "resume"]
    terminal.type("sy\r")
    assert terminal.ended().status == "interrupted"
    assert run.orders == ["pause", "resume", "stop"]
    wait_until(lambda: "demo  interrupted" in terminal.left(), lambda: str(terminal.left()))
    assert termios.tcgetattr(terminal.its) == terminal.before


def test_help_and_quit_leave_the_run_alone(shown: Any) -> None:
    run = Run()
    terminal = shown(run)
    terminal.shows("inject")
    terminal.type("?")
    terminal.shows("q  quit, as Ctrl-C does; the run goes on")
    terminal.type("q")
    terminal.shows("step 12/60")
    terminal.type("q")
    assert terminal.ended().lives
    assert run.orders == []
    terminal.left()
    assert terminal.written.count("\x1b[?1049h") == terminal.written.count("\x1b[?25h") == 1
    assert termios.tcgetattr(terminal.its) == terminal.before


def test_long_tables_move_with_the_arrows(shown: Any) -> None:
    run = Run()
    run.now = replace(run.now, stations=tuple(station(f"sbs-{n}") for n in range(30)), services=(), events=())
    terminal = shown(run, 60, 20)
    screen = "\n".join(terminal.shows("more (arrows)"))
    assert "sbs-0" in screen
    terminal.type("\x1b[B" * 3)
    wait_until(lambda: not any(line.startswith("sbs-2 ") for line in terminal.screen), lambda: str(terminal.screen))
    assert any(line.startswith("sbs-3 ") for line in terminal.screen)


def test_a_terminal_without_utf8_gets_ascii(shown: Any) -> None:
    terminal = shown(Run(), encoding="ascii")
    terminal.shows("inject")
    assert terminal.written.isascii()
    assert re.search(r"step 12/60 #+-+", "\n".join(terminal.screen))
    terminal.type("i75,50\r")
    terminal.shows("injecting at 75,50 ... 0 s")
