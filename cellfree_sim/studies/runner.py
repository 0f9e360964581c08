"""All points of a study, as many side by side as the cluster has CPUs."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellfree_sim.scenario.sweep import Point
from cellfree_sim.studies.points import Evaluate, Outcome, digest, run_packed, run_point, settled, unpack

WAIT_FOR_STOP_S = 120.0
POLL_S = 1.0


@dataclass(frozen=True)
class Progress:
    """How far a study is.

    Attributes:
        point: that has just ended, and `outcome`, how.
        done, total: points that have ended, those of earlier attempts included.
        seconds_left: guessed from those that ended; None where nothing is known yet.
    """

    point: Point
    outcome: Outcome
    done: int
    total: int
    seconds_left: float | None


Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Task:
    """A point, and its folder."""

    point: Point
    folder: Path
    evaluate: Evaluate | None = None


def tasks_of(points: Sequence[Point], folder: Path, evaluate: Evaluate | None = None) -> list[Task]:
    """Where each point runs below `folder`: equal scenarios share a folder."""
    kind = "" if evaluate is None else f"{evaluate.__module__}.{evaluate.__qualname__}"
    return [Task(point, folder / digest(point.scenario, kind), evaluate) for point in points]


def run_tasks(tasks: Sequence[Task], *, address: str | None = None, tell: Tell | None = None) -> list[Outcome]:
    """Run what is not settled yet; returns the outcome of each task, in their order.

    Runs are Ray tasks of one CPU each, on the cluster at `address` or on one of this machine's own; a single one, and
    evaluations, are done in this process.

    Raises:
        UserError: the cluster cannot be used.
        KeyboardInterrupt: what was running has been saved, and goes on when this is called again.
    """
    found = {task.folder: Outcome.read(task.folder) for task in tasks}
    outcomes = {folder: outcome for folder, outcome in found.items() if outcome is not None and outcome.settled}
    waiting = list({task.folder: task for task in tasks if task.folder not in outcomes}.values())
    pace = _Pace(len(found), len(outcomes), tell)

    def ended(task: Task, outcome: Outcome) -> None:
        outcomes[task.folder] = outcome
        pace.ended(task, outcome)

    in_process = address is None and (len(waiting) < 2 or all(task.evaluate for task in waiting))
    try:
        if in_process:
            for task in waiting:
                ended(task, run_point(settled(task.point.scenario), task.folder, task.evaluate))
        elif waiting:
            _run_on_cluster(waiting, address, ended)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("what was running is saved; the same command goes on") from None
    return [outcomes[task.folder] for task in tasks]


def _run_on_cluster(tasks: Sequence[Task], address: str | None, ended: Callable[[Task, Outcome], None]) -> None:
    from agents.cluster import Cluster

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cpus = min(cores, len(tasks))
    parent = tasks[0].folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    mark = parent / f".mark-{uuid.uuid4().hex}"
    mark.touch()
    cluster = None
    try:
        cluster = Cluster(address=address, namespace=f"cellfree-study-{uuid.uuid4().hex[:8]}", cpus=cpus)
        _run_as_tasks(tasks, mark, ended)
    finally:
        mark.unlink(missing_ok=True)
        if cluster is not None:
            cluster.close()


def _run_as_tasks(tasks: Sequence[Task], mark: Path, ended: Callable[[Task, Outcome], None]) -> None:
    import ray

    remote: Any = ray.remote(run_packed)
    running: dict[Any, Task] = {}
    try:
        for task in tasks:
            scenario = settled(task.point.scenario)
            gpus = scenario.placement.sbs.gpus
            start = remote.options(num_cpus=1, num_gpus=0 if gpus == "auto" else gpus, max_retries=1)
            paths = (str(task.folder.absolute()), str(mark.absolute()))
            running[start.remote(scenario.model_dump_json(), *paths, task.evaluate)] = task
        while running:
            ready, _ = ray.wait(list(running), timeout=POLL_S)
            for reference in ready:
                task = running.pop(reference)
                ended(task, _answer(reference, task))
    except KeyboardInterrupt:
        for reference in running:
            ray.cancel(reference)
        ray.wait(list(running), num_returns=max(len(running), 1), timeout=WAIT_FOR_STOP_S)
        raise


def _answer(reference: Any, task: Task) -> Outcome:
    """What came of a task, whatever became of its process."""
    import ray
    from ray.exceptions import RayError

    try:
        outcome, content = ray.get(reference)
    except RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return Outcome("failed", f"its process failed: {lines[-1] if lines else type(error).__name__}")
    if content is not None:
        unpack(content, task.folder)
    assert isinstance(outcome, Outcome)
    return outcome


class _Pace:
    """Counts what ends, and guesses how long the rest takes."""

    def __init__(self, total: int, done: int, tell: Tell | None) -> None:
        self._total = total
        self._done = self._before = done
        self._tell = tell
        self._started = time.monotonic()

    def ended(self, task: Task, outcome: Outcome) -> None:
        self._done += 1
        if self._tell is not None:
            each = (time.monotonic() - self._started) / (self._done - self._before)
            left = each * (self._total - self._done)
            self._tell(Progress(task.point, outcome, self._done, self._total, left))
