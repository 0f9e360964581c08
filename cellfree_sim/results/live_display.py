"""The live display: one panel on the terminal that is redrawn while the run goes on."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cellfree_sim.results.observer import Pace, known

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STATIONS_SHOWN = 6
NOTES_SHOWN = 3
_BARS = "▁▂▃▄▅▆▇█"


class LiveDisplay:
    """Redraws a panel a few times a second from what the run reports.

    Args:
        title: name and engine of the run, for the head line.
        stream: the terminal.
        console: draws on this instead, for tests.
    """

    def __init__(self, title: str = "", stream: TextIO | None = None, *, console: Console | None = None) -> None:
        self._title = title
        self._console = console or Console(file=stream, stderr=stream is None)
        self._lock = threading.RLock()
        self._started_at = time.monotonic()
        self._phase, self._detail = "starting", ""
        self._stations: dict[str, tuple[int, int]] = {}
        self._latest: dict[str, dict[str, Any]] = {}
        self._validated: list[float] = []
        self._bursts: dict[str, Any] = {}
        self._notes: deque[str] = deque(maxlen=NOTES_SHOWN)
        self._pace = Pace()
        self._live = Live(
            console=self._console, get_renderable=self.render, refresh_per_second=4, redirect_stdout=False
        )
        self._live.start()

    def phase(self, name: str, detail: str = "") -> None:
        """Shown in the head line."""
        with self._lock:
            self._phase, self._detail = name, detail

    def channels(self, station: str, done: int, total: int) -> None:
        """Moves the station's bar."""
        with self._lock:
            self._stations[station] = (done, total)

    def round(self, metrics: Mapping[str, Any]) -> None:
        """Moves the training bar and the numbers under it."""
        with self._lock:
            phase = str(metrics.get("phase", "training"))
            self._latest[phase] = dict(metrics)
            if phase == "training":
                self._pace.step(int(metrics.get("step", 0)))
            elif phase == "validation" and known(metrics.get("sum_rate")):
                self._validated.append(float(metrics["sum_rate"]))

    def bursts(self, progress: Mapping[str, Any]) -> None:
        """Moves the bar of the uplink, and the error rates under it."""
        with self._lock:
            self._bursts = dict(progress)

    def note(self, text: str) -> None:
        """Shown under the numbers, until newer notes push it out."""
        with self._lock:
            self._notes.append(" ".join(text.split()))

    def close(self) -> None:
        """Leave the last state on the screen and give the terminal back."""
        self._live.stop()

    def render(self) -> RenderableType:
        """The panel as it stands now."""
        with self._lock:
            parts: list[RenderableType] = [self._head()]
            if any(done < total for done, total in self._stations.values()):
                parts.append(self._channel_bars())
            if self._latest:
                parts += self._training()
            if self._bursts:
                parts += self._uplink()
            parts += [Text(f"• {note}", style="yellow") for note in self._notes]
            return Panel(Group(*parts), box=box.ROUNDED, border_style="dim", padding=(0, 1))

    @property
    def _width(self) -> int:
        return max(self._console.width - 4, 10)

    def _head(self) -> RenderableType:
        elapsed = int(time.monotonic() - self._started_at)
        left = Text.assemble(
            (self._title or "cellfree", "bold"), "  ", (self._phase, "cyan"), "  ", (self._detail, "dim")
        )
        head = Table.grid(expand=True, padding=(0, 1))
        head.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        head.add_column(justify="right", no_wrap=True)
        head.add_row(left, Text(f"{elapsed // 60:d}:{elapsed % 60:02d}"))
        return head

    def _channel_bars(self) -> RenderableType:
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(no_wrap=True, overflow="ellipsis", max_width=max(self._width // 3, 4))
        grid.add_column(ratio=1)
        grid.add_column(justify="right", no_wrap=True)
        unfinished = sorted(self._stations, key=lambda name: self._stations[name][0] >= self._stations[name][1])
        for name in unfinished[:STATIONS_SHOWN]:
            done, total = self._stations[name]
            grid.add_row(Text(name), ProgressBar(total=max(total, 1), completed=done), f"{done}/{total}")
        hidden = unfinished[STATIONS_SHOWN:]
        if hidden:
            done, total = (sum(self._stations[name][i] for name in hidden) for i in (0, 1))
            bar = ProgressBar(total=max(total, 1), completed=done)
            grid.add_row(Text(f"{len(hidden)} more", style="dim"), bar, f"{done}/{total}")
        return grid

    def _training(self) -> list[RenderableType]:
        training, validation = self._latest.get("training", {}), self._latest.get("validation", {})
        best = max(self._validated, default=None)
        newest = self._latest.get("test") or validation
        moved = max((int(row.get("bytes") or 0) for row in self._latest.values()), default=0)
        pairs = [
            ("joint loss", _number(training.get("joint_loss"), "{:.4g}")),
            ("MB moved", f"{moved / 1e6:.1f}"),
            (
                f"sum rate, {'test' if 'test' in self._latest else 'validation'}",
                _number(newest.get("sum_rate"), "{:.2f}"),
            ),
            ("ms per step", _number(self._pace.ms_per_step, "{:.0f}")),
            ("users ≥ r_min", _number(_percent(newest.get("min_rate_satisfied")), "{:.0f} %")),
            ("best sum rate", _number(best, "{:.2f}")),
        ]
        columns = 2 if self._width >= 50 else 1
        grid = Table.grid(expand=True, padding=(0, 1))
        for _ in range(columns):
            grid.add_column(style="dim", no_wrap=True, overflow="ellipsis")
            grid.add_column(justify="right", ratio=1, no_wrap=True)
        for start in range(0, len(pairs), columns):
            grid.add_row(*(cell for pair in pairs[start : start + columns] for cell in pair))
        parts: list[RenderableType] = [self._training_bar(training), grid]
        if len(self._validated) > 1 and self._console.encoding.lower().startswith("utf"):
            width = max(self._width - 20, 8)
            parts.append(Text.assemble(("validation ", "dim"), (sparkline(self._validated, width), "green")))
        return parts

    def _uplink(self) -> list[RenderableType]:
        """A bar of bursts, and how each service does: error rate so far, latency of the last burst."""
        done, total = int(self._bursts["burst"]), int(self._bursts["bursts"])
        bar = Table.grid(expand=True, padding=(0, 1))
        bar.add_column(no_wrap=True)
        bar.add_column(ratio=1)
        bar.add_row(f"burst {done}/{total}", ProgressBar(total=max(total, 1), completed=done))
        services = Table.grid(expand=True, padding=(0, 1))
        services.add_column(style="dim", no_wrap=True, overflow="ellipsis", ratio=1)
        services.add_column(justify="right", no_wrap=True)
        services.add_column(justify="right", no_wrap=True)
        for each in self._bursts["services"][:STATIONS_SHOWN]:
            latency = _number(each.get("latency_ms"), "{:.3g} ms")
            services.add_row(str(each["name"]), f"SER {_number(each.get('ser'), '{:.3g}')}", latency)
        hidden = len(self._bursts["services"]) - STATIONS_SHOWN
        if hidden > 0:
            services.add_row(f"{hidden} more", "", "")
        return [bar, services]

    def _training_bar(self, training: Mapping[str, Any]) -> RenderableType:
        step, steps = int(training.get("step") or 0), int(training.get("steps") or 0)
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_column(justify="right", no_wrap=True)
        left = ""
        if self._pace.ms_per_step is not None and steps > step:
            seconds = int((steps - step) * self._pace.ms_per_step / 1e3)
            left = f"{seconds // 60:d}:{seconds % 60:02d} left"
        bar = ProgressBar(total=max(steps, 1), completed=min(step, max(steps, 1)))
        grid.add_row(f"step {step}/{steps}" if steps else f"step {step}", bar, left)
        return grid


def sparkline(values: Sequence[float], width: int) -> str:
    """The last `width` values as bars between their smallest and largest.

    >>> sparkline([1.0, 2.0, 3.0], width=10)
    '▁▅█'
    """
    shown = list(values)[-width:]
    low, high = min(shown), max(shown)
    span = high - low or 1.0
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in shown)


def _percent(share: Any) -> float | None:
    return 100 * float(share) if known(share) else None


def _number(value: Any, form: str) -> str:
    return form.format(value) if known(value) else "–"
