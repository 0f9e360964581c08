"""All points of a study, as many side by side as the cluster has CPUs."""

from __future__ import annotations

import math
import os
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import ResourceShortError
from cellfree_sim.scenario.sweep import Point
from cellfree_sim.studies.points import Evaluate, Outcome, digest, run_packed, run_point, settled, unpack

if TYPE_CHECKING:
    from agents.packing import Node
    from cellfree_sim.scenario.schema import Scenario

WAIT_FOR_STOP_S = 120.0
POLL_S = 1.0
PATIENCE_S = 5.0  # before a full cluster is spoken of


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
Note = Callable[[str], None]


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


@dataclass(frozen=True)
class Demand:
    """What a point takes from the cluster while it runs, all its stations being in one process."""

    cpus: float
    gpus: float

    @classmethod
    def of(cls, scenario: Scenario) -> Demand:
        """What the station that takes most would take; at least the CPU that the process computes on."""
        shares = (scenario.placement.mbs, scenario.placement.sbs)
        gpus = [float(share.gpus) for share in shares if share.gpus != "auto"]
        return cls(max(1.0, *(share.cpus for share in shares)), max(gpus, default=0.0))

    def __str__(self) -> str:
        return f"CPUs {self.cpus:g}, GPUs {self.gpus:g}"


def run_tasks(
    tasks: Sequence[Task], *, address: str | None = None, tell: Tell | None = None, note: Note | None = None
) -> list[Outcome]:
    """Run what is not settled yet; returns the outcome of each task, in their order.

    Runs are Ray tasks, of one CPU each unless the scenario's placement asks for more, on the cluster at `address` (at
    RAY_ADDRESS where it is None) or on one of this machine's own; a single one, and evaluations, are done in this
    process unless `address` is given. `tell` hears of each point that ends, `note` of what a person should know.

    Raises:
        UserError: the cluster cannot be used, or has no node that is large enough for a point.
        KeyboardInterrupt: points that are done stay done when this is called again.
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
            _run_on_cluster(waiting, address, ended, note)
    except KeyboardInterrupt:
        kept = "what is done stays, the same command goes on; runs with a checkpoint in their folder go on from there"
        raise KeyboardInterrupt(kept) from None
    return [outcomes[task.folder] for task in tasks]


def _run_on_cluster(
    tasks: Sequence[Task], address: str | None, ended: Callable[[Task, Outcome], None], note: Note | None = None
) -> None:
    from agents.cluster import Cluster, cluster_nodes

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    demands = [Demand.of(settled(task.point.scenario)) for task in tasks]
    cpus = min(cores, math.ceil(sum(demand.cpus for demand in demands)))
    parent = tasks[0].folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    mark = parent / f".mark-{uuid.uuid4().hex}"
    mark.touch()
    cluster = None
    try:
        cluster = Cluster(address=address, namespace=f"cellfree-study-{uuid.uuid4().hex[:8]}", cpus=cpus)
        say = note or (lambda _: None)
        if cluster.note:
            say(cluster.note)
        for task, demand in zip(tasks, demands, strict=True):
            check_demand(task.point, demand, cluster_nodes())
        _wait_for_room(demands, cluster_nodes, say)
        _run_as_tasks(tasks, demands, mark, ended)
    finally:
        mark.unlink(missing_ok=True)
        if cluster is not None:
            cluster.close()


def check_demand(point: Point, demand: Demand, nodes: Sequence[Node]) -> None:
    """Refuse a point for which Ray would wait for ever.

    Raises:
        ResourceShortError: no node of the cluster is large enough, even when nothing else runs on it.
    """
    if any(node.alive and node.cpus >= demand.cpus and node.gpus >= demand.gpus for node in nodes):
        return
    found = "; ".join(f"{node.name}: CPUs {node.cpus:g}, GPUs {node.gpus:g}" for node in nodes if node.alive)
    raise ResourceShortError(
        f"point {point.label}: no node has what it asks for by its placement, {demand}; found {found or 'no node'}"
    )


def _wait_for_room(demands: Sequence[Demand], nodes: Callable[[], Sequence[Node]], say: Note) -> None:
    """Say so where not even one point can start for a while; Ray starts it as soon as there is room."""
    until = time.monotonic() + PATIENCE_S
    while not any(
        node.alive and node.free_cpus >= demand.cpus and node.free_gpus >= demand.gpus
        for node in nodes()
        for demand in set(demands)
    ):
        if time.monotonic() >= until:
            say(f"waiting for CPUs: others use the cluster; a point takes {demands[0]}")
            return
        time.sleep(POLL_S)


def _run_as_tasks(
    tasks: Sequence[Task], demands: Sequence[Demand], mark: Path, ended: Callable[[Task, Outcome], None]
) -> None:
    import ray

    remote: Any = ray.remote(run_packed)
    running: dict[Any, Task] = {}
    try:
        for task, demand in zip(tasks, demands, strict=True):
            start = remote.options(num_cpus=demand.cpus, num_gpus=demand.gpus, max_retries=1)
            paths = (str(task.folder.absolute()), str(mark.absolute()))
            content = settled(task.point.scenario).model_dump_json()
            running[start.remote(content, *paths, task.evaluate)] = task
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
    assert isinstance(outcome, Outcome)
    return outcome if content is None else unpack(content, task.folder) or outcome


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
