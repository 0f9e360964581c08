from __future__ import annotations

import json
import math
import stat
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellfree_sim.errors import RunFolderError
from cellfree_sim.results import RunFolder, build_report

NOW = datetime(2026, 5, 4, 14, 30, 15, tzinfo=timezone(timedelta(hours=2)))


def test_default_folder_is_named_after_the_scenario_and_the_utc_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (RunFolder.create(None, "quickstart", NOW) for _ in range(2))
    assert first.path == Path("runs/quickstart-20260504T123015Z")
    assert second.path == Path("runs/quickstart-20260504T123015Z-2")


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="not empty"):
        RunFolder.create(tmp_path, "x", NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


@pytest.mark.parametrize("place", ["file", "file/under"])
def test_a_file_is_refused_as_a_folder(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError) as caught:
        RunFolder.create(tmp_path / place, "x", NOW)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / place) in str(caught.value)


def test_a_name_that_no_file_system_takes_leaves_nothing_behind(tmp_path):
    with pytest.raises(RunFolderError, match="cannot be used as run folder"):
        RunFolder.create(tmp_path / "parent" / ("n" * 300), "x", NOW)
    assert not list(tmp_path.iterdir())


def test_of_two_runs_with_one_empty_folder_the_second_is_refused(tmp_path):
    RunFolder.create(tmp_path, "x", NOW)
    with pytest.raises(RunFolderError):
        RunFolder.create(tmp_path, "x", NOW)


@pytest.mark.parametrize("existed", [True, False])
def test_discard_leaves_things_as_they_were(tmp_path, existed):
    target = tmp_path / "a" / "b"
    if existed:
        target.mkdir(parents=True)
    folder = RunFolder.create(target, "x", NOW)
    folder.write_scenario("name: x\n")
    folder.figures_path.mkdir()
    folder.discard()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == (
        ["a", "a/b"] if existed else []
    )


def test_open_tells_a_run_folder_from_others(tmp_path, run_folder):
    assert RunFolder.open(run_folder.path).summary()["status"] == "done"
    with pytest.raises(RunFolderError, match="no such run folder"):
        RunFolder.open(tmp_path / "nowhere")
    with pytest.raises(RunFolderError, match=r"is no run folder, it has no scenario\.yaml and no run\.log"):
        RunFolder.open(tmp_path)
    with pytest.raises(RunFolderError, match="is a file"):
        RunFolder.open(run_folder.scenario_path)


def test_summary_is_json_that_any_reader_takes(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "x", NOW)
    folder.write_summary(
        {
            "rate": np.float32(0.5),
            "lost": math.nan,
            "far": math.inf,
            "steps": np.int64(3),
            "at": (1.0, 2.0),
            "p": Path("a"),
        }
    )
    text = folder.summary_path.read_text()
    strict = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert strict == {"rate": 0.5, "lost": None, "far": None, "steps": 3, "at": [1.0, 2.0], "p": "a"}
    assert stat.S_IMODE(folder.summary_path.stat().st_mode) & 0o044


def test_a_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    folder = RunFolder.create(tmp_path / "run", "x", NOW)
    folder.write_summary({"status": "running"})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFolderError, match="No space left on device"):
        folder.write_summary({"status": "done"})
    assert folder.summary() == {"status": "running"}
    assert sorted(path.name for path in folder.path.iterdir()) == ["run.log", "summary.json"]


def test_log_lines_are_one_per_event_and_start_with_the_utc_time(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "x", NOW)
    before = datetime.now(UTC).replace(microsecond=0)
    folder.log("first\nline")
    folder.log("second")
    stamps, texts = zip(*(line.split(" ", 1) for line in folder.log_path.read_text().splitlines()), strict=True)
    assert texts == ("first line", "second")
    assert all(stamp.endswith("Z") and datetime.fromisoformat(stamp) >= before for stamp in stamps)


def test_rates_come_back_as_they_were_given(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "x", NOW)
    given = {"dmtssl": np.arange(6.0).reshape(2, 3), "zf": np.arange(6, dtype=np.float32).reshape(2, 3) / 7}
    folder.write_rates(given)
    frame = folder.rates()
    for name, values in given.items():
        own = frame[frame["algorithm"] == name].set_index(["realisation", "user"])["rate"]
        assert own.loc[1, 2] == values[1, 2]
        np.testing.assert_array_equal(own.unstack().to_numpy(), values)


def test_a_folder_without_tables_reads_as_empty_tables(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "x", NOW)
    assert folder.metrics().empty
    assert "path" in folder.backhaul().columns
    assert folder.summary() == folder.topology() == {}


@pytest.mark.parametrize("name", ["metrics", "backhaul", "rates"])
def test_a_damaged_table_is_named_in_one_line(run_folder, name):
    path = run_folder.path / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RunFolderError) as caught:
        getattr(run_folder, name)()
    assert str(caught.value).startswith(f"{path}: is damaged")
    assert "\n" not in str(caught.value)


def test_a_table_of_an_older_version_lacks_what_was_added_since(run_folder):
    path = run_folder.path / "metrics.parquet"
    pd.read_parquet(path).drop(columns="sum_rate_error").to_parquet(path)
    found = run_folder.metrics()
    assert len(found) and found["sum_rate_error"].isna().all()
    assert build_report(run_folder.path).is_file()
    pd.read_parquet(path).drop(columns="step").to_parquet(path)
    with pytest.raises(RunFolderError, match="is damaged, it lacks the column 'step'"):
        run_folder.metrics()


def test_a_table_of_another_kind_is_refused(run_folder):
    pd.DataFrame({"x": [1]}).to_parquet(run_folder.path / "rates.parquet")
    with pytest.raises(RunFolderError, match="is damaged"):
        run_folder.rates()


@pytest.mark.parametrize("text", ["{", "[1]", "\udcff"])
def test_a_damaged_summary_is_named_in_one_line(run_folder, text):
    run_folder.summary_path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RunFolderError, match=r"summary\.json: is damaged"):
        run_folder.summary()
