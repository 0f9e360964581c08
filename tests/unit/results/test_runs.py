"""Which runs a folder holds, and what is known of each."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cellfree_sim.errors import RunFolderError, UserError
from cellfree_sim.results.run_file import RunFile
from cellfree_sim.results.runs import RunStatus, find_run, list_runs, run_status

STATIONS = [
    {"name": "mbs", "status": "active", "pid": 1},
    {"name": "sbs-0", "status": "active", "pid": 2},
    {"name": "sbs-1", "status": "isolated", "pid": 3},
    {"name": "sbs-2", "status": "removed", "pid": None},
]


def record(folder: Path, **files: Any) -> Path:
    folder.mkdir(parents=True)
    for file in ("scenario.yaml", "run.log"):
        (folder / file).touch()
    for file, content in files.items():
        (folder / f"{file}.json").write_text(json.dumps(content))
    return folder


def test_what_a_controller_tells_is_what_the_folder_tells(tmp_path: Path) -> None:
    progress = {"step": 4, "steps": 9, "sum_rate": 2.5, "bytes": 77, "stations": STATIONS, "events": [{"event": "x"}]}
    folder = record(tmp_path / "one", progress=progress)
    driver = RunFile.of_this_process("ray")
    driver.write(folder)
    told = RunStatus.told({**progress, "run": "one", "folder": str(folder), "host": driver.host, "pid": driver.pid})
    assert told == run_status(folder)
    assert told.active_stations == 1


def test_processes_that_are_gone_have_no_number(tmp_path: Path) -> None:
    folder = record(tmp_path / "over", progress={"stations": STATIONS}, summary={"status": "done", "steps": 3})
    status = run_status(folder)
    assert (status.step, status.pid) == (3, None)
    assert {station["pid"] for station in status.stations} == {None}


def test_runs_are_listed_by_age_and_others_passed_over(tmp_path: Path) -> None:
    for age, name in enumerate(["c", "a", "b"]):
        os.utime(record(tmp_path / name), (1000 + age, 1000 + age))
    (record(tmp_path / "damaged") / "summary.json").write_text("[")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert [run.run for run in list_runs(tmp_path)] == ["c", "a", "b"]
    assert list_runs(tmp_path / "missing") == []
    with pytest.raises(RunFolderError, match="is damaged, JSON expected"):
        run_status(tmp_path / "damaged")


def test_many_runs_are_one_short_line(tmp_path: Path) -> None:
    for index in range(30):
        record(tmp_path / f"quickstart-{index}")
    with pytest.raises(
        UserError, match=r"there is no such run; there are .* and 14 more; did you mean 'quickstart-7'\?"
    ):
        find_run("quickstat-7", tmp_path)
