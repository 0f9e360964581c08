"""The runs in a folder: which there are, and how each of them is doing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import RunFolderError, UserError
from cellfree_sim.results.files import read_json
from cellfree_sim.results.run_file import RunFile
from cellfree_sim.results.run_folder import DEFAULT_PARENT, RunFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRESS = "progress.json"


@dataclass(frozen=True)
class RunStatus:
    """How a run is doing.

    Attributes:
        run: name of its folder.
        status: "running"; "done", "interrupted", "failed" or "stopped"; "vanished" where its process is gone without a
            word, so that only ``cellfree run --resume`` can end it.
        engine: "ray" or "inline".
        step, steps: training rounds done, and those of the scenario; None before the first.
        sum_rate: of the last validation or test, bit/s/Hz; None before the first.
        bytes: on the wire so far.
        folder: of the run.
        pid, host: of the process that drives it, while it runs.
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

    def as_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self)


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
    return RunStatus(
        run=found.path.resolve().name,
        status=status,
        engine=driver.engine if driver else summary.get("engine"),
        step=progress.get("step", summary.get("steps")),
        steps=progress.get("steps"),
        sum_rate=progress.get("sum_rate"),
        bytes=progress.get("bytes"),
        folder=str(found.path),
        pid=alive.pid if alive else None,
        host=alive.host if alive else None,
    )


def list_runs(parent: Path = DEFAULT_PARENT) -> list[RunStatus]:
    """All runs in the folder `parent`, oldest first; folders that hold no run are passed over."""
    if not parent.is_dir():
        return []
    found = []
    for folder in sorted(parent.iterdir(), key=lambda path: path.stat().st_mtime):
        if (folder / "run.log").is_file():
            try:
                found.append(run_status(folder))
            except RunFolderError:
                continue
    return found


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
    raise UserError(f"{name}: there is no such run{_names(list_runs(parent))}")


def _names(runs: Sequence[RunStatus]) -> str:
    return f"; there are {', '.join(run.run for run in runs)}" if runs else ""
