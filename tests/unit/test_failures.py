"""Runs that are disturbed, stopped, killed and damaged end like runs that are not; on the inline engine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import finish

from agents import Simulation
from cellfree_sim.errors import RunFailedError, StationLostError, UserError
from cellfree_sim.results.analysis import RunData
from cellfree_sim.results.observer import Quiet
from cellfree_sim.results.run_file import RunFile

WALL_TIMES = ["wall_s"]


def launch(scenario: Any, out: Path) -> Simulation:
    return Simulation.launch(scenario, engine="inline", out=out, observer=Quiet())


def assert_same(left: tuple[RunData, dict[str, bytes]], right: tuple[RunData, dict[str, bytes]]) -> None:
    """Equal parameters, metrics, rates, frames and books, bit for bit; retransmissions apart."""
    assert left[1] == right[1]
    for table, order in (("metrics", []), ("rates", []), ("backhaul", ["sender", "sequence"])):
        frames = [getattr(result, table).drop(columns=WALL_TIMES, errors="ignore") for result, _ in (left, right)]
        one, other = (frame.sort_values(order, ignore_index=True) if order else frame for frame in frames)
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    books = [{**result.summary["backhaul"], "retransmissions": None} for result, _ in (left, right)]
    assert books[0] == books[1]
    assert books[0]["balanced"] is True


@pytest.fixture(scope="module")
def scenario(small_scenario: Any) -> Any:
    return small_scenario(checkpoint_every_steps=4)


@pytest.fixture(scope="module")
def undisturbed(scenario: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunData, dict[str, bytes]]:
    return finish(launch(scenario, tmp_path_factory.mktemp("undisturbed") / "run"))


@pytest.mark.parametrize("barrier", ["before", "during", "after"])
@pytest.mark.parametrize("station", ["sbs-1", "mbs"])
def test_a_station_that_dies_changes_nothing(
    scenario: Any, undisturbed: tuple[RunData, dict[str, bytes]], tmp_path: Path, station: str, barrier: Any
) -> None:
    """Three deaths at seeded random rounds; each rolls all stations back to the last checkpoint."""
    rng = np.random.default_rng(5)
    deaths = sorted(int(step) for step in rng.choice(np.arange(1, 20), 3, replace=False))
    simulation = launch(scenario, tmp_path / "disturbed")
    engine: Any = simulation._engine
    add_rounds = simulation._on_rows

    def kill_at(rows: list[dict[str, Any]]) -> None:
        add_rounds(rows)
        if deaths and any(row["step"] == deaths[0] and row["phase"] == "training" for row in rows):
            deaths.pop(0)
            engine.fail(station, barrier)

    simulation._on_rows = kill_at  # type: ignore[method-assign]
    disturbed = finish(simulation)
    assert deaths == []
    assert_same(disturbed, undisturbed)
    events = disturbed[0].summary["events"]
    assert [event["event"] for event in events] == ["restart"] * 3
    assert all(event["from_step"] % 4 == 0 and event["from_step"] <= event["at_step"] for event in events)
    assert disturbed[0].summary["backhaul"]["retransmissions"]["frames"] > 0
    assert undisturbed[0].summary["backhaul"]["retransmissions"]["frames"] == 0


def test_a_run_knows_how_long_it_took(scenario: Any, run_folder: Path) -> None:
    began = time.perf_counter()
    result, _ = finish(launch(scenario, run_folder))
    assert 0 < result.summary["wall_seconds"] < time.perf_counter() - began


def test_a_station_that_dies_ends_the_run_where_it_shall(small_scenario: Any, run_folder: Path) -> None:
    scenario = small_scenario(on_failure="abort")
    with pytest.raises(StationLostError, match="sbs-0 died"), launch(scenario, run_folder) as simulation:
        simulation.advance(3)
        simulation._engine.fail("sbs-0", "before")
        simulation.advance()


def test_a_station_that_always_dies_is_given_up(scenario: Any, run_folder: Path) -> None:
    simulation = launch(scenario, run_folder)
    engine: Any = simulation._engine
    advance = engine.advance

    def die_and_advance(*arguments: Any) -> int:
        engine.fail("sbs-2", "before")
        return int(advance(*arguments))

    engine.advance = die_and_advance
    with pytest.raises(RunFailedError, match="sbs-2 died; given up after 3 restarts"), simulation:
        simulation.advance()


def test_an_interrupted_run_goes_on_to_the_same_result(
    scenario: Any, undisturbed: tuple[RunData, dict[str, bytes]], tmp_path: Path
) -> None:
    folder = tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt), launch(scenario, folder) as simulation:
        simulation.advance(6)
        raise KeyboardInterrupt
    assert_same(finish(Simulation.resume(folder, observer=Quiet())), undisturbed)


def test_a_run_that_vanished_goes_on_from_its_last_checkpoint(
    scenario: Any, undisturbed: tuple[RunData, dict[str, bytes]], tmp_path: Path
) -> None:
    """No close, no summary: what is on the disk after SIGKILL of everything, rounds after the checkpoint included."""
    folder = tmp_path / "vanished"
    with launch(scenario, tmp_path / "alive") as simulation:
        simulation.advance(6)
        simulation._engine.advance(7, simulation._on_rows)
        simulation._journal._metrics.append({"phase": "training", "step": 7})
        simulation._journal._metrics.flush()
        shutil.copytree(simulation.folder, folder)
        with pytest.raises(UserError, match=f"still going, driven by process {os.getpid()} on"):
            Simulation.resume(simulation.folder, observer=Quiet())
    assert (folder / "run.json").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "alive" / "run.json").exists()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    RunFile(gone.pid, 0.0, socket.gethostname(), "inline").write(folder)
    assert_same(finish(Simulation.resume(folder, observer=Quiet())), undisturbed)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    scenario: Any, undisturbed: tuple[RunData, dict[str, bytes]], tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    with launch(scenario, folder) as simulation:
        simulation.advance(8)
    newest = max((folder / "checkpoints").iterdir())
    assert newest.name == "step-00000008"
    (newest / "sbs-1.state").write_bytes(b"damaged")
    resumed = Simulation.resume(folder, observer=Quiet())
    assert resumed.step == 4
    assert "passed over" in (folder / "run.log").read_text()
    assert_same(finish(resumed), undisturbed)


def test_what_cannot_be_resumed_is_one_line(scenario: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such run folder"):
        Simulation.resume(tmp_path / "nowhere", observer=Quiet())
    done = tmp_path / "done"
    finish(launch(scenario, done))
    with pytest.raises(UserError, match="this run is done"):
        Simulation.resume(done, observer=Quiet())
    early = tmp_path / "early"
    launch(scenario, early).close()
    for checkpoint in (early / "checkpoints").iterdir():
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    with pytest.raises(UserError, match="no checkpoint to resume from"):
        Simulation.resume(early, observer=Quiet())
