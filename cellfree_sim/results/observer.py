"""What a run tells while it runs: one protocol, and three ways to show it.

A run calls its observer from any thread; an observer never changes the run. `create_observer` picks the live display on
a terminal, plain lines elsewhere, and nothing where it was asked to be quiet. All of them write to stderr.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Observer(Protocol):
    """Receives what happens in a run."""

    def phase(self, name: str, detail: str = "") -> None:
        """The run enters a phase: its name ("channels", "training", …), and what a person may want to know of it."""

    def channels(self, station: str, done: int, total: int) -> None:
        """A station has generated `done` of its `total` channel realisations."""

    def round(self, metrics: Mapping[str, Any]) -> None:
        """A round has ended: a row of metrics.parquet, with `steps`, the number of training steps of the run."""

    def bursts(self, progress: Mapping[str, Any]) -> None:
        """Bursts of an uplink are over: `burst` of `bursts`; its `services`, each with `name`, `ser`, `latency_ms`."""

    def note(self, text: str) -> None:
        """Something a person should know: a warning, a fallback, a station that joined."""

    def close(self) -> None:
        """Nothing more will come. May be called twice."""


class Quiet:
    """Shows nothing."""

    def phase(self, name: str, detail: str = "") -> None:
        """Ignored."""

    def channels(self, station: str, done: int, total: int) -> None:
        """Ignored."""

    def round(self, metrics: Mapping[str, Any]) -> None:
        """Ignored."""

    def bursts(self, progress: Mapping[str, Any]) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""

    def close(self) -> None:
        """Ignored."""


class Several:
    """Tells several observers, which may come one after another."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = list(observers)

    def add(self, observer: Observer) -> None:
        """One more, that is told from now on."""
        self._observers.append(observer)

    def phase(self, name: str, detail: str = "") -> None:
        """To all."""
        for each in self._observers:
            each.phase(name, detail)

    def channels(self, station: str, done: int, total: int) -> None:
        """To all."""
        for each in self._observers:
            each.channels(station, done, total)

    def round(self, metrics: Mapping[str, Any]) -> None:
        """To all."""
        for each in self._observers:
            each.round(metrics)

    def bursts(self, progress: Mapping[str, Any]) -> None:
        """To all."""
        for each in self._observers:
            each.bursts(progress)

    def note(self, text: str) -> None:
        """To all."""
        for each in self._observers:
            each.note(text)

    def close(self) -> None:
        """All of them."""
        for each in self._observers:
            each.close()


