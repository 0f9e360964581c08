"""One point of a study: a run in this process, in a folder that is named by what is run.

A point's folder is a run folder without report and checkpoints (they are deleted when it is done), and `point.json`,
which says how the last attempt ended. Whoever runs a point, or puts its files in place, holds ``<digest>.lock`` beside
the folder, so that studies that share points do not disturb each other.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import shutil
import socket
import tarfile
import tempfile
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cellfree_sim import __version__
from cellfree_sim.downlink.trained import find_trained
from cellfree_sim.errors import CellfreeError, ChannelError, RunFailedError, RunFolderError, UserError
from cellfree_sim.results.files import read_json, write_json
from cellfree_sim.results.run_file import NAME as RUN_FILE
from cellfree_sim.results.run_file import RunFile

if TYPE_CHECKING:
    from cellfree_sim.scenario.schema import Scenario

Rows = list[dict[str, Any]]
Evaluate = Callable[["Scenario"], Rows]
Status = Literal["done", "diverged", "failed", "interrupted"]
RECORD = "point.json"
DIGEST_BYTES = 12
NEEDED, ONE_OF = "summary.json", ("rates.parquet", "uplink.parquet")  # of a run that is done, whatever it simulates
ELSEWHERE = "another study runs it now{where}; when that is done, start this again"


@dataclass(frozen=True)
class Outcome:
    """How a point ended.

    Attributes:
        status: "diverged" where its training did; it would again.
        reason: why it is not done.
        wall_seconds, cpu_seconds: what the last attempt took; interrupted ones before it are not counted.
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
        """What was left in a point's folder; None where nothing was, or where it is damaged or not all there."""
        try:
            found = read_json(folder / RECORD)
            outcome = cls(**{**found, "rows": tuple(found["rows"])})
        except (UserError, KeyError, TypeError):
            return None
        seconds = (outcome.wall_seconds, outcome.cpu_seconds)
        if not all(isinstance(each, int | float) for each in seconds) or not isinstance(outcome.reason, str):
            return None
        if not all(isinstance(row, dict) for row in outcome.rows):
            return None
        there = {name for name in (NEEDED, *ONE_OF) if (folder / name).is_file()}
        whole = outcome.rows or (NEEDED in there and len(there) > 1)
        return outcome if whole or outcome.status != "done" else None

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
    """Name of the folder of a point: of all that decides what comes out of it. `kind` tells evaluations apart.

    The code counts by its version only: who changes it without a new version deletes the points that it changes.
    """
    what = settled(scenario).model_dump(mode="json", exclude={"sweep"})
    what["extensions"] = [[each.module, each.sha256] for each in scenario.extensions]  # wherever their files are
    trained = scenario.downlink.policy.trained
    if trained is not None:  # its file may change under the same name
        what["trained"] = hashlib.blake2b(find_trained(trained).read_bytes(), digest_size=DIGEST_BYTES).hexdigest()
    files = scenario.channel.model.files()
    if files:
        what["files"] = [_content(path) for path in files]
    text = json.dumps({"version": __version__, "kind": kind, "scenario": what}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def _content(path: Path) -> str:
    """Digest of what is in a file; a large one is read once in a process, unless it changes."""
    try:
        found = path.stat()
        return _digest_of(path, found.st_mtime_ns, found.st_size)
    except OSError as error:
        raise ChannelError(f"{path}: cannot be read: {error.strerror or error}") from error


@cache
def _digest_of(path: Path, changed_ns: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).hexdigest()


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Keep other processes from a point; yields False where one of them is there already.

    Raises:
        RunFolderError: the file system cannot lock, or not write.
    """
    path = folder.with_name(f"{folder.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be written: {error.strerror or error}") from error
    with file:  # closing it unlocks it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except BlockingIOError:
            mine = False
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be locked: {error.strerror or error}") from error
        yield mine


@contextmanager
def _unsettled(folder: Path) -> Iterator[Outcome | None]:
    """As `alone`; yields how the point ended, or where it is, and None where it is for the caller to run it."""
    with alone(folder) as mine:
        before = Outcome.read(folder) if mine else Outcome("failed", ELSEWHERE.format(where=""))
        yield before if not mine or (before is not None and before.settled) else None


def run_point(scenario: Scenario, folder: Path, evaluate: Evaluate | None = None) -> Outcome:
    """Run a point in `folder`, or go on with what is there, and say how it ended.

    Raises:
        RunFolderError: the folder cannot be written.
        KeyboardInterrupt: it was interrupted; a run that was training has left a checkpoint in the folder.
    """
    with _unsettled(folder) as before:
        if before is not None:
            return before
        where = _driver(folder)
        if where:
            return Outcome("failed", ELSEWHERE.format(where=f", in {where}"))
        return _attempt(scenario, folder, evaluate)


def _driver(folder: Path) -> str:
    """The process that drives a run in `folder` without being a study's, as far as can be told; empty for none."""
    try:
        driver = RunFile.read(folder)
    except RunFolderError:
        return ""
    if driver is None or not driver.alive():
        return ""
    elsewhere = driver.host != socket.gethostname()
    hint = f" (if {driver.host} is gone, delete {folder / RUN_FILE})" if elsewhere else ""
    return f"process {driver.pid} on {driver.host}{hint}"


def _attempt(scenario: Scenario, folder: Path, evaluate: Evaluate | None) -> Outcome:
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
    if _can_go_on(folder):
        RunFile.remove(folder)  # of a process that is gone, or damaged
        simulation = Simulation.resume(folder, observer=Quiet())
    else:
        if folder.exists():
            shutil.rmtree(folder)
        simulation = Simulation.launch(scenario, out=folder, observer=Quiet())
    with simulation:
        simulation.advance()
        simulation.result(report=False)


def _can_go_on(folder: Path) -> bool:
    """Whether there is a run that is not done, with a checkpoint that is whole."""
    from cellfree_sim.results.checkpoints import Checkpoints
    from cellfree_sim.results.run_folder import RunFolder

    with suppress(UserError):
        found = RunFolder.open(folder)
        return found.summary().get("status") != "done" and Checkpoints(found.checkpoints_path).latest() is not None
    return False


def run_packed(scenario_json: str, path: str, mark: str, evaluate: Evaluate | None) -> tuple[Outcome, bytes | None]:
    """A point on any machine of a cluster.

    Where the file `mark` can be read there, the study's folder is shared and the point runs in it; elsewhere it runs in
    a folder of its own, which comes back as the second value, a tar archive.
    """
    from cellfree_sim.scenario import received_scenario

    scenario, folder, marked = received_scenario(scenario_json), Path(path), Path(mark)
    try:
        if marked.is_file():
            return run_point(scenario, folder, evaluate), None
        with tempfile.TemporaryDirectory(prefix="cellfree-point-") as elsewhere:
            there = Path(elsewhere) / folder.name
            outcome = run_point(scenario, there, evaluate)
            return outcome, _pack(there)
    except KeyboardInterrupt:
        return Outcome("interrupted", "interrupted"), None


def unpack(content: bytes, folder: Path) -> Outcome | None:
    """Put what `run_packed` sent into the point's folder, all of it or nothing.

    Returns:
        None; or how the point ended, or where it is, where another study was quicker.
    """
    with _unsettled(folder) as before:
        if before is not None:
            return before
        beside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
        try:
            beside.mkdir()
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                archive.extractall(beside, filter="data")
            shutil.rmtree(folder, ignore_errors=True)
            beside.rename(folder)
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            return Outcome("failed", f"{folder}: its files cannot be written: {' '.join(str(error).split())}")
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return None


def _pack(folder: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for file in sorted(folder.rglob("*")):
            archive.add(file, arcname=str(file.relative_to(folder)), recursive=False)
    return stream.getvalue()
