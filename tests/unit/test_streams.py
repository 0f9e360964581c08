"""stdout belongs to results, and may be closed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cellfree_sim.cli import main
from cellfree_sim.results.observer import Quiet
from cellfree_sim.scenario import dump_scenario


def test_closed_stdout_is_no_error() -> None:
    command = f'exec "{sys.executable}" -m cellfree_sim scenarios list >&-'
    ended = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_what_others_print_during_a_run_does_not_mix_with_results(
    small_scenario: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unrendered: None,
) -> None:
    """As Ray's listener does when a worker dies."""
    monkeypatch.setattr(Quiet, "round", lambda self, metrics: sys.stdout.write("(raylet) a worker died\n"))
    file = tmp_path / "small.yaml"
    file.write_text(dump_scenario(small_scenario(**{"downlink.epochs": 1})))
    with contextlib.chdir(tmp_path):
        assert main(["run", str(file), "--engine", "inline", "--quiet"]) == 0
    told = capsys.readouterr()
    assert "raylet" not in told.out
    assert told.out.startswith("small: ")
    assert "(raylet) a worker died" in told.err
