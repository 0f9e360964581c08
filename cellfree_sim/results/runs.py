"""The runs in a folder: which there are, and how each of them is doing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import RunFolderError, UserError
from cellfree_sim.results.files import read_json
from cellfree_sim.results.run_file import RunFile
from cellfree_sim.results.run_folder import DEFAULT_PARENT, RunFolder
from cellfree_sim.scenario.parts import MBS_NAME
from cellfree_sim.scenario.suggest import did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROGRESS = "progress.json"


@dataclass(frozen=True)
class RunStatus:
    """How a run is doing.

    Attributes:
        run: name of its folder.
        status: "running"; "done", "interrupted", "failed" or "stopped"; "vanished" where its process is gone without a
            word, so that only ``cellfree run --resume`` can end it; "silent" where it was asked over a cluster and did
            not answer.
        engine: "ray" or "inline".
        step, steps: training rounds done, and those of the scenario; None before the first.
        burst, bursts: of an uplink: those that are over, and those of the scenario; None where there is none.
        services: its edge services, each with name, ser (so far) and latency_ms (of the last burst, simulated).
        sum_rate: of the last validation or test, bit/s/Hz; None before the first.
        bytes: on the wire so far.
        folder: of the run, on its host.
        pid, host: of the process that drives it, while it runs.
        stations: MBS and SBSs, each with name, status, node, device, pid, cpus and gpus; none before they have joined.
        events: the last things that happened to them, oldest first.
    """

    run: str
    status: str
    engine: str | None
    step: int | None
    steps: int | None
    sum_rate: float | None
    bytes: int | None
    folder: str
    pid: int | None = None
    host: str | None = None
    stations: tuple[Mapping[str, Any], ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()
    burst: int | None = None
    bursts: int | None = None
    services: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def told(cls, info: Mapping[str, Any]) -> RunStatus:
        """The status of a running network as its controller tells it.

        Args:
            info: what progress.json holds, with `run`, `folder` and `host`.
        """
        where = {"run": info["run"], "folder": info["folder"], "host": info["host"], "pid": info.get("pid")}
        return cls(status="running", engine="ray", **where, **_progress(info))

    @property
    def active_stations(self) -> int:
        """How many SBSs take part."""
        return sum(station.get("status") == "active" and station.get("name") != MBS_NAME for station in self.stations)

    def as_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self)


def _progress(told: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `RunStatus` that are in progress.json."""
    facts = {key: told.get(key) for key in ("step", "steps", "sum_rate", "bytes", "burst", "bursts")}
    return facts | {key: tuple(told.get(key) or ()) for key in ("stations", "events", "services")}


def run_status(folder: Path) -> RunStatus:
    """The status of the run in `folder`.

    Raises:
        RunFolderError: no run was recorded there, or a file of it is damaged.
    """
    found = RunFolder.open(folder)
    driver = RunFile.read(found.path)
    summary = found.summary()
    progress = read_json(found.path / PROGRESS)
    if driver is not None:
        status = "running" if driver.alive() else "vanished"
    else:
        status = str(summary.get("status", "vanished"))
    alive = driver if status == "running" else None
    told = _progress({"step": summary.get("steps"), **progress})
    if alive is None:  # the processes are gone; a later one may have the same number
        told["stations"] = tuple({**station, "pid": None} for station in told["stations"])
    return RunStatus(
        **told,
        run=found.path.resolve().name,
        status=status,
        engine=driver.engine if driver else summary.get("engine"),
        folder=str(found.path),
        pid=alive.pid if alive else None,
        host=alive.host if alive else None,
    )


def list_runs(parent: Path = DEFAULT_PARENT) -> list[RunStatus]:
    """All runs in the folder `parent`, oldest first; folders that hold no run are passed over."""
    if not parent.is_dir():
        return []
    found = []
    for folder in parent.iterdir():
        with suppress(RunFolderError, FileNotFoundError):  # a run that was refused takes its folder with it
            if (folder / "run.log").is_file():
                found.append((folder.stat().st_mtime, run_status(folder)))
    return [run for _, run in sorted(found, key=lambda each: each[0])]


def find_run(name: str | None, parent: Path = DEFAULT_PARENT) -> RunStatus:
    """The run called `name`: a folder, or the name of one in `parent`; without a name, the one run that is running.

    Raises:
        UserError: there is none, or more than one.
    """
    if name is None:
        running = [run for run in list_runs(parent) if run.status == "running"]
        if len(running) == 1:
            return running[0]
        what = f"{len(running)} runs are running in {parent}" if running else f"no run is running in {parent}"
        raise UserError(f"{what}; say which{_names(running)}" if running else f"{what}; give the folder of one")
    for folder in (Path(name), parent / name):
        if folder.is_dir():
            return run_status(folder)
    runs = list_runs(parent)
    hint = did_you_mean(name, [run.run for run in runs])
    raise UserError(f"{name}: there is no such run{_names(runs)}{hint}")


def _names(runs: Sequence[RunStatus]) -> str:
    return f"; there are {listed([run.run for run in runs])}" if runs else ""
