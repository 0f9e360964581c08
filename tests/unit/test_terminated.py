"""A run that is told to end, by whatever signal, ends as with Ctrl-C: state saved, books closed, exit status 130."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents import Simulation
from agents.cluster import _own_sigterm
from cellfree_sim.results.checkpoints import Checkpoints
from cellfree_sim.results.observer import Quiet
from cellfree_sim.results.run_folder import RunFolder
from cellfree_sim.results.state import unpack_state
from cellfree_sim.scenario import dump_scenario


@pytest.mark.parametrize(
    ("number", "in_background"), [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGHUP, True)]
)
def test_a_terminated_run_is_an_interrupted_run(
    small_scenario: Any, tmp_path: Path, number: signal.Signals, in_background: bool
) -> None:
    file, out = tmp_path / "small.yaml", tmp_path / "run"
    file.write_text(dump_scenario(small_scenario(**{"downlink.epochs": 100_000})))
    command = [sys.executable, "-m", "cellfree_sim", "run", str(file), "--engine", "inline", "--out", str(out)]
    shell = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"] if in_background else []  # a shell script's `command &`
    heard = partial(signal.signal, number, signal.SIG_DFL)  # nohup has the tests themselves ignore one of them
    process = subprocess.Popen(
        [*shell, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    )
    assert process.stderr is not None
    assert any("validation 10/" in line for line in process.stderr)

    process.send_signal(number)

    _, told = process.communicate(timeout=120)
    assert (process.returncode, told.splitlines()[-1]) == (130, "cellfree: interrupted")
    assert "Traceback" not in told
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["status"], summary["backhaul"]["balanced"]) == ("interrupted", True)
    saved = {json.loads(file.read_text())["step"] for file in out.glob("checkpoints/*/manifest.json")}
    assert max(saved) == summary["steps"] >= 10


def test_impatience_tears_no_round_apart(small_scenario: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C again and again, in a round and while it is saved: all stations stand at one step, no frame is lost."""

    def press_before(owner: object, method: str) -> None:
        call = getattr(owner, method)

        def pressed(*arguments: object) -> object:
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
            return call(*arguments)

        monkeypatch.setattr(owner, method, pressed)

    scenario = small_scenario(**{"downlink.epochs": 100_000})
    with (
        pytest.raises(KeyboardInterrupt),
        Simulation.launch(scenario, engine="inline", out=tmp_path / "run", observer=Quiet()) as simulation,
    ):
        engine: Any = simulation._engine
        simulation.advance(steps=3)
        press_before(engine.stations["sbs-1"], "absorb")
        press_before(engine, "states")
        simulation.advance()

    folder = RunFolder.open(tmp_path / "run")
    saved = Checkpoints(folder.checkpoints_path).latest()
    assert saved is not None
    assert {unpack_state(saved.parts[name])["step"] for name in ("sbs-0", "sbs-1", "sbs-2")} == {4}
    summary = folder.summary()
    assert (summary["status"], summary["steps"], summary["backhaul"]["balanced"]) == ("interrupted", 4, True)
    assert (folder.backhaul().kind == "loss_feedback").sum() == 3 * 4


def test_ray_does_not_take_sigterm_away_from_whoever_handles_it() -> None:
    def mine(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, mine)
    try:
        with _own_sigterm():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as `ray.init` does, with an exit
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
