"""A run as lines, for logs and pipes: one for each change, and one now and then while it goes on as before."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from cellfree_sim.cli.live import event_row
from cellfree_sim.results.observer import describe_round, known

if TYPE_CHECKING:
    from cellfree_sim.results.runs import RunStatus
    from cellfree_sim.watching import Watched

LOOK_EVERY_S = 0.4


def follow(run: Watched, stream: TextIO, every_s: float, *, sleep: Callable[[float], None] = time.sleep) -> RunStatus:
    """Write lines until the run has ended; returns how it did.

    Args:
        run: which one.
        stream: where to.
        every_s: seconds between two lines about progress; changes are told at once.
        sleep: waits between two looks.
    """
    lines = Lines(every_s)
    while True:
        status = run.status()
        for line in lines.about(status, time.monotonic()):
            stream.write(f"{datetime.now().strftime('%H:%M:%S')} {line}\n")
        stream.flush()
        if not status.lives:
            return status
        sleep(min(LOOK_EVERY_S, every_s))


class Lines:
    """What is new of a run since the last look.

    Args:
        every_s: least time between two lines about progress.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._progressed_at: float | None = None
        self._moment: tuple[Any, ...] | None = None
        self._before: RunStatus | None = None
        self._validations: tuple[int, int | None] = (0, None)
        self._events: list[Mapping[str, Any]] = []

    def about(self, status: RunStatus, now_s: float) -> list[str]:
        """The lines to write now."""
        before, self._before = self._before, status
        lines = []
        phase = (status.status, status.phase, status.detail)
        if status.lives and (before is None or phase != (before.status, before.phase, before.detail)):
            lines.append(_phase(status))
        lines += [f"event {line}" for line in self._new_events(status)]
        lines += self._new_validations(status)
        moment = (status.step, status.burst, dict(status.channels))
        due = self._progressed_at is None or now_s - self._progressed_at >= self._every_s or not status.lives
        if due and moment != self._moment and moment != (None, None, {}):
            self._progressed_at, self._moment = now_s, moment
            lines.append(_progress(status))
        if not status.lives:
            lines.append(f"{status.run} ended: {status.status}")
        return lines

    def _new_events(self, status: RunStatus) -> list[str]:
        told = list(status.events)
        new = [event for event in told if event not in self._events]
        self._events = told
        return [describe_event(event) for event in new]

    def _new_validations(self, status: RunStatus) -> list[str]:
        """The last one, if it is new; those before it would be told too late."""
        curve = status.curves.get("validation") or {}
        steps = curve.get("step") or []
        latest = (len(steps), steps[-1] if steps else None)
        if not steps or latest == self._validations:
            return []
        self._validations = latest
        row = {name: values[-1] for name, values in curve.items()}
        return [describe_round({**row, "phase": "validation", "steps": status.steps})]


def describe_event(event: Mapping[str, Any]) -> str:
    """An event on one line.

    >>> describe_event({"event": "inject_sbs", "at_step": 27, "station": "sbs-3", "donor": "sbs-1"})
    'inject_sbs after step 27: station sbs-3, donor sbs-1'
    """
    at_step, what, details = event_row(event)
    return f"{what} after step {at_step or '?'}" + (f": {details}" if details else "")


def _phase(status: RunStatus) -> str:
    phase = "" if status.phase is None else f", {status.phase}"
    return f"{status.run} {status.status}{phase}" + (f": {status.detail}" if status.detail else "")


def _progress(status: RunStatus) -> str:
    """How far it is, what it earns, and what it costs."""
    if status.channels:
        made, wanted = (sum(pair) for pair in zip(*status.channels.values(), strict=True))
        return f"channels {made}/{wanted} realisations, {len(status.channels)} stations"
    parts = []
    curve = status.curves.get("training") or {}
    if curve.get("joint_loss") and known(curve["joint_loss"][-1]):
        parts.append(f"joint loss {curve['joint_loss'][-1]:.4g}")
    if known(status.sum_rate):
        parts.append(f"sum rate {status.sum_rate:.2f} bit/s/Hz")
    if status.bytes:
        parts.append(f"{status.bytes / 1e6:.1f} MB moved")
    flow = sum(link["bytes_per_s"] for link in status.links)
    if flow:
        busiest = max(status.links, key=lambda link: float(link["bytes_per_s"]))
        parts.append(f"{flow / 1e6:.2f} MB/s, most on {busiest['a']}-{busiest['b']}")
    services = [f"{each['ser']:.3g} {each['name']}" for each in status.services if known(each.get("ser"))]
    if services:
        parts.append(f"SER {', '.join(services)}")
    head = [f"step {status.step}/{status.steps}"] if status.steps and status.step is not None else []
    head += [f"burst {status.burst}/{status.bursts}"] if status.bursts else []
    return ": ".join(part for part in (", ".join(head), ", ".join(parts)) if part)
