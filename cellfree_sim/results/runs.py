"""The runs in a folder: which there are, and how each of them is doing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field
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
COMPARISON = "comparison.json"
LIVING = ("starting", "running", "paused")
_FACTS = ("step", "steps", "sum_rate", "bytes", "burst", "bursts", "told_at", "simulated_s", "phase", "detail")


@dataclass(frozen=True)
class RunStatus:
    """How a run is doing. What is not known yet, or not any more, is None or empty.

    Attributes:
        run: name of its folder.
        status: "starting", "running" or "paused"; "done", "interrupted", "failed" or "stopped"; "vanished" where its
            process is gone without a word, so that only ``cellfree run --resume`` can end it; "silent" where it was
            asked over a cluster and did not answer.
        engine: "ray" or "inline".
        step, steps: training rounds done, and those of the scenario.
        sum_rate: of the last validation or test, bit/s/Hz.
        bytes: on the wire so far.
        folder: of the run, on its host.
        pid, host: of the process that drives it, while it lives.
        stations: MBS and SBSs, each with name, status, node, device, pid, cpus and gpus; kind ("mbs", "sbs"), x_m and
            y_m; step (of the last round it took part in); sum_rate (the part of it that this station serves, see
            `served_rates`; bit/s/Hz); load (0 to 1, share of the last interval of the simulated clock in which its
            server computed).
        events: the last things that happened to them, oldest first.
        burst, bursts: of an uplink: those that are over, and those of the scenario; None where there is none.
        services: its edge services, each with name, detector, cooperation, ser (so far), latency_ms (of the last burst,
            simulated), latency_p99_ms (of the last thousand bursts), requests and refused.
        told_at: Unix time of this state.
        simulated_s: the simulated clock.
        phase, detail: what the run does, in words for people: "start", "channels", "training", "bursts", "test", …
        channels: realisations made and wanted, by station, while they are made.
        links: of the backhaul, each with the stations a and b, capacity_bps (of each direction), up, and of both
            directions together bytes (so far) and bytes_per_s (wall clock); of the busier direction queue_s (longest
            wait in front of it, simulated) and utilisation (0 to 1, of simulated time). All but bytes are of the last
            interval, of a second or more.
        by_kind: bytes so far, by message kind.
        area_m: width and depth of the area.
        users: count, and positions_m [x, y] of some hundreds of them, evenly chosen.
        curves: columns of the rounds and bursts so far, at most 240 points each: training (step, joint_loss),
            validation (step, sum_rate, min_rate_satisfied), and uplink, by service (burst, ser: of the bursts since the
            point before).
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
    told_at: float | None = None
    simulated_s: float | None = None
    phase: str | None = None
    detail: str | None = None
    channels: Mapping[str, Any] = field(default_factory=dict)
    links: tuple[Mapping[str, Any], ...] = ()
    by_kind: Mapping[str, int] = field(default_factory=dict)
    area_m: tuple[float, ...] = ()
    users: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def told(cls, info: Mapping[str, Any]) -> RunStatus:
        """The status of a running network as its controller tells it.

        Args:
            info: what progress.json holds, with `run`, `folder` and `host`.
        """
        where = {"run": info["run"], "folder": info["folder"], "host": info["host"], "pid": info.get("pid")}
        return cls(status=str(info.get("status", "running")), engine="ray", **where, **_progress(info))

    @property
    def lives(self) -> bool:
        """Whether its process is there and at work, or could be."""
        return self.status in LIVING

    @property
    def active_stations(self) -> int:
        """How many SBSs take part."""
        return sum(station.get("status") == "active" and station.get("name") != MBS_NAME for station in self.stations)

    def as_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self)


def _progress(told: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `RunStatus` that are in progress.json."""
    facts = {key: told.get(key) for key in _FACTS}
    tables = {key: tuple(told.get(key) or ()) for key in ("stations", "events", "services", "links", "area_m")}
    return facts | tables | {key: told.get(key) or {} for key in ("channels", "by_kind", "users", "curves")}


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
        status = _living(driver, progress) if driver.alive() else "vanished"
    else:
        status = str(summary.get("status", "vanished"))
    alive = driver if status in LIVING else None
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


def _living(driver: RunFile, progress: Mapping[str, Any]) -> str:
    if driver.starting:
        return "starting"
    return "paused" if progress.get("status") == "paused" else "running"


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
        running = [run for run in list_runs(parent) if run.lives]
        if len(running) == 1:
            return running[0]
        what = f"{len(running)} runs are running in {parent}" if running else f"no run is running in {parent}"
        raise UserError(f"{what}; say which{_names(running)}" if running else f"{what}; give the folder of one")
    for folder in (Path(name), parent / name):
        if folder.is_dir():
            return run_status(folder)
    if Path(name).exists():
        raise UserError(f"{name}: is a file; allowed: the folder of a run, or its name below {parent}")
    runs = list_runs(parent)
    hint = did_you_mean(name, [run.run for run in runs])
    raise UserError(f"{name}: there is no such run{_names(runs)}{hint}")


def without_comparisons(names: Sequence[str], parent: Path = DEFAULT_PARENT) -> tuple[list[str], list[str]]:
    """Names of runs, and apart from them folders of comparisons: they lie beside runs, so that ``runs/*`` names both.

    One name alone is that of a run.
    """
    found = [name for name in names if any((folder / COMPARISON).is_file() for folder in (Path(name), parent / name))]
    return ([name for name in names if name not in found], found) if len(names) > 1 else (list(names), [])


def _names(runs: Sequence[RunStatus]) -> str:
    return f"; there are {listed([run.run for run in runs])}" if runs else ""
