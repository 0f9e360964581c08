"""The tables of runs as CSV, for spreadsheets and other languages; the first column of each names the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import RunFolderError
from cellfree_sim.results import tables
from cellfree_sim.results.loading import RUN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

    from cellfree_sim.results.loading import Runs

LONG = {
    "metrics": tables.METRICS,
    "backhaul": tables.BACKHAUL,
    "uplink": tables.UPLINK,
    "rates": tables.RATES,
}


def write_csv(runs: Runs, folder: Path) -> Path:
    """Write every table that has rows as ``<table>.csv``; and ``summary``, ``scenario`` (a row per run) and ``events``.

    Raises:
        RunFolderError: a run folder is damaged, or `folder` cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in LONG:
            _write(folder / f"{name}.csv", _parts(runs, name))
        for name in ("summary", "scenario", "events"):
            _write(folder / f"{name}.csv", iter([getattr(runs, name)]))
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return folder


def _parts(runs: Runs, name: str) -> Iterator[pd.DataFrame]:
    """A table of all runs in parts, so that the longest one need not fit into memory."""
    for label, run in zip(runs.names, runs, strict=True):
        for part in tables.read_batches(run.folder / f"{name}.parquet", LONG[name]):
            part.insert(0, RUN, label)
            yield part


def _words(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column in which lists are words with blanks between them."""
    if column.dtype != object:
        return column
    return column.map(lambda value: " ".join(map(str, value)) if isinstance(value, list) else value)


def _write(path: Path, parts: Iterator[pd.DataFrame]) -> None:
    """Write parts of a table, or no file where there are no rows."""
    begun = False
    path.unlink(missing_ok=True)
    for part in parts:
        if len(part) and len(part.columns) > 1:
            part.apply(_words).to_csv(path, mode="a", header=not begun, index=False)
            begun = True
