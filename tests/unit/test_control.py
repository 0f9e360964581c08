"""Runs apart from the terminal: started, looked at and stopped through the command line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from cellfree_sim.cli import main
from cellfree_sim.control import python_module
from cellfree_sim.envoy import Envoy
from cellfree_sim.errors import RunFailedError
from cellfree_sim.results.run_file import RunFile
from cellfree_sim.results.runs import list_runs

ROOT = str(Path(__file__).parents[2])


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def recorded(name: str, driver: RunFile | None = None, **files: Any) -> Path:
    """A run folder below ./runs, as far as `cellfree status` looks."""
    folder = Path("runs") / name
    folder.mkdir(parents=True)
    for file in ("scenario.yaml", "run.log"):
        (folder / file).touch()
    for file, content in files.items():
        (folder / f"{file}.json").write_text(json.dumps(content))
    if driver is not None:
        driver.write(folder)
    return folder


def dead_process() -> int:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return gone.pid


def test_a_detached_run_is_found_and_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "tiny", "--engine", "inline", "--detach", "--set", "downlink.epochs=100000"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert main(["status", "--json"]) == 0
    (status,) = json.loads(capsys.readouterr().out)
    assert status["status"] == "running"
    assert status["folder"] == str(folder)
    process = psutil.Process(status["pid"])
    assert process.pid != psutil.Process().pid
    assert main(["run", "--resume", str(folder)]) == 2
    assert f"still going, driven by process {process.pid}" in capsys.readouterr().err
    assert main(["stop"]) == 0
    assert f"{folder.name}: interrupted after step" in capsys.readouterr().out
    assert not process.is_running()
    assert not (folder / "run.json").exists()
    assert main(["stop", folder.name]) == 2
    assert "is not running, it is interrupted" in capsys.readouterr().err


def test_a_detached_run_that_is_refused_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "tiny", "--engine", "ray", "--detach", "--address", "127.0.0.1:1", "--out", "there"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("cellfree: error: --address 127.0.0.1:1: no Ray cluster answers there")
    assert len(err.splitlines()) == 1
    assert not Path("there").exists()


def test_a_run_is_over_when_its_process_is_whoever_looks_after_that(capsys: pytest.CaptureFixture[str]) -> None:
    """In a container, the first process may never ask how others ended: they stay on the list."""
    parent = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as careless:
        assert careless.stdout is not None
        run = psutil.Process(int(careless.stdout.readline()))
        driver = RunFile(run.pid, run.create_time(), socket.gethostname(), "inline")
        recorded("late", driver, progress={"step": 3})
        assert driver.alive()
        assert main(["stop", "late"]) == 0
        assert run.status() == psutil.STATUS_ZOMBIE
        assert not driver.alive()
        careless.kill()
    assert "late: vanished" in capsys.readouterr().out


def test_each_run_has_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    recorded("a-done", summary={"status": "done", "steps": 7, "engine": "ray"}, progress={"step": 7, "steps": 7})
    recorded("b-alive", RunFile.of_this_process("inline"), progress={"step": 3, "steps": 9, "sum_rate": 1.25})
    recorded("c-vanished", RunFile(dead_process(), 0.0, socket.gethostname(), "ray"))
    (Path("runs") / "no-run").mkdir()
    found = {run.run: (run.status, run.engine, run.step, run.steps, run.sum_rate) for run in list_runs()}
    assert found == {
        "a-done": ("done", "ray", 7, 7, None),
        "b-alive": ("running", "inline", 3, 9, 1.25),
        "c-vanished": ("vanished", "ray", None, None, None),
    }
    assert main(["status"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 4
    assert "3/9" in next(line for line in shown if line.startswith("b-alive"))


def test_which_run_is_meant_must_be_clear(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("first", "second"):
        recorded(name, RunFile.of_this_process("inline"))
    assert main(["stop"]) == 2
    assert "2 runs are running in runs; say which; there are first, second" in capsys.readouterr().err
    recorded("far", RunFile(1, 0.0, "another-machine", "ray"))
    assert main(["stop", "far"]) == 2
    assert "far: runs on another-machine, on a cluster that only that machine reaches" in capsys.readouterr().err
    assert main(["status", "--run", "third"]) == 2
    assert "third: there is no such run; there are" in capsys.readouterr().err


def test_a_damaged_run_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    folder = recorded("damaged")
    (folder / "run.json").write_text("{")
    assert main(["status", "--run", "damaged"]) == 2
    err = capsys.readouterr().err
    assert "run.json: is no run file" in err
    assert len(err.splitlines()) == 1


STATIONS = [
    {"name": "mbs", "status": "active", "node": "here", "device": "cpu", "pid": 11, "cpus": 1, "gpus": 0},
    {"name": "sbs-0", "status": "active", "node": "here", "device": "cuda", "pid": 12, "cpus": 0.5, "gpus": 0.5},
    {"name": "sbs-1", "status": "removed", "node": "", "device": "", "pid": None, "cpus": None, "gpus": None},
]
EVENTS = [{"event": "removed", "at_step": 3, "station": "sbs-1", "sum_rate_after": 1.23456}]


def test_one_run_shows_its_stations_and_events(capsys: pytest.CaptureFixture[str]) -> None:
    told = {"step": 3, "steps": 9, "stations": STATIONS, "events": EVENTS}
    recorded("alive", RunFile.of_this_process("ray"), progress=told)
    assert main(["status", "--run", "alive"]) == 0
    overview, stations, events = capsys.readouterr().out.split("\n\n")
    assert overview.splitlines()[1].split()[:5] == ["alive", "running", "ray", "3/9", "1"]
    assert [line.split() for line in stations.splitlines()] == [
        ["station", "status", "node", "device", "cpus", "gpus", "pid"],
        ["mbs", "active", "here", "cpu", "1", "0", "11"],
        ["sbs-0", "active", "here", "cuda", "0.5", "0.5", "12"],
        ["sbs-1", "removed"],
    ]
    assert events.splitlines()[1].split(maxsplit=2) == ["3", "removed", "station sbs-1, sum_rate_after 1.235"]
    assert main(["status", "--json"]) == 0
    (status,) = json.loads(capsys.readouterr().out)
    assert (status["stations"], status["events"]) == (STATIONS, EVENTS)


@pytest.mark.parametrize("command", ["inject --position 1,2", "remove sbs-1"])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("done", "done: is not running, it is done"),
        ("vanished", "vanished: is not running, it vanished; go on with: cellfree run --resume runs/vanished"),
        ("inline", "inline: runs on the inline engine, into which no other process can reach; plan the change"),
        ("far", "far: runs on another-machine, on a cluster that only that machine reaches; do this there"),
    ],
)
def test_what_cannot_be_changed_says_why(
    command: str, name: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded("done", summary={"status": "done", "steps": 7, "engine": "ray"})
    recorded("vanished", RunFile(dead_process(), 0.0, socket.gethostname(), "ray"))
    recorded("inline", RunFile.of_this_process("inline"))
    recorded("far", RunFile(1, 0.0, "another-machine", "ray", address="127.0.0.1:6379"))
    assert main([*command.split(), "--run", name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert len(err.splitlines()) == 1


def test_a_cluster_that_is_gone_is_one_line() -> None:
    """In a process of its own: this one may be connected to a cluster already."""
    recorded("gone", RunFile.of_this_process("ray", address="127.0.0.1:1", namespace="cellfree-gone-0"))
    command = [sys.executable, "-m", "cellfree_sim", "inject", "--position", "1,2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ROOT})
    assert (done.returncode, done.stdout) == (2, "")
    assert "127.0.0.1:1: " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_processes_of_this_project_import_nothing_from_where_they_are_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m` would: somebody's json.py or agents.py in the folder of their scenarios."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    (tmp_path / "json.py").write_text("raise SystemExit(7)")
    command = [*python_module("cellfree_sim"), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ROOT})
    assert (done.returncode, done.stderr) == (0, "")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "-P" not in python_module("cellfree_sim")  # what is imported here is imported there


def test_who_waits_hears_of_the_end_of_a_process_that_is_killed_while_it_speaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speaks = 'import os, sys; sys.stdin.readline(); os.write(int(sys.argv[1]), b\'{"number": 0, "o\')'
    monkeypatch.setattr("cellfree_sim.envoy.python_module", lambda name: [sys.executable, "-c", speaks])
    envoy = Envoy("a-run", None)
    waiting = envoy.post({"command": "pause"})
    with pytest.raises(RunFailedError, match="the run ended before it answered"):
        waiting.result(20)
    envoy.close()
