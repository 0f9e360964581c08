"""One point of a study: a run in this process, in a folder that is named by what is run.

A point's folder is a run folder without report and checkpoints (they are deleted when it is done), and `point.json`,
which is there as soon as the point is settled: done, or failed in a way that it would fail again.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cellfree_sim import __version__
from cellfree_sim.downlink.trained import find_trained
from cellfree_sim.errors import CellfreeError, RunFailedError, UserError
from cellfree_sim.results.files import read_json, write_json
from cellfree_sim.results.run_file import RunFile

if TYPE_CHECKING:
    from cellfree_sim.scenario.schema import Scenario

Rows = list[dict[str, Any]]
Evaluate = Callable[["Scenario"], Rows]
Status = Literal["done", "diverged", "failed", "interrupted"]
RECORD = "point.json"
DIGEST_BYTES = 12


@dataclass(frozen=True)
class Outcome:
    """How a point ended.

    Attributes:
        status: "diverged" where its training did; it would again.
        reason: why it is not done.
        wall_seconds, cpu_seconds: what it took, over all attempts that this folder knows of.
        rows: of an evaluation that is no run.
    """

    status: Status
    reason: str = ""
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    rows: tuple[dict[str, Any], ...] = ()

    @property
    def settled(self) -> bool:
        """Whether running it again would change nothing."""
        return self.status in ("done", "diverged")

    @classmethod
    def read(cls, folder: Path) -> Outcome | None:
        """What was left in a point's folder; None where it was never settled."""
        found = read_json(folder / RECORD)
        return cls(**{**found, "rows": tuple(found["rows"])}) if found else None

    def write(self, folder: Path) -> None:
        """Leave it in the folder."""
        write_json(folder / RECORD, {**vars(self), "rows": list(self.rows)})


def settled(scenario: Scenario) -> Scenario:
    """The scenario as a point runs it: in one process, on CPUs unless GPUs are demanded, so that every machine gives
    the same numbers; without its name, which changes nothing.
    """
    placement = scenario.placement
    shares = {"mbs": placement.mbs, "sbs": placement.sbs}
    on = {name: share.model_copy(update={"gpus": 0.0}) for name, share in shares.items() if share.gpus == "auto"}
    update = {"name": "point", "engine": "inline", "placement": placement.model_copy(update=on)}
    return scenario.model_copy(update=update)


def digest(scenario: Scenario, kind: str = "") -> str:
    """Name of the folder of a point: of all that decides what comes out of it. `kind` tells evaluations apart."""
    what = settled(scenario).model_dump(mode="json", exclude={"sweep"})
    trained = scenario.downlink.policy.trained
    if trained is not None:  # its file may change under the same name
        what["trained"] = hashlib.blake2b(find_trained(trained).read_bytes(), digest_size=DIGEST_BYTES).hexdigest()
    text = json.dumps({"version": __version__, "kind": kind, "scenario": what}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def run_point(scenario: Scenario, folder: Path, evaluate: Evaluate | None = None) -> Outcome:
    """Run a point in `folder`, or go on with what is there, and say how it ended.

    Raises:
        KeyboardInterrupt: it was interrupted; its state is in the folder.
    """
    before = Outcome.read(folder)
    if before is not None and before.settled:
        return before
    driver = RunFile.read(folder) if folder.is_dir() else None
    if driver is not None and driver.alive():
        where = f"in process {driver.pid} on {driver.host}"
        return Outcome("failed", f"another study runs it now, {where}; when that is done, start this again")
    wall, cpu = time.perf_counter(), time.process_time()
    rows: Rows = []
    status: Status = "done"
    reason = ""
    try:
        if evaluate is not None:
            folder.mkdir(parents=True, exist_ok=True)
            rows = evaluate(scenario)
        else:
            _simulate(scenario, folder)
    except CellfreeError as error:
        diverged = isinstance(error, RunFailedError) and "training diverged" in str(error)
        status, reason = "diverged" if diverged else "failed", " ".join(str(error).split())
    folder.mkdir(parents=True, exist_ok=True)
    outcome = Outcome(status, reason, time.perf_counter() - wall, time.process_time() - cpu, tuple(rows))
    outcome.write(folder)
    if outcome.settled:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return outcome


def _simulate(scenario: Scenario, folder: Path) -> None:
    from agents import Simulation
    from cellfree_sim.results.observer import Quiet

    (folder / RECORD).unlink(missing_ok=True)  # of an attempt that failed
    simulation = None
    if (folder / "checkpoints").is_dir():
        with suppress(UserError):  # no checkpoint is whole
            simulation = Simulation.resume(folder, observer=Quiet())
    if simulation is None:
        if folder.exists():
            shutil.rmtree(folder)
        simulation = Simulation.launch(scenario, out=folder, observer=Quiet())
    with simulation:
        if simulation.step < scenario.steps:
            simulation.advance()
        simulation.result(report=False)


def run_packed(scenario_json: str, path: str, mark: str, evaluate: Evaluate | None) -> tuple[Outcome, bytes | None]:
    """A point on any machine of a cluster.

    Where the file `mark` can be read there, the study's folder is shared and the point runs in it; elsewhere it runs in
    a folder of its own, which comes back as the second value, a tar archive.
    """
    from cellfree_sim.scenario.schema import Scenario

    scenario, folder, marked = Scenario.model_validate_json(scenario_json), Path(path), Path(mark)
    try:
        if marked.is_file():
            return run_point(scenario, folder, evaluate), None
        with tempfile.TemporaryDirectory(prefix="cellfree-point-") as elsewhere:
            there = Path(elsewhere) / folder.name
            outcome = run_point(scenario, there, evaluate)
            return outcome, _pack(there)
    except KeyboardInterrupt:
        return Outcome("interrupted", "interrupted"), None


def unpack(content: bytes, folder: Path) -> None:
    """Put what `run_packed` sent into the point's folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")


def _pack(folder: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for file in sorted(folder.rglob("*")):
            archive.add(file, arcname=str(file.relative_to(folder)), recursive=False)
    return stream.getvalue()
