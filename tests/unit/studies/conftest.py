"""A sweep that runs in a second, and its results."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellfree_sim.scenario import Point, expand, read_scenario
from cellfree_sim.studies.results import Results
from cellfree_sim.studies.runner import run_tasks, tasks_of

TINY = """\
name: tiny
network: {sbs: {count: 2, antennas: {rows: 1, columns: 2}}, users: {count: 3}}
radio: {subcarriers: 2, noise_dbm: -60}
channel: {model: rayleigh, realisations: {train: 20, validation: 4, test: 12}, cache: false}
downlink: {epochs: 2, batch: 10, policy: {name: set, width: 8, layers: 1}, references: [gsa-zf]}
checkpoint_every_steps: 1
sweep:
  cases:
    learned: {}
    bare: {downlink.references: [], downlink.loss_scheme: nfl}
  grid: {network.users.count: [3, 4]}
  seeds: [1, 2]
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenario file."""
    file = tmp_path_factory.mktemp("tiny") / "tiny.yaml"
    file.write_text(TINY)
    return file


@pytest.fixture
def points(tiny: Path) -> list[Point]:
    """Its points."""
    return expand(read_scenario(tiny))


@pytest.fixture(scope="session")
def tiny_results(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """All its points, run one after another in this process."""
    tasks = tasks_of(expand(read_scenario(tiny)), tmp_path_factory.mktemp("points"))
    return Results("tiny", "full", tasks, [run_tasks([task])[0] for task in tasks])
