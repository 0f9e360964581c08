"""Where the processes of a run on Ray look for modules."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agents.cluster import _job


def test_the_working_directory_counts_where_it_does_for_the_driver_and_only_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray puts it before all others: a numpy.py there would be the numpy of all stations."""
    monkeypatch.chdir(tmp_path)
    there = [sys.path[-1], str(tmp_path)]
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    job = _job()
    job._py_driver_sys_path.extend(there)
    assert job._py_driver_sys_path == there[:1]
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # as `python -c` has it, and a notebook
    job = _job()
    job._py_driver_sys_path.extend(there)
    assert job._py_driver_sys_path == there
    assert str(tmp_path).encode() in job._serialize()
