"""`cellfree run` as a person runs it: a process of its own, a cluster of its own, Ctrl-C, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from cellfree_sim.results.checkpoints import Checkpoints
from cellfree_sim.results.run_folder import RunFolder
from cellfree_sim.scenario import dump_scenario

TIMEOUT_S = 240


def command(tmp_path: Path, scenario: Any, *arguments: str) -> subprocess.Popen[str]:
    file = tmp_path / "small.yaml"
    file.write_text(dump_scenario(scenario))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, "-m", "cellfree_sim", "run", str(file), "--out", str(tmp_path / "run"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def wait_for_line(process: subprocess.Popen[str], fragment: str) -> list[str]:
    """Lines on stderr up to the one that holds `fragment`."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if fragment in line:
            return seen
    raise AssertionError(f"'{fragment}' never came: {seen}")


def processes_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_ctrl_c_saves_closes_the_books_and_leaves_nothing_running(
    cluster: Any, small_scenario: Any, tmp_path: Path
) -> None:
    import ray

    process = command(tmp_path, small_scenario(**{"downlink.epochs": 100_000}))
    wait_for_line(process, "validation 10/")
    started = processes_of(process)
    assert any("raylet" in child.name() for child in started)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole foreground group
    out, err = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert out == ""
    folder = RunFolder.open(tmp_path / "run")
    summary = folder.summary()
    assert summary["status"] == "interrupted"
    assert summary["backhaul"]["balanced"] is True
    saved = Checkpoints(folder.checkpoints_path).latest()
    assert saved is not None
    assert saved.step == summary["steps"] == folder.metrics().query("phase == 'training'")["step"].max()
    assert set(saved.parts) == {"mbs", "sbs-0", "sbs-1", "sbs-2"}
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []
    assert ray.get(ray.put(1)) == 1  # the other cluster on this machine is untouched


def test_a_run_from_command_to_report(small_scenario: Any, tmp_path: Path) -> None:
    process = command(tmp_path, small_scenario())
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "done"
    assert summary["backhaul"]["balanced"] is True
    assert f"{summary['downlink']['sum_rate']:.2f}" in out
    assert "gsa-zf" in out
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    pids = {int(station["pid"]) for station in summary["stations"]}
    assert len(pids) == 4
    _, alive = psutil.wait_procs([each for each in psutil.process_iter() if each.pid in pids], timeout=30)
    assert alive == []


def test_a_gpu_that_is_not_there_is_one_line(small_scenario: Any, tmp_path: Path) -> None:
    process = command(tmp_path, small_scenario(), "--set", "placement.sbs.gpus=1")
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2
    assert out == ""
    assert err.splitlines()[-1].startswith("cellfree: error: placement asks for 3 GPUs")
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()
