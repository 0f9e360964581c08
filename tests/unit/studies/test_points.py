"""Points: where they run, what is left of them, and how they go on."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents import Simulation
from cellfree_sim.errors import RunFailedError
from cellfree_sim.results import RunFolder
from cellfree_sim.results.observer import Quiet
from cellfree_sim.results.run_file import RunFile
from cellfree_sim.scenario import Point
from cellfree_sim.scenario.extensions import CHANNEL_MODELS
from cellfree_sim.studies import points as module
from cellfree_sim.studies.points import Outcome, digest, run_packed, run_point, settled, unpack
from cellfree_sim.studies.runner import run_tasks, tasks_of


def rates(folder: Path) -> list[float]:
    found: list[float] = RunFolder(folder).rates()["rate"].tolist()
    assert found
    return found


def test_a_done_point_keeps_its_tables_and_no_checkpoints(points: list[Point], tmp_path: Path) -> None:
    outcome = run_point(settled(points[0].scenario), tmp_path / "a")
    assert outcome.status == "done" and outcome.cpu_seconds > 0
    assert Outcome.read(tmp_path / "a") == outcome
    kept = {file.name for file in (tmp_path / "a").iterdir()}
    assert {"rates.parquet", "metrics.parquet", "summary.json", "scenario.yaml", "point.json"} <= kept
    assert not kept & {"checkpoints", "report.html", "figures"}


def test_a_done_point_is_not_run_again(points: list[Point], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_point(settled(points[0].scenario), tmp_path / "a")
    monkeypatch.setattr(module, "_simulate", lambda *_: pytest.fail("it ran again"))
    assert run_point(settled(points[0].scenario), tmp_path / "a") == first


def test_the_name_of_a_folder_follows_all_that_counts_and_nothing_else(points: list[Point]) -> None:
    scenario = points[0].scenario
    same = scenario.model_copy(update={"name": "other", "engine": "inline"})
    assert digest(same) == digest(scenario)
    assert len({digest(point.scenario) for point in points}) == len(points)
    assert digest(scenario, kind="evaluation") != digest(scenario)


def test_a_half_done_point_goes_on_to_the_undisturbed_result(points: list[Point], tmp_path: Path) -> None:
    scenario = settled(points[0].scenario)
    with Simulation.launch(scenario, out=tmp_path / "half", observer=Quiet()) as simulation:
        simulation.advance(steps=1)
    assert run_point(scenario, tmp_path / "half").status == "done"
    run_point(scenario, tmp_path / "whole")
    assert rates(tmp_path / "half") == rates(tmp_path / "whole")
    assert "resume at step 1" in (tmp_path / "half" / "run.log").read_text()


def test_what_cannot_be_resumed_is_done_anew(points: list[Point], tmp_path: Path) -> None:
    scenario = settled(points[0].scenario)
    (tmp_path / "a" / "checkpoints").mkdir(parents=True)
    (tmp_path / "a" / "rubbish").write_text("x")
    assert run_point(scenario, tmp_path / "a").status == "done"
    assert not (tmp_path / "a" / "rubbish").exists()


def test_a_diverged_point_is_settled_and_says_why(small_scenario: Any, tmp_path: Path) -> None:
    beyond_float32 = {"radio.noise_dbm": -250.0, "network.sbs.power_dbm": 100.0}
    scenario = settled(small_scenario(**{"downlink.policy": "paper", **beyond_float32}))
    outcome = run_point(scenario, tmp_path / "a")
    assert outcome.status == "diverged" and outcome.settled
    assert "training diverged at step" in outcome.reason


def test_a_failed_point_is_tried_again(points: list[Point], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RunFailedError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_simulate", fail)
        outcome = run_point(settled(points[0].scenario), tmp_path / "a")
    assert (outcome.status, outcome.reason, outcome.settled) == ("failed", "the disk is full", False)
    assert run_point(settled(points[0].scenario), tmp_path / "a").status == "done"


def test_a_machine_that_does_not_share_the_folder_sends_it(points: list[Point], tmp_path: Path) -> None:
    text = settled(points[0].scenario).model_dump_json()
    outcome, content = run_packed(text, str(tmp_path / "far"), str(tmp_path / "no-mark"), None)
    assert outcome.status == "done" and content is not None
    assert not (tmp_path / "far").exists()
    unpack(content, tmp_path / "far")
    (tmp_path / "mark").touch()
    near, nothing = run_packed(text, str(tmp_path / "near"), str(tmp_path / "mark"), None)
    assert near.status == "done" and nothing is None
    assert rates(tmp_path / "far") == rates(tmp_path / "near")
    assert Outcome.read(tmp_path / "far") == outcome


def test_an_interruption_leaves_what_is_done_and_the_rest_follows(points: list[Point], tmp_path: Path) -> None:
    def rows(scenario: Any) -> list[dict[str, Any]]:
        return [{"algorithm": "x", "value": scenario.seed}]

    told = []

    def stop(progress: Any) -> None:
        told.append(progress.done)
        if progress.done == 3:
            raise KeyboardInterrupt

    tasks = tasks_of(points, tmp_path, rows)
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        run_tasks(tasks, tell=stop)
    outcomes = run_tasks(tasks, tell=lambda progress: told.append(progress.done))
    assert told == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [outcome.rows[0]["value"] for outcome in outcomes] == [point.seed for point in points]


def test_equal_scenarios_are_run_once(points: list[Point], tmp_path: Path) -> None:
    told = []
    tasks = tasks_of([points[0], points[0]], tmp_path, lambda scenario: [{"algorithm": "x"}])
    outcomes = run_tasks(tasks, tell=told.append)
    assert len(told) == 1 and outcomes[0] == outcomes[1]


def test_a_point_that_another_process_runs_is_left_alone(points: list[Point], tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    RunFile.of_this_process("inline").write(folder)
    (folder / "theirs").touch()
    outcome = run_point(settled(points[0].scenario), folder)
    assert outcome.status == "failed" and "another study runs it now" in outcome.reason
    assert "delete" not in outcome.reason
    assert {file.name for file in folder.iterdir()} == {"run.json", "theirs"}


def test_a_run_of_another_host_is_left_alone_with_a_hint(points: list[Point], tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    replace(RunFile.of_this_process("inline"), host="elsewhere").write(folder)
    outcome = run_point(settled(points[0].scenario), folder)
    assert f"if elsewhere is gone, delete {folder / 'run.json'}" in outcome.reason


def test_a_point_that_another_study_holds_is_neither_run_nor_deleted(points: list[Point], tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "theirs").touch()
    hold = (
        f"import fcntl, sys; f = open({str(folder) + '.lock'!r}, 'a'); fcntl.flock(f, fcntl.LOCK_EX); print(); input()"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        outcome = run_point(settled(points[0].scenario), folder)
        answer = unpack(b"", folder)
        other.communicate(b"\n")
    assert outcome.status == "failed" and "another study runs it now" in outcome.reason
    assert answer == outcome
    assert [file.name for file in folder.iterdir()] == ["theirs"]
    assert run_point(settled(points[0].scenario), folder).status == "done"


@pytest.mark.parametrize("lost", ["summary.json", "rates.parquet"])
def test_a_point_without_its_results_is_run_again(points: list[Point], tmp_path: Path, lost: str) -> None:
    scenario = settled(points[0].scenario)
    run_point(scenario, tmp_path / "a")
    (tmp_path / "a" / lost).unlink()
    assert Outcome.read(tmp_path / "a") is None
    assert run_point(scenario, tmp_path / "a").status == "done"
    assert rates(tmp_path / "a")


@pytest.mark.parametrize("content", ["{", "[]", '{"status": "done"}', '{"status": "done", "rows": [], "x": 1}'])
def test_damaged_records_do_not_stop_a_study(points: list[Point], tmp_path: Path, content: str) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "point.json").write_text(content)
    (folder / "run.json").write_text(content)
    assert Outcome.read(folder) is None
    assert run_point(settled(points[0].scenario), folder).status == "done"


def test_what_arrives_torn_changes_nothing(points: list[Point], tmp_path: Path) -> None:
    text = settled(points[0].scenario).model_dump_json()
    _, content = run_packed(text, str(tmp_path / "a"), str(tmp_path / "no-mark"), None)
    assert content is not None
    outcome = unpack(content[: len(content) // 2], tmp_path / "a")
    assert outcome is not None and outcome.status == "failed" and "cannot be written" in outcome.reason
    assert [file.name for file in tmp_path.iterdir()] == ["a.lock"]


def test_the_name_of_a_folder_follows_what_is_in_a_trace_file(points: list[Point], tmp_path: Path) -> None:
    file = tmp_path / "h.npz"
    file.write_bytes(b"none")
    model = CHANNEL_MODELS.create("trace", path=file, variable="h", axes="RBNTIr")
    scenario = points[0].scenario
    traced = scenario.model_copy(update={"channel": scenario.channel.model_copy(update={"model": model})})
    names = []
    for content in (b"one", b"three", b"one"):
        file.write_bytes(content)
        names.append(digest(traced))
    assert names[0] == names[2] != names[1]
