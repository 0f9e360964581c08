"""Runs for TensorBoard: curves over rounds and bursts, the scenario as text and hyperparameters, the figures.

`write_tensorboard` does it for a run that is there, `TensorBoardObserver` while one goes on; both draw the same curves:

    training/joint_loss  training/sum_rate  training/users_at_r_min          over rounds
    validation/sum_rate  validation/users_at_r_min  test/…                   over rounds
    backhaul/bytes       simulated/clock_s  simulated/{compute,queue,transfer}_s
    uplink/<service>/ser  uplink/<service>/latency_ms                        over bursts; the first of all so far
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import UserError
from cellfree_sim.results import tables
from cellfree_sim.results.exports.event_files import PATTERN, EventWriter
from cellfree_sim.results.loading import flat
from cellfree_sim.results.runs import run_status
from cellfree_sim.results.uplink import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pandas as pd

    from cellfree_sim.results.analysis import RunData

POINTS = 1000  # of a curve over bursts, at most
OF_ROUND = {"joint_loss": "joint_loss", "sum_rate": "sum_rate", "min_rate_satisfied": "users_at_r_min"}
OF_TIME = {"simulated_s": "clock_s", "compute_s": "compute_s", "queue_s": "queue_s", "transfer_s": "transfer_s"}


def curves_of_round(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Names and values that a row of metrics.parquet adds to.

    >>> list(curves_of_round({"phase": "validation", "step": 20, "sum_rate": 21.5, "min_rate_satisfied": 0.9}))
    [('validation/sum_rate', 21.5), ('validation/users_at_r_min', 0.9)]
    """
    for column, name in OF_ROUND.items():
        if row.get(column) is not None:
            yield f"{row['phase']}/{name}", row[column]
    if row["phase"] == "training":
        yield "backhaul/bytes", row["bytes"]
        for column, name in OF_TIME.items():
            yield f"simulated/{name}", row[column]


def write_tensorboard(run: RunData, folder: Path) -> Path:
    """Write the event file of a run into `folder`, in the place of those that this function has left there.

    Raises:
        UserError: TensorBoard is not installed, or the run goes on and writes there itself.
        RunFolderError: the run folder is damaged, or `folder` cannot be written.
    """
    if any(folder.glob(PATTERN)) and run_status(run.folder).status == "running":
        raise UserError(f"{run.folder}: goes on, and may be writing to {folder}; wait for its end, or choose --out")
    writer = _writer_with_all(run, folder)
    last = int(run.metrics["step"].max()) if len(run.metrics) else 0
    for figure in sorted(run.files.figures_path.glob("*.png")):
        writer.image(f"figures/{figure.stem}", figure.read_bytes(), last, started_at(run))
    writer.close()
    return folder


def _writer_with_all(run: RunData, folder: Path) -> EventWriter:
    """The only event file of ours in `folder`, with all that a run has recorded so far."""
    before = list(folder.glob(PATTERN))
    writer = EventWriter(folder)
    for file in before:
        file.unlink()
    began_s = started_at(run)
    settings = flat(run.scenario) | {"algorithm": run.algorithm}
    writer.settings(settings, ["validation/sum_rate", "training/joint_loss"], began_s)
    writer.text("scenario", as_code(run.scenario_text), wall_s=began_s)
    for row in tables.records(run.metrics):
        for tag, value in curves_of_round(row):
            writer.scalar(tag, value, int(row["step"]), began_s + row["wall_s"])
    for service, rows in run.uplink.groupby("service", sort=False):
        for tag, burst, value in _curves_of_bursts(f"uplink/{service}", rows):
            writer.scalar(tag, value, burst, began_s)
    writer.flush()
    return writer


def started_at(run: RunData) -> float:
    """When a run began, Unix time: the first line of its log."""
    with run.files.log_path.open(encoding="utf-8") as log:
        stamp = log.readline().partition(" ")[0]
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return run.files.scenario_path.stat().st_mtime


def as_code(text: str) -> str:
    """Text as a block of code in Markdown."""
    return "".join(f"    {line}\n" for line in text.splitlines())


def _curves_of_bursts(name: str, rows: pd.DataFrame) -> Iterator[tuple[str, int, float]]:
    """Error rates of all bursts so far, at each SNR too where there are several, and the latency of each burst."""
    levels = sorted(rows["snr_db"].dropna().unique())
    kinds = [("", rows)]
    kinds += [(f"_at_{level:g}_dB", rows[rows["snr_db"] == level]) for level in levels] if len(levels) > 1 else []
    for suffix, own in kinds:
        every = -(-len(own) // POINTS)
        kept = [*range(every - 1, len(own) - 1, every), len(own) - 1]
        bursts = own["burst"].to_numpy()[kept]
        for metric, (errors, trials) in METRICS.items():
            if own[trials].sum():
                wrong, all_of_them = own[errors].cumsum().to_numpy()[kept], own[trials].cumsum().to_numpy()[kept]
                for burst, error, trial in zip(bursts, wrong, all_of_them, strict=True):
                    if trial:
                        yield f"{name}/{metric}{suffix}", int(burst), float(error / trial)
        if not suffix:
            for burst, latency_s in zip(bursts, own["latency_s"].to_numpy()[kept], strict=True):
                yield f"{name}/latency_ms", int(burst), 1e3 * float(latency_s)


class TensorBoardObserver:
    """Writes the curves of a run while it goes on; see `cellfree_sim.results.observer.Observer`.

    Args:
        folder: where the event file goes, in the place of those of ours that are there.
        run: what it has recorded so far is written first: its scenario, and where it was resumed, the rounds before.
    """

    FLUSH_EVERY = 20  # rounds

    def __init__(self, folder: Path, run: RunData) -> None:
        """UserError where TensorBoard is not installed."""
        self._writer = _writer_with_all(run, folder)
        self._rounds = 0

    def phase(self, name: str, detail: str = "") -> None:
        """Ignored."""

    def channels(self, station: str, done: int, total: int) -> None:
        """Ignored."""

    def round(self, metrics: Mapping[str, Any]) -> None:
        """Points of its curves."""
        for tag, value in curves_of_round(metrics):
            self._writer.scalar(tag, value, int(metrics["step"]))
        self._rounds += 1
        if self._rounds % self.FLUSH_EVERY == 0 or metrics["phase"] != "training":
            self._writer.flush()

    def bursts(self, progress: Mapping[str, Any]) -> None:
        """Points of the curves of its services."""
        for service in progress["services"]:
            for name in ("ser", "latency_ms"):
                self._writer.scalar(f"uplink/{service['name']}/{name}", service.get(name), int(progress["burst"]) - 1)
        self._writer.flush()

    def note(self, text: str) -> None:
        """Ignored."""

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
