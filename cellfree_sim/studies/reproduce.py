"""A study from its name to its files: points, table, figure, verdicts.

``<out>/points/<digest>/``       the runs, shared by all studies below the same folder
``<out>/<study>/<scale>/``       `table.csv`, `table.parquet`, `<figure>.png`, `<figure>.pdf`, `verdict.json`
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim import __version__
from cellfree_sim.errors import UserError
from cellfree_sim.results.files import read_json, write_atomically, write_json
from cellfree_sim.scenario import expand, find_scenario, read_scenario
from cellfree_sim.studies.results import Results
from cellfree_sim.studies.runner import Tell, run_tasks, tasks_of

if TYPE_CHECKING:
    import pandas as pd

    from cellfree_sim.scenario import Point, ScenarioSource
    from cellfree_sim.studies.study import Study
    from cellfree_sim.studies.verdicts import Verdict

DEFAULT_OUT = Path("studies")
POINTS = "points"
VERDICT = "verdict.json"
SCALES = ("quick", "full")


@dataclass(frozen=True)
class Reproduction:
    """What `reproduce` made.

    Attributes:
        results: all points.
        verdicts: one for each claim.
        folder: with the files.
        figure: the PNG file.
        failures: points that are not done, each with the reason.
    """

    results: Results
    verdicts: Sequence[Verdict]
    folder: Path
    figure: Path
    failures: Sequence[str]


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
    out: Path = DEFAULT_OUT,
    address: str | None = None,
    seeds: Sequence[int] | None = None,
    overrides: Mapping[str, Any] | None = None,
    study: Study | None = None,
    tell: Tell | None = None,
) -> Results:
    """Run the points of a scenario with a sweep that are not settled yet, and write the table.

    Raises:
        UserError: the scenario, a point, the folder or the cluster cannot be used.
        KeyboardInterrupt: interrupted; calling this again goes on.
    """
    points = checked_points(source, quick=scale == "quick", seeds=seeds, overrides=overrides)
    folder = study_folder(out, name, scale)
    folder.mkdir(parents=True, exist_ok=True)
    tasks = tasks_of(points, out / POINTS, study.evaluate if study else None)
    outcomes = run_tasks(tasks, address=address, tell=tell)
    results = Results(name, scale, tasks, outcomes, study.columns if study else None)
    write_tables(results.table, folder)
    return results


def reproduce(study: Study, *, out: Path = DEFAULT_OUT, scale: str = "quick", **options: Any) -> Reproduction:
    """Run a study and write its figure, table and verdicts; `options` are those of `run_sweep`."""
    started = time.perf_counter()
    source = read_scenario(find_scenario(study.scenario_name))
    results = run_sweep(source, study.name, scale=scale, out=out, study=study, **options)
    folder = study_folder(out, study.name, scale)
    figure = draw(study, results, folder)
    verdicts = list(study.judge(results))
    failures = [f"{each.point.label}: {each.outcome.reason}" for each in results.ended if each.outcome.status != "done"]
    folders = {each.folder: each.outcome for each in results.ended}
    write_json(
        folder / VERDICT,
        {
            "study": study.name,
            "title": study.title,
            "scale": scale,
            "seeds": results.seeds,
            "points": len(folders),
            "failed": failures,
            "cpu_seconds": sum(outcome.cpu_seconds for outcome in folders.values()),
            "wall_seconds": time.perf_counter() - started,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": __version__,
            "verdicts": [verdict.as_dict() for verdict in verdicts],
        },
    )
    return Reproduction(results, verdicts, folder, figure, failures)


def draw(study: Study, results: Results, folder: Path) -> Path:
    """The figure of a study as PNG and PDF; the PNG's path."""
    from cellfree_sim.results.figures import style

    stem = study.name.rpartition("/")[2]
    with style.journal():
        return style.save(study.draw(results), folder, stem)


def study_folder(out: Path, name: str, scale: str) -> Path:
    """Where the files of a study go."""
    return out / name / scale


def last_verdicts(study: Study, out: Path = DEFAULT_OUT) -> dict[str, dict[str, Any]]:
    """`verdict.json` of a study by scale, as far as there is one below `out`."""
    found = {scale: read_json(study_folder(out, study.name, scale) / VERDICT) for scale in SCALES}
    return {scale: content for scale, content in found.items() if content}


def write_tables(table: pd.DataFrame, folder: Path) -> None:
    """The table as CSV and parquet."""
    import io

    stream = io.BytesIO()
    table.to_parquet(stream, index=False)
    write_atomically(folder / "table.parquet", stream.getvalue())
    write_atomically(folder / "table.csv", table.to_csv(index=False))
