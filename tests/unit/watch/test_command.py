"""``cellfree watch`` as it is called: on a terminal with a run beside it, as lines, and the exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from watch_support import STATUS, Terminal, plain, wait_until

from cellfree_sim.cli import main
from cellfree_sim.cli.watch.command import status_of
from cellfree_sim.cli.watch.plain import Lines, follow
from cellfree_sim.results.run_file import RunFile
from cellfree_sim.results.runs import RunStatus

ROOT = str(Path(__file__).parents[3])


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cellfree_sim.cli.watch.command.WAIT_FOR_A_RUN_S", 0.0)


def recorded(name: str, driver: RunFile | None = None, **files: Any) -> Path:
    """A run folder below ./runs, as far as who watches looks."""
    folder = Path("runs") / name
    folder.mkdir(parents=True)
    for file in ("scenario.yaml", "run.log"):
        (folder / file).touch()
    for file, content in files.items():
        (folder / f"{file}.json").write_text(json.dumps(content))
    if driver is not None:
        driver.write(folder)
    return folder


@pytest.mark.parametrize(
    ("status", "code"), [("done", 0), ("failed", 1), ("vanished", 1), ("interrupted", 130), ("stopped", 130)]
)
def test_the_exit_status_says_how_a_run_ended(capsys: pytest.CaptureFixture[str], status: str, code: int) -> None:
    summary = {} if status == "vanished" else {"summary": {"status": status}}
    recorded("over", **summary, progress={"step": 7, "steps": 9, "phase": "training"})
    assert main(["watch", "over", "--plain"]) == code
    out, err = capsys.readouterr()
    assert [line[9:] for line in out.splitlines()] == ["step 7/9", f"over ended: {status}"]
    assert err == f"cellfree: over: {status} after step 7\n"


def test_which_run_is_meant_must_be_clear(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "cellfree: no run is running below ./runs; waiting 0 s for it",
        "cellfree: error: no run is running in runs; give the folder of one",
    ]
    for name in ("first", "second"):
        recorded(name, RunFile.of_this_process("inline"))
    assert main(["watch"]) == 2
    assert "2 runs are running in runs; say which; there are first, second" in capsys.readouterr().err
    assert main(["watch", "third"]) == 2
    assert "third: there is no such run; there are first, second" in capsys.readouterr().err
    assert main(["watch", "first", "--every", "soon"]) == 2
    assert "--every: found 'soon'; allowed: seconds from 0.1 to 3600" in capsys.readouterr().err


def test_lines_tell_what_is_new_and_progress_now_and_then() -> None:
    lines = Lines(every_s=5.0)
    started = replace(STATUS, status="starting", phase=None, step=None, events=(), curves={}, links=())
    assert lines.about(started, 0.0) == ["demo starting"]
    channels = replace(started, status="running", phase="channels", channels={"sbs-0": [30, 60], "sbs-1": [60, 60]})
    assert lines.about(channels, 1.0) == ["demo running, channels", "channels 90/120 realisations, 2 stations"]
    trained = replace(STATUS, curves={"training": {"step": [12], "joint_loss": [-3.5]}})
    assert lines.about(trained, 2.0) == ["demo running, training", "event inject_sbs after step 9: station sbs-2"]
    assert lines.about(replace(trained, step=13), 7.0) == [
        "step 13/60: joint loss -3.5, sum rate 21.50 bit/s/Hz, 12.0 MB moved, 4.50 MB/s, most on mbs-sbs-0, "
        "SER 0.0123 ep-fused"
    ]
    validated = {"step": [25], "sum_rate": [22.25], "min_rate_satisfied": [0.9]}
    later = replace(trained, step=25, curves={**trained.curves, "validation": validated})
    assert lines.about(later, 8.0) == ["validation 25/60: sum rate 22.25 bit/s/Hz, 90 % of users meet r_min"]
    assert lines.about(later, 9.0) == []
    ended = lines.about(replace(later, status="done"), 9.5)
    assert [line.partition(":")[0] for line in ended] == ["step 25/60", "demo ended"]


def test_a_run_is_followed_to_its_end_without_a_terminal() -> None:
    class Run:
        """Gets one step further at each look."""

        steps = 0

        def status(self) -> RunStatus:
            self.steps += 1
            return replace(STATUS, step=self.steps, status="running" if self.steps < 5 else "failed")

    out, waits = StringIO(), []
    run: Any = Run()
    last = follow(run, out, 0.1, sleep=waits.append)
    assert (last.status, last.step, len(waits)) == ("failed", 5, 4)
    assert out.getvalue().splitlines()[-1].endswith("demo ended: failed")
    assert status_of(last) == 1


@pytest.fixture
def on_terminal() -> Iterator[Callable[..., tuple[Terminal, subprocess.Popen[bytes]]]]:
    """Start ``cellfree watch`` on a pseudo terminal of its own."""
    terminals: list[Terminal] = []
    processes = []

    def start(*arguments: str, **environment: str) -> tuple[Terminal, subprocess.Popen[bytes]]:
        terminal = Terminal(100, 20)
        terminals.append(terminal)
        process = subprocess.Popen(
            [sys.executable, "-m", "cellfree_sim", "watch", *arguments],
            stdin=terminal.its,
            stdout=terminal.its,
            stderr=terminal.its,
            env={**os.environ, "PYTHONPATH": ROOT, "TERM": "xterm", **environment},
            preexec_fn=terminal.lead,
        )
        processes.append(process)
        return terminal, process

    yield start
    for process in processes:
        process.kill()
        process.wait()
    for terminal in terminals:
        terminal.close()


def test_a_real_run_is_watched_and_stopped_from_a_terminal(
    on_terminal: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "tiny", "--engine", "inline", "--detach", "--set", "downlink.epochs=100000"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    driver = RunFile.read(folder)
    assert driver is not None
    watched = psutil.Process(driver.pid)
    terminal, process = on_terminal()
    terminal.shows("training")
    terminal.type("p")
    terminal.shows("runs on the inline engine, into which no other process can reach")
    terminal.type("sy\r")
    assert process.wait(30) == 130
    watched.wait(30)
    wait_until(lambda: "cellfree run --resume" in terminal.written, lambda: terminal.written)
    left = "\n".join(terminal.left())
    assert f"{folder.name}: interrupted after step" in left
    assert "interrupted" in plain(left)[0]
    assert termios.tcgetattr(terminal.its) == terminal.before


@pytest.mark.parametrize("how", ["ctrl-c", "terminated"])
def test_a_terminal_is_given_back_whatever_ends_the_screen(on_terminal: Any, how: str) -> None:
    recorded("going", RunFile.of_this_process("ray"), progress={"step": 3, "steps": 9, "phase": "training"})
    terminal, process = on_terminal("going", NO_COLOR="1")
    terminal.shows("step 3/9")
    if how == "ctrl-c":
        terminal.type("\x03")
    else:
        process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 130
    assert "cellfree: interrupted; going goes on" in "\n".join(terminal.left())
    assert terminal.written.endswith("\n")
    assert "\x1b[?25h" in terminal.written
    assert "\x1b[3" not in terminal.written, "a colour"
    assert termios.tcgetattr(terminal.its) == terminal.before


def test_what_is_no_terminal_gets_lines(on_terminal: Any) -> None:
    recorded("over", summary={"status": "done"}, progress={"step": 9, "steps": 9})
    terminal, process = on_terminal("over", TERM="dumb")
    assert process.wait(30) == 0
    wait_until(lambda: "over ended: done" in terminal.written, lambda: terminal.written)
    assert "\x1b" not in terminal.written
