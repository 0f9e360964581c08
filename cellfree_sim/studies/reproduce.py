"""A study from its name to its files: points, table, figure, verdicts.

``<out>/points/<digest>/``       the runs, shared by all studies below the same folder
``<out>/<study>/<scale>/``       `table.csv`, `table.parquet`, `<figure>.png`, `<figure>.pdf`, `verdict.json`;
                                 `failure.json` where the last attempt failed
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim import __version__
from cellfree_sim.errors import RunFolderError, UserError
from cellfree_sim.results.files import json_safe, read_json, write_atomically, write_json
from cellfree_sim.scenario import expand, find_scenario, read_scenario
from cellfree_sim.scenario.document import Node
from cellfree_sim.scenario.sweep import own_seeds
from cellfree_sim.studies.points import Outcome
from cellfree_sim.studies.results import Results
from cellfree_sim.studies.runner import Note, Task, Tell, run_tasks, tasks_of
from cellfree_sim.studies.study import DEFAULT_OUT, SCALES

if TYPE_CHECKING:
    import pandas as pd

    from cellfree_sim.scenario import Point, ScenarioSource
    from cellfree_sim.studies.study import Study
    from cellfree_sim.studies.verdicts import Verdict

POINTS = "points"
VERDICT = "verdict.json"
FAILURE = "failure.json"


@dataclass(frozen=True)
class Reproduction:
    """What `reproduce` made.

    Attributes:
        results: all points.
        verdicts: one for each claim.
        folder: with the files.
        figure: the PNG file.
        failures: points that are not done, each with the reason.
        departures: in what it is not the study's own, as on the command line: ``--seeds 4``, ``--set a.b=3``.
    """

    results: Results
    verdicts: Sequence[Verdict]
    folder: Path
    figure: Path
    failures: Sequence[str]
    departures: Sequence[str] = ()


def checked_points(source: ScenarioSource, **options: Any) -> list[Point]:
    """`expand`, and for each point the checks that need its stations, links, channel files and events."""
    from cellfree_sim.channel import check_channels
    from cellfree_sim.network import build_network
    from cellfree_sim.network.changes import check_events

    points = expand(source, **options)
    for point in points:
        try:
            network = build_network(point.scenario)
            check_channels(point.scenario)
            check_events(point.scenario, network)
        except UserError as error:
            raise type(error)(f"{source.path}: point {point.label}: {error}") from None
    return points


def run_sweep(
    source: ScenarioSource,
    name: str,
    *,
    scale: str = "quick",
    out: Path = Path(DEFAULT_OUT),
    address: str | None = None,
    seeds: Sequence[int] | None = None,
    overrides: Mapping[str, Any] | None = None,
    study: Study | None = None,
    tell: Tell | None = None,
    note: Note | None = None,
) -> Results:
    """Run the points of a scenario with a sweep that are not settled yet, and write the table.

    Raises:
        UserError: the scenario, a point, the folder or the cluster cannot be used.
        SweepInterrupt: interrupted; calling this again goes on.
    """
    tasks = plan_sweep(source, scale=scale, out=out, seeds=seeds, overrides=overrides, study=study)
    folder = study_folder(out, name, scale)
    _make_folder(folder)
    _make_folder(out / POINTS)
    columns = study.columns if study else None
    try:
        outcomes = run_tasks(tasks, address=address, tell=tell, note=note)
    except KeyboardInterrupt as interrupt:
        so_far = [Outcome.read(task.folder) or Outcome("interrupted", "interrupted") for task in tasks]
        results = Results(name, scale, tasks, so_far, columns)
        write_tables(results.table, folder)
        done = sum(outcome.settled for outcome in so_far)
        raise SweepInterrupt(f"{done} of {len(tasks)} points are done; {interrupt}", results) from None
    results = Results(name, scale, tasks, outcomes, columns)
    write_tables(results.table, folder)
    return results


def plan_sweep(
    source: ScenarioSource,
    *,
    scale: str = "quick",
    out: Path = Path(DEFAULT_OUT),
    seeds: Sequence[int] | None = None,
    overrides: Mapping[str, Any] | None = None,
    study: Study | None = None,
) -> list[Task]:
    """The points that `run_sweep` would run, checked, each with its folder; nothing is run or written."""
    points = checked_points(source, quick=scale == "quick", seeds=seeds, overrides=overrides)
    evaluate = study.evaluate if study else None
    if study is None and points[0].scenario.link is not None:
        from cellfree_sim.studies.links import evaluate
    return tasks_of(points, out / POINTS, evaluate)


class SweepInterrupt(KeyboardInterrupt):
    """A sweep was interrupted; `results` are those of the points that are done, and the table of them is written."""

    def __init__(self, text: str, results: Results) -> None:
        super().__init__(text)
        self.results = results


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"--out: {folder}: cannot be made: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RunFolderError(f"--out: {folder}: cannot be written; allowed: a folder of yours")


def reproduce(study: Study, *, out: Path = Path(DEFAULT_OUT), scale: str = "quick", **options: Any) -> Reproduction:
    """Run a study and write its figure, table and verdicts; `options` are those of `run_sweep`.

    Where they hold seeds or overrides, so do the verdicts, and what comes out is not called the study's own.
    """
    started = time.perf_counter()
    source = read_scenario(find_scenario(study.scenario_name))
    results = run_sweep(source, study.name, scale=scale, out=out, study=study, **options)
    folder = study_folder(out, study.name, scale)
    figure = draw(study, results, folder)
    verdicts = list(study.judge(results))
    departures = _departures(source, scale, results.seeds, options.get("overrides") or {})
    failures = failures_of(results)
    folders = {each.folder: each.outcome for each in results.ended}
    write_json(
        folder / VERDICT,
        {
            "study": study.name,
            "title": study.title,
            "scale": scale,
            "seeds": results.seeds,
            "overrides": _plain(options.get("overrides") or {}),
            "departures": departures,
            "points": len(folders),
            "failed": failures,
            "cpu_seconds": sum(outcome.cpu_seconds for outcome in folders.values()),
            "wall_seconds": time.perf_counter() - started,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": __version__,
            "verdicts": [verdict.as_dict() for verdict in verdicts],
        },
    )
    (folder / FAILURE).unlink(missing_ok=True)
    return Reproduction(results, verdicts, folder, figure, failures, departures)


def leave_failure(study: Study, out: Path, scale: str, error: Exception) -> None:
    """Leave a note in the study's folder that it failed, for the page of all studies."""
    folder = study_folder(out, study.name, scale)
    _make_folder(folder)
    write_json(folder / FAILURE, {"error": str(error), "at": datetime.now(UTC).isoformat(timespec="seconds")})


