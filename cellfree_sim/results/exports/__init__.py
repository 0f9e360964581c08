"""Runs in the forms that other programs read: one function, and a table of the forms there are.

>>> list(FORMS)
['csv', 'graphml', 'tensorboard', 'trace']
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cellfree_sim.errors import RunFolderError, UserError

if TYPE_CHECKING:
    from cellfree_sim.results.analysis import RunData
    from cellfree_sim.results.loading import Runs


class Form(NamedTuple):
    """A form in which runs are exported.

    Attributes:
        about: what it is, and what reads it.
        place: where it goes in the folder of a run.
        is_folder: whether it is a folder of files.
    """

    about: str
    place: str
    is_folder: bool


FORMS = {
    "csv": Form("all tables as CSV, the first column names the run: spreadsheets, R, MATLAB", "csv", True),
    "graphml": Form(
        "the network with what its links carried: Gephi, yEd, Cytoscape, igraph", "topology.graphml", False
    ),
    "tensorboard": Form("curves, figures and settings as event files: tensorboard --logdir", "tensorboard", True),
    "trace": Form("every frame on simulated time: https://ui.perfetto.dev", "trace.json.gz", False),
}


def export(runs: Runs, form: str, out: Path | None = None) -> list[Path]:
    """Export runs in one of `FORMS`; returns what was written.

    Args:
        runs: see `cellfree_sim.load_results`.
        form: the name of a form.
        out: where to; the folder of each run by default. Of one run, a file where the form is one file, else a folder;
            of several, a folder, in which each has its name.

    Raises:
        UserError: `out` is missing (CSV of several runs is one folder for all), or what is needed is not installed.
        RunFolderError: a run folder is damaged, or nothing can be written there.
    """
    if form == "csv":
        if out is None and len(runs) > 1:
            raise UserError(
                "--out: found nothing; allowed: a folder, since the tables of several runs are put together"
            )
        from cellfree_sim.results.exports.sheets import write_csv

        return [write_csv(runs, out or runs[0].folder / FORMS[form].place)]
    return [_write(run, form, place) for run, place in zip(runs, _places(runs, form, out), strict=True)]


def _places(runs: Runs, form: str, out: Path | None) -> list[Path]:
    """Where each run goes."""
    place = FORMS[form].place
    if out is None:
        return [run.folder / place for run in runs]
    if len(runs) == 1:
        return [out]
    ending = "" if FORMS[form].is_folder else place.partition(".")[1] + place.partition(".")[2]
    return [out / f"{name.replace('/', '-')}{ending}" for name in runs.names]


def _write(run: RunData, form: str, place: Path) -> Path:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"{place.parent}: cannot be made: {error.strerror or error}") from error
    if FORMS[form].is_folder != place.is_dir() and place.exists():
        wanted = "folder" if FORMS[form].is_folder else "file"
        raise UserError(f"--out: found '{place}', a {'file' if place.is_file() else 'folder'}; allowed: a {wanted}")
    if form == "graphml":
        from cellfree_sim.results.exports.graph import write_graphml

        return write_graphml(run, place)
    if form == "tensorboard":
        from cellfree_sim.results.exports.tensorboard import write_tensorboard

        return write_tensorboard(run, place)
    from cellfree_sim.results.exports.trace import write_trace

    return write_trace(run, place).path
