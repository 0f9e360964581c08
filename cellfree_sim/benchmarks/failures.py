"""What failures cost, and that they change nothing: processes are killed, and the run is held against one undisturbed.

Stations are killed with SIGKILL at seeded random moments of training, and at chosen places of the barrier (events
``fail_sbs``, ``fail_mbs``: before their upload, while others wait, after the answers); a station is stopped, so that it
is silent but alive; the controller is killed, and stations are killed while another one is being injected. Each
disturbed run is compared with the same scenario in one process, undisturbed: parameters, optimisers and clocks of all
stations, metrics, rates, and books must be equal bit for bit, retransmissions apart.
"""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.results.observer import Quiet

if TYPE_CHECKING:
    from agents import Simulation
    from cellfree_sim.results.analysis import RunData
    from cellfree_sim.scenario.schema import Scenario

ON_REQUEST = True
SEED = 11
APART = 40  # rounds between two failures, with checkpoints between
CHECKPOINT_EVERY = 10
LONGEST_DELAY_S = 0.03  # several rounds
SILENCE_S = 3.0


def run(quick: bool) -> list[dict[str, Any]]:
    """See `cellfree_sim.benchmarks`."""
    from agents.cluster import Cluster

    times = 3 if quick else 20
    each = 1 if quick else 5
    cluster = Cluster(address=None, namespace=f"bench-{os.getpid()}", cpus=16)
    try:
        rows = [
            _case(f"SIGKILL of {name}, at random", count, {}, _Disturber(name, count))
            for name, count in (("sbs-1", times), ("mbs", times), ("controller", each))
        ]
        for action, who in (("fail_sbs", "sbs-1"), ("fail_mbs", "mbs")):
            for moment in ("before", "during", "after"):
                detail = {"station": who, "barrier": moment} if who != "mbs" else moment
                events = [{"at_step": APART * (i + 1), action: detail} for i in range(each)]
                rows.append(_case(f"{who} dies {moment} the barrier", each, {"events": events}, Quiet()))
        rows.append(_case("SIGSTOP of sbs-2, at random", 1, {}, _Disturber("sbs-2", 1, signal.SIGSTOP)))
        injections = [
            {"at_step": APART * (i + 1), "inject_sbs": {"position_m": [5.0 + 2 * i, 90.0]}} for i in range(each)
        ]
        for who in ("sbs-0", "mbs"):
            disturber = _Disturber(who, each, while_preparing=True)
            rows.append(_case(f"SIGKILL of {who}, during an injection", each, {"events": injections}, disturber))
    finally:
        cluster.close()
    return rows


class _Disturber(Quiet):
    """Sends a signal to a process of the run, a random while after it has heard of a step, or of an injection."""

    def __init__(
        self, who: str, times: int, number: signal.Signals = signal.SIGKILL, *, while_preparing: bool = False
    ) -> None:
        self.simulation: Simulation | None = None
        self._who = who
        self._number = number
        self._rng = np.random.default_rng(SEED)
        self._steps = [APART * (i + 1) + int(self._rng.integers(APART // 2)) for i in range(times)]
        self._awaited = {f"sbs-{3 + i}" for i in range(times)} if while_preparing else set()
        if while_preparing:
            self._steps.clear()

    def round(self, metrics: Mapping[str, Any]) -> None:
        """Perhaps now."""
        if self._steps and metrics["phase"] == "training" and metrics["step"] >= self._steps[0]:
            self._steps.pop(0)
            self._strike(LONGEST_DELAY_S)

    def note(self, text: str) -> None:
        """A station is being prepared, or has been: its model, its admission and its validation follow."""
        name, _, news = text.partition(" ")
        if news.startswith("is being prepared") and name in self._awaited:
            self._awaited.discard(name)
            self._strike(2.0)

    def _strike(self, longest_delay_s: float) -> None:
        threading.Timer(float(self._rng.uniform(0, longest_delay_s)), self._send).start()

    def _send(self) -> None:
        pid = self._pid()
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, self._number)

    def _pid(self) -> int:
        assert self.simulation is not None
        engine: Any = self.simulation._engine
        if self._who == "controller":
            return int(engine.controller_pid())
        return int(engine.places().get(self._who, "0").partition(" ")[0])


def _scenario(steps: int, settings: Mapping[str, Any]) -> Scenario:
    from cellfree_sim.scenario.schema import Scenario

    return Scenario.model_validate(
        {
            "name": "failures",
            "seed": 7,
            "network": {"sbs": {"count": 3}, "users": {"count": 4}},
            "radio": {"subcarriers": 2},
            "channel": {
                "model": "rayleigh",
                "realisations": {"train": 40, "validation": 8, "test": 12},
                "cache": False,
            },
            "downlink": {"epochs": steps // 2, "batch": 20, "validate_every_steps": 50, "references": ["gsa-zf"]},
            "placement": {"mbs": {"cpus": 0}, "sbs": {"cpus": 0, "gpus": 0}},
            "checkpoint_every_steps": CHECKPOINT_EVERY,
            "barrier_timeout_s": SILENCE_S,
            **settings,
        }
    )


def _case(name: str, times: int, settings: Mapping[str, Any], observer: Quiet) -> dict[str, Any]:
    """One disturbed run beside an undisturbed one."""
    steps = APART * (times + 2)
    disturbed = _finished(_scenario(steps, settings), "ray", observer)
    calm = [event for event in settings.get("events", []) if not any(key.startswith("fail") for key in event)]
    undisturbed = _finished(_scenario(steps, {"events": calm}), "inline", Quiet())
    summary = disturbed[0].summary
    restarts = [event for event in summary["events"] if event["event"] == "restart"]
    seconds = [event["seconds"] for event in restarts]
    books = summary["backhaul"]
    return {
        "case": name,
        "value": statistics.median(seconds) if seconds else float("nan"),
        "unit": "s to recover",
        "longest": max(seconds, default=float("nan")),
        "failures": times,
        "restarts": len(restarts),
        "rounds repeated": sum(event["at_step"] - event["from_step"] for event in restarts),
        "rounds lost": steps - summary["steps"],
        "frames unaccounted": len(books["unmatched"]),
        "frames sent again": books["retransmissions"]["frames"],
        "equal": _equal(disturbed, undisturbed),
    }


def _finished(scenario: Scenario, engine: str, observer: Quiet) -> tuple[RunData, dict[str, bytes]]:
    from agents import Simulation
    from cellfree_sim.results.checkpoints import Checkpoints

    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "run"
        with Simulation.launch(scenario, engine=engine, out=folder, observer=observer) as simulation:
            if isinstance(observer, _Disturber):
                observer.simulation = simulation
            simulation.advance()
            result = simulation.result()
        saved = Checkpoints(folder / "checkpoints").latest()
        assert saved is not None
        return result, saved.parts


def _equal(left: tuple[RunData, dict[str, bytes]], right: tuple[RunData, dict[str, bytes]]) -> bool:
    """Whether states, metrics, rates and books are equal, bit for bit; wall times and retransmissions apart."""
    books = [{**result.summary["backhaul"], "retransmissions": None} for result, _ in (left, right)]
    tables = [(r.metrics.drop(columns="wall_s"), r.rates) for r, _ in (left, right)]
    same = all(one.equals(other) for one, other in zip(*tables, strict=True))
    return left[1] == right[1] and books[0] == books[1] and same