def failure_of(folder: Path) -> str:
    """Why the last attempt at the study in `folder` failed; empty where it did not."""
    try:
        return str(read_json(folder / FAILURE).get("error", ""))
    except UserError as error:
        return str(error)


def _departures(source: ScenarioSource, scale: str, seeds: Sequence[int], overrides: Mapping[str, Any]) -> list[str]:
    """In what the points are not those of the study at this scale."""
    found = [f"--set {key}={json.dumps(value)}" for key, value in _plain(overrides).items()]
    if set(seeds) != set(own_seeds(source, quick=scale == "quick")):
        found.insert(0, f"--seeds {','.join(map(str, seeds))}")
    return found


def _plain(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides as JSON holds them; on the command line they come with their places."""
    return {key: json_safe(value.plain() if isinstance(value, Node) else value) for key, value in overrides.items()}


def failures_of(results: Results) -> list[str]:
    """Points that are not done, each with the reason."""
    return [f"{each.point.label}: {each.outcome.reason}" for each in results.ended if each.outcome.status != "done"]


def draw(study: Study, results: Results, folder: Path) -> Path:
    """The figure of a study as PNG and PDF; the PNG's path."""
    from cellfree_sim.results.figures import style

    stem = study.name.rpartition("/")[2]
    with style.journal():
        return style.save(study.draw(results), folder, stem)


def study_folder(out: Path, name: str, scale: str) -> Path:
    """Where the files of a study go."""
    return out / name / scale


def last_verdicts(study: Study, out: Path = Path(DEFAULT_OUT)) -> dict[str, dict[str, Any]]:
    """`verdict.json` of a study by scale, as far as there is one below `out`; a damaged one has one key, `damaged`."""
    found = {scale: _read_verdicts(study_folder(out, study.name, scale) / VERDICT) for scale in SCALES}
    return {scale: content for scale, content in found.items() if content}


def _read_verdicts(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except UserError as error:
        return {"damaged": str(error)}
    verdicts = content.get("verdicts", [])
    words = [each.get("verdict") for each in verdicts if isinstance(each, dict)] if isinstance(verdicts, list) else []
    departures = content.get("departures", [])
    whole = isinstance(verdicts, list) and len(words) == len(verdicts) and isinstance(departures, list)
    if content and not (
        whole and "verdicts" in content and all(isinstance(each, str) for each in [*words, *departures])
    ):
        return {"damaged": f"{path}: holds no verdicts"}
    return content


def write_tables(table: pd.DataFrame, folder: Path) -> None:
    """The table as CSV and parquet."""
    import io

    stream = io.BytesIO()
    table.to_parquet(stream, index=False)
    write_atomically(folder / "table.parquet", stream.getvalue())
    write_atomically(folder / "table.csv", table.to_csv(index=False))
