"""Nodes of a cluster are lost in the middle of training: stations move where there is room, or are dropped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("three_nodes.py")


@pytest.mark.slow
def test_a_run_outlives_two_of_its_three_nodes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "run")], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    spread, killed, summary = facts["spread"], facts["killed"], facts["summary"]

    assert len(set(spread.values())) == 3  # SPREAD: a node for each station
    assert killed == [spread["sbs-0"], spread["sbs-1"]]
    moved, dropped = summary["events"]
    assert (moved["event"], moved["stations"]) == ("restart", ["sbs-0"])
    assert (dropped["event"], dropped["stations"]) == ("drop", ["sbs-1"])
    assert "no node" in dropped["reason"]
    assert summary["status"] == "done"
    assert summary["steps"] == 250
    assert summary["backhaul"]["balanced"] is True
    log = (tmp_path / "run" / "run.log").read_text()
    assert "left the cluster" in log
    assert "sbs-0 died: its " in log
    assert [station["name"] for station in summary["stations"]] == ["mbs", "sbs-0"]