class PlainDisplay:
    """Lines for logs and pipes: phases, notes and validations at once, steps and channels every two seconds.

    Args:
        stream: where the lines go.
        every_s: least time between two lines of training progress, or of channel progress.
        clock: seconds that only grow.
    """

    def __init__(
        self, stream: TextIO | None = None, *, every_s: float = 2.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._every_s = every_s
        self._clock = clock
        self._started_at = clock()
        self._shown_at: dict[str, float] = {}
        self._done: dict[str, tuple[int, int]] = {}
        self._pace = Pace(clock)
        self._lock = threading.RLock()

    def phase(self, name: str, detail: str = "") -> None:
        """One line."""
        with self._lock:
            self._line(f"{name}: {detail}" if detail else name)

    def channels(self, station: str, done: int, total: int) -> None:
        """One line for all stations together, now and then, and when all are done."""
        with self._lock:
            self._done[station] = (done, total)
            made, wanted = (sum(pair) for pair in zip(*self._done.values(), strict=True))
            if made >= wanted or self._due("channels"):
                self._line(f"channels: {made}/{wanted} realisations, {len(self._done)} stations")

    def round(self, metrics: Mapping[str, Any]) -> None:
        """One line for each validation and test, and for a training step now and then."""
        with self._lock:
            phase = str(metrics.get("phase", "training"))
            if phase == "training":
                self._pace.step(int(metrics.get("step", 0)))
                last = metrics.get("step") == metrics.get("steps")
                if not (last or self._due("training")):
                    return
            self._line(describe_round(metrics, self._pace.ms_per_step))

    def bursts(self, progress: Mapping[str, Any]) -> None:
        """One line now and then, and for the last burst."""
        with self._lock:
            if progress["burst"] == progress["bursts"] or self._due("bursts"):
                self._line(describe_bursts(progress))

    def note(self, text: str) -> None:
        """One line."""
        with self._lock:
            self._line(f"note: {text}")

    def close(self) -> None:
        """Nothing is pending: each line was written when it came."""

    def _due(self, topic: str) -> bool:
        now = self._clock()
        if now - self._shown_at.get(topic, -math.inf) < self._every_s:
            return False
        self._shown_at[topic] = now
        return True

    def _line(self, text: str) -> None:
        elapsed = self._clock() - self._started_at
        self._stream.write(f"[{elapsed:7.1f} s] {' '.join(text.split())}\n")
        self._stream.flush()


class Pace:
    """Wall time per training step, a running mean in which a step counts half after ten more."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.ms_per_step: float | None = None
        self._clock = clock
        self._last: tuple[int, float] | None = None

    def step(self, step: int) -> None:
        """Training step `step` has ended."""
        now = self._clock()
        if self._last is not None and step > self._last[0]:
            sample = (now - self._last[1]) * 1e3 / (step - self._last[0])
            weight = 1.0 if self.ms_per_step is None else 1 - 0.5**0.1
            self.ms_per_step = (
                sample if self.ms_per_step is None else self.ms_per_step + weight * (sample - self.ms_per_step)
            )
        self._last = (step, now)


def describe_round(metrics: Mapping[str, Any], ms_per_step: float | None = None) -> str:
    """One line about one round.

    >>> describe_round({"phase": "validation", "step": 25, "steps": 150, "sum_rate": 18.25, "min_rate_satisfied": 0.9})
    'validation 25/150: sum rate 18.25 bit/s/Hz, 90 % of users meet r_min'
    """
    step, steps = metrics.get("step"), metrics.get("steps")
    head = f"{metrics.get('phase', 'training')} {step}" + (f"/{steps}" if steps else "")
    parts = []
    if known(metrics.get("joint_loss")):
        parts.append(f"joint loss {metrics['joint_loss']:.4g}")
    if known(metrics.get("sum_rate")):
        parts.append(f"sum rate {metrics['sum_rate']:.2f} bit/s/Hz")
    if known(metrics.get("min_rate_satisfied")):
        parts.append(f"{100 * metrics['min_rate_satisfied']:.0f} % of users meet r_min")
    if metrics.get("bytes"):
        parts.append(f"{metrics['bytes'] / 1e6:.1f} MB moved")
    if ms_per_step is not None and metrics.get("phase", "training") == "training":
        parts.append(f"{ms_per_step:.0f} ms per step")
    return f"{head}: {', '.join(parts)}" if parts else head


def describe_bursts(progress: Mapping[str, Any]) -> str:
    """One line about an uplink.

    >>> describe_bursts({"burst": 40, "bursts": 100, "services": [{"name": "ep-local", "ser": 0.0123}]})
    'bursts 40/100: SER 0.0123 ep-local'
    """
    rates = [f"{each['ser']:.3g} {each['name']}" for each in progress["services"] if known(each.get("ser"))]
    return f"bursts {progress['burst']}/{progress['bursts']}" + (f": SER {', '.join(rates)}" if rates else "")


def known(value: Any) -> bool:
    """Whether `value` is a finite number."""
    return value is not None and math.isfinite(value)


def create_observer(quiet: bool = False, *, title: str = "", stream: TextIO | None = None) -> Observer:
    """The observer that fits where `stream` (stderr) goes; `title` names the run in the live display.

    >>> type(create_observer(quiet=True)).__name__
    'Quiet'
    """
    if quiet:
        return Quiet()
    stream = stream if stream is not None else sys.stderr
    if not stream.isatty():
        return PlainDisplay(stream)
    from cellfree_sim.results.live_display import LiveDisplay

    return LiveDisplay(title, stream)
