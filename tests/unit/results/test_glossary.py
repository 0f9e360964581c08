"""The words for what a run leaves, held against what runs leave."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents import Simulation
from cellfree_sim.results import glossary, tables
from cellfree_sim.scenario.schema import Scenario

PATTERNS = {key: re.compile(re.escape(key).replace(r"\*", r"[^ ]+") + r"(\[\])*") for key in glossary.SUMMARY}


def paths(value: Any, path: str = "") -> Iterator[str]:
    """The dotted paths of all numbers and words in a summary."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from paths(below, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for below in value:
            yield from paths(below, f"{path}[]")
    else:
        yield path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def leave(scenario: Scenario, folder: Path) -> set[str]:
    """Run it; the paths of its summary."""
    with Simulation.launch(scenario, engine="inline", out=folder) as simulation:
        simulation.advance()
        return set(paths(simulation.result(report=False).summary))


def test_every_key_of_a_summary_has_a_meaning_and_every_meaning_a_key(
    small_scenario: Callable[..., Scenario], folder: Path
) -> None:
    """Of a network that changes, and of services of each family; what only Ray and failures add is left out."""
    service = {"detector": "lmmse", "cooperation": "soft_fusion"}
    sent = {"bursts": 4, "slots": 2, "realisations": 2, "services": [service]}
    joins = {"at_step": 2, "inject_sbs": {"position_m": [70, 70]}}
    quick = {"downlink.epochs": 3, "downlink.loss_scheme": "dual"}
    found = leave(small_scenario(**quick, events=[joins, {"at_step": 4, "remove_sbs": "sbs-0"}]), folder / "changing")
    found |= leave(small_scenario(**{"downlink.algorithm": "none"}, uplink=sent), folder / "mimo")
    for problem, detector in (("noma", "mmse-sic"), ("mmtc", "map-cd")):
        silent = {**sent, "problem": problem, "services": [{"detector": detector}]}
        found |= leave(small_scenario(**{"downlink.algorithm": "none"}, uplink=silent), folder / problem)
    unknown = {path for path in found if not any(pattern.fullmatch(path) for pattern in PATTERNS.values())}
    assert unknown == set()
    unused = {key for key, pattern in PATTERNS.items() if not any(pattern.fullmatch(path) for path in found)}
    elsewhere = {"error", "stations[].node", "stations[].cpus", "stations[].gpus", "backhaul.unmatched[]"}
    assert unused <= elsewhere


@pytest.mark.parametrize("name", list(glossary.TABLES))
def test_every_column_has_a_meaning(name: str) -> None:
    assert list(glossary.TABLES[name]) == list(getattr(tables, name.upper()))


def test_units_are_those_that_names_end_with() -> None:
    """A column or key in seconds says so in its name, and the other way round, but for the summary's whole words."""
    for columns in glossary.TABLES.values():
        for name, meaning in columns.items():
            assert (meaning.unit == "s") == name.endswith("_s"), name
            assert ("bytes" in name) == (meaning.unit == "bytes"), name


def test_every_file_of_a_run_folder_is_named(folder: Path) -> None:
    left = {path.name + ("/" if path.is_dir() else "") for run in folder.iterdir() for path in run.iterdir()}
    assert {"summary.json", "uplink.parquet", "checkpoints/"} < left
    assert left <= set(glossary.FILES)
