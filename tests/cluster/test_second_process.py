"""A run in one process, and what other processes do to it: inject, remove, look, stop; as two terminals would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cellfree_sim.results.run_folder import RunFolder
from cellfree_sim.scenario import dump_scenario

ENDLESS = 100_000


def cellfree(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-m", "cellfree_sim", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        timeout=120,
        check=False,
    )


@pytest.fixture
def two_runs(small_scenario: Any, tmp_path: Path) -> Any:
    """Two runs side by side, each with its own cluster; they end with the test."""
    for seed in (7, 8):
        scenario = small_scenario(seed=seed, **{"downlink.epochs": ENDLESS, "network.sbs.names": ["a", "b", "c"]})
        (tmp_path / f"{seed}.yaml").write_text(dump_scenario(scenario))
    started = [cellfree(tmp_path, "run", f"{seed}.yaml", "--detach", "--out", f"runs/{seed}") for seed in (7, 8)]
    assert [process.returncode for process in started] == [0, 0], started
    yield tmp_path
    for seed in (7, 8):
        if (tmp_path / f"runs/{seed}/run.json").exists():
            cellfree(tmp_path, "stop", f"runs/{seed}")


def test_stations_come_and_go_by_another_process(two_runs: Path) -> None:
    refused = cellfree(two_runs, "inject", "--position", "75,75")
    assert refused.returncode == 2
    assert "2 runs are running" in refused.stderr

    came = cellfree(two_runs, "inject", "--position", "75,75", "--name", "d", "--run", "7", "--json")
    assert came.returncode == 0, came.stderr
    record = json.loads(came.stdout)
    assert (record["station"], record["position"], record["nearest"], record["donor"]) == ("d", [75.0, 75.0], "b", "b")

    left = cellfree(two_runs, "remove", "a", "--run", "7", "--json")
    assert left.returncode == 0, left.stderr
    for arguments, fragment in (
        (("inject", "--position", "75,75"), "where station 'd' stands"),
        (("inject", "--position", "10,10", "--name", "a"), "'a', which is removed"),
        (("inject", "--position", "101,10"), "allowed: x in [0, 100]"),
        (("remove", "e"), "there is no station 'e'"),
        (("remove", "mbs"), "macro base station"),
    ):
        refused = cellfree(two_runs, *arguments, "--run", "7")
        assert refused.returncode == 2
        assert fragment in refused.stderr
        assert len(refused.stderr.splitlines()) == 1

    told = json.loads(cellfree(two_runs, "status", "--json").stdout)
    stations = {run["run"]: [station["name"] for station in run["stations"]] for run in told}
    assert stations == {"7": ["mbs", "b", "c", "d"], "8": ["mbs", "a", "b", "c"]}

    for seed in (7, 8):
        assert cellfree(two_runs, "stop", str(seed)).returncode == 0
    summaries = [RunFolder.open(two_runs / f"runs/{seed}").summary() for seed in (7, 8)]
    assert [summary["backhaul"]["balanced"] for summary in summaries] == [True, True]
    assert [event["event"] for event in summaries[0]["events"]] == ["inject_sbs", "remove_sbs"]
    assert summaries[0]["backhaul"]["by_kind"]["model_transfer"] == record["transfer_bytes"]
    assert summaries[1]["events"] == []
    late = cellfree(two_runs, "inject", "--position", "10,10", "--run", "7")
    assert (late.returncode, "it is interrupted" in late.stderr) == (2, True)
