"""A pseudo terminal to watch a run on, and a run to be watched there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable
from typing import Any

from cellfree_sim.results.runs import RunStatus

LIMIT_S = 30.0


def station(name: str, **facts: Any) -> dict[str, Any]:
    kind = "mbs" if name == "mbs" else "sbs"
    return {"name": name, "kind": kind, "status": "active", "step": 12, "load": 0.5, "device": "cpu", **facts}


def link(b: str, **facts: Any) -> dict[str, Any]:
    known = {"up": True, "bytes": 4_000_000, "bytes_per_s": 1.5e6, "queue_s": 2e-4, "utilisation": 0.25}
    return {"a": "mbs", "b": b, "capacity_bps": 1e10, **known, **facts}


STATUS = RunStatus(
    run="demo",
    status="running",
    engine="ray",
    step=12,
    steps=60,
    sum_rate=21.5,
    bytes=12_000_000,
    folder="runs/demo",
    phase="training",
    area_m=(100.0, 100.0),
    stations=(station("mbs"), *(station(f"sbs-{n}", sum_rate=7.0 + n) for n in range(3))),
    links=tuple(link(f"sbs-{n}") for n in range(3)),
    services=({"name": "ep-fused", "detector": "ep", "ser": 0.0123, "latency_ms": 1.5, "latency_p99_ms": 2.5},),
    events=({"event": "inject_sbs", "at_step": 9, "station": "sbs-2"},),
    curves={"training": {"step": [1, 2, 3], "joint_loss": [-1.0, -2.0, -3.0]}},
)


class Terminal:
    """A pseudo terminal; `screen` is what stands on it, as long as each picture is drawn from its upper left corner."""

    def __init__(self, columns: int, rows: int) -> None:
        self.mine, self.its = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.its)
        self._data = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def lead(self) -> None:
        """Be the terminal from which this process is controlled: Ctrl-C there is a signal for it."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # it is ignored where a shell has put the tests in the background
        os.setsid()
        fcntl.ioctl(self.its, termios.TIOCSCTTY, 0)

    def type(self, keys: str) -> None:
        os.write(self.mine, keys.encode())

    @property
    def written(self) -> str:
        return self._data.decode(errors="replace")

    @property
    def screen(self) -> list[str]:
        """The lines of the last picture that has come wholly; each is drawn to the right edge."""
        rows, columns, *_ = struct.unpack("HHHH", fcntl.ioctl(self.its, termios.TIOCGWINSZ, b"\0" * 8))
        pictures = [plain(each) for each in self.written.split("\x1b[H")[1:]]
        whole = [each for each in pictures if len(each) == rows and len(each[-1]) == columns]
        return [line.rstrip() for line in whole[-1]] if whole else []

    def shows(self, text: str) -> list[str]:
        """The screen, once this text stands on it."""
        wait_until(lambda: any(text in line for line in self.screen), lambda: f"'{text}' never came: {self.screen}")
        return self.screen

    def left(self) -> list[str]:
        """What stands below each other once the screen has been given back."""
        wait_until(lambda: self.written.count("\x1b[?1049l") == 1, lambda: "the screen was not given back")
        return [line.rstrip() for line in plain(self.written.split("\x1b[?1049l")[-1])]

    def close(self) -> None:
        os.close(self.its)
        self._reader.join()
        os.close(self.mine)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.mine, 65536)
            except OSError:
                return
            if not data:
                return
            self._data += data


def plain(text: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r", "").split("\n")


def wait_until(holds: Callable[[], bool], why: Callable[[], str]) -> None:
    until = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < until, why()
        threading.Event().wait(0.01)
