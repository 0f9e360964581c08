"""A run that is paused computes nothing, can be changed and stopped, and ends as if it had never paused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from agents import Simulation
from cellfree_sim.results.observer import Quiet
from cellfree_sim.results.runs import run_status

PAUSE, CONTINUE, STOP = ({"command": word} for word in ("pause", "continue", "stop"))
Request = dict[str, Any]
Asking = Callable[[], Iterator[Request | None]]


class Asker:
    """Asks a run, which runs in this process, for what `script` yields: one request, or None, at each look."""

    def __init__(self, simulation: Simulation, script: Callable[[Simulation], Iterator[Request | None]]) -> None:
        self.answers: dict[str, list[dict[str, Any]]] = {}
        self._asked: dict[int, str] = {}
        self._numbers = count()
        self._script = script(simulation)
        engine: Any = simulation._engine
        engine.requests, engine.answer = self._requests, self._answer

    def _requests(self) -> list[tuple[int, Request]]:
        request = next(self._script, None)
        if request is None:
            return []
        number = next(self._numbers)
        self._asked[number] = request["command"]
        return [(number, request)]

    def _answer(self, number: int, reply: dict[str, Any]) -> None:
        self.answers.setdefault(self._asked[number], []).append(reply)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.simulation.LOOK_EVERY_S", 0.0)


def from_step(simulation: Simulation, step: int) -> Iterator[None]:
    while simulation.step < step:
        yield None


def test_a_run_that_was_paused_ends_like_one_that_was_not(
    tiny: Any, launch: Any, play: Any, finish: Any, assert_equal: Any
) -> None:
    seen = []

    def script(simulation: Simulation) -> Iterator[Request | None]:
        yield from from_step(simulation, 5)
        yield PAUSE
        yield PAUSE
        for _ in range(10):
            seen.append((simulation.step, run_status(simulation.folder).status))
            yield None
        yield CONTINUE
        yield CONTINUE
        yield from from_step(simulation, 8)
        yield PAUSE
        yield CONTINUE

    simulation = launch(tiny(), "paused")
    asker = Asker(simulation, script)
    assert_equal(play(tiny()), finish(simulation))
    steps = {step for step, _ in seen}
    assert len(steps) == 1
    assert {status for _, status in seen[2:]} == {"paused"}
    held = {"ok": {"at_step": steps.pop(), "paused": True}}
    assert asker.answers["pause"][:2] == [held, held]
    assert all("ok" in each and each["ok"]["paused"] is False for each in asker.answers["continue"])


def test_bursts_hold_too(tiny: Any, launch: Any, finish: Any, assert_equal: Any) -> None:
    """A run without training has no round boundaries but the ends of windows of bursts."""
    uplink = {"bursts": 48, "snr_db": [5.0], "services": [{"detector": "lmmse"}]}
    scenario = tiny(uplink=uplink, **{"downlink.algorithm": "none"})
    seen: list[int] = []

    def script(simulation: Simulation) -> Iterator[Request | None]:
        while not simulation._bursts.done:
            yield None
        yield PAUSE
        for _ in range(5):
            seen.append(simulation._bursts.done)
            yield None
        yield CONTINUE

    simulation = launch(scenario, "paused")
    asker = Asker(simulation, script)
    paused = finish(simulation)
    assert asker.answers["pause"] == [{"ok": {"at_step": 0, "paused": True}}]
    assert len(set(seen)) == 1
    assert 0 < seen[0] < 48
    assert_equal(finish(launch(scenario, "undisturbed")), paused)


def test_a_paused_run_can_be_changed_stopped_and_resumed(tiny: Any, launch: Any, tmp_path: Path) -> None:
    def script(simulation: Simulation) -> Iterator[Request | None]:
        yield from from_step(simulation, 5)
        yield PAUSE
        yield None
        yield {"command": "inject", "position_m": [40.0, 60.0]}
        yield None
        yield {"command": "remove", "station": "sbs-0"}
        yield {"command": "remove", "station": "sbs-0"}
        yield STOP

    simulation = launch(tiny())
    asker = Asker(simulation, script)
    with pytest.raises(KeyboardInterrupt), simulation:
        simulation.advance()
    held_at = asker.answers["pause"][0]["ok"]["at_step"]
    assert asker.answers["inject"][0]["ok"]["station"] == "sbs-3"
    assert asker.answers["inject"][0]["ok"]["at_step"] == held_at
    assert "ok" in asker.answers["remove"][0] and "error" in asker.answers["remove"][1]
    assert asker.answers["stop"] == [{"ok": {"at_step": held_at}}]
    assert run_status(tmp_path / "run").status == "interrupted"
    with Simulation.resume(tmp_path / "run", observer=Quiet()) as resumed:
        assert resumed.step == held_at
        resumed.advance()
        assert resumed.result().summary["status"] == "done"


def test_ctrl_c_ends_a_pause_with_the_state_saved(
    tiny: Any, launch: Any, play: Any, finish: Any, assert_equal: Any, tmp_path: Path
) -> None:
    def script(simulation: Simulation) -> Iterator[Request | None]:
        yield from from_step(simulation, 5)
        yield PAUSE
        yield None
        raise KeyboardInterrupt

    simulation = launch(tiny())
    Asker(simulation, script)
    with pytest.raises(KeyboardInterrupt), simulation:
        simulation.advance()
    assert run_status(tmp_path / "run").status == "interrupted"
    assert_equal(play(tiny()), finish(Simulation.resume(tmp_path / "run", observer=Quiet())))
