"""The folder of a run: what is in it, and how it is written and read.

==================  =======================================================================================
`scenario.yaml`     the scenario with every default written out
`summary.json`      the numbers of the run
`metrics.parquet`   one row per round (`cellfree_sim.results.tables.METRICS`)
`backhaul.parquet`  one row per frame (`BACKHAUL`)
`uplink.parquet`    one row per burst and service (`UPLINK`), where there is an uplink
`rates.parquet`     one row per algorithm, held-out realisation and user (`RATES`)
`topology.json`     the network graph, networkx node-link form: ``networkx.node_link_graph(json.load(file))``
`checkpoints/`      states to go on from
`figures/`          `*.pdf` and `*.png`
`report.html`       all of it, for people
`run.log`           what happened when, UTC
==================  =======================================================================================
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import RunFolderError
from cellfree_sim.results import tables
from cellfree_sim.results.files import read_json, write_atomically, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    import networkx as nx
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

DEFAULT_PARENT = Path("runs")


class RunFolder:
    """A run folder, made by `create` for a run that starts or found by `open` for one that has been."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: list[Path] = []  # folders that `create` made, innermost first

    @classmethod
    def create(cls, path: Path | str | None, scenario_name: str, now: datetime) -> RunFolder:
        """Reserve a new folder: `path`, or ``runs/<name>-<UTC stamp>`` where none is given.

        Args:
            path: a folder that does not exist yet, or is empty.
            scenario_name: names the default folder.
            now: start of the run, with its time zone.

        Raises:
            RunFolderError: the folder is taken or cannot be written; nothing was changed.
        """
        folder = cls(Path(path) if path is not None else default_folder(scenario_name, now))
        folder._reserve()
        return folder

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """The folder of an earlier or a running run.

        Raises:
            RunFolderError: there is no such folder, or no run was recorded in it.
        """
        folder = cls(Path(path))
        if not folder.path.exists():
            raise RunFolderError(f"{path}: there is no such run folder")
        if not folder.path.is_dir():
            raise RunFolderError(f"{path}: is a file, a run folder expected")
        missing = [file.name for file in (folder.scenario_path, folder.log_path) if not file.is_file()]
        if missing:
            raise RunFolderError(f"{path}: is no run folder, it has no {' and no '.join(missing)}")
        return folder

    @property
    def scenario_path(self) -> Path:
        """The resolved scenario."""
        return self.path / "scenario.yaml"

    @property
    def summary_path(self) -> Path:
        """The numbers of the run."""
        return self.path / "summary.json"

    @property
    def log_path(self) -> Path:
        """What happened when."""
        return self.path / "run.log"

    @property
    def figures_path(self) -> Path:
        """Folder of the figures."""
        return self.path / "figures"

    @property
    def checkpoints_path(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def report_path(self) -> Path:
        """The report."""
        return self.path / "report.html"

    def discard(self) -> None:
        """Empty the folder and remove what `create` made of it: for a run that was refused before it began."""
        for entry in self.path.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self._unmake()

    def log(self, text: str) -> None:
        """Add a line to run.log, with the time."""
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            with self.log_path.open("a", encoding="utf-8") as file:
                file.write(f"{stamp} {' '.join(text.split())}\n")
        except OSError as error:
            raise RunFolderError(f"{self.log_path}: cannot be written: {error.strerror or error}") from error

    def write_scenario(self, text: str) -> None:
        """Store the resolved scenario, as YAML."""
        write_atomically(self.scenario_path, text)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Store the summary; numbers that are not finite become null."""
        write_json(self.summary_path, summary)

    def write_topology(self, graph: Mapping[str, Any]) -> None:
        """Store the network graph in networkx node-link form.

        Its links stand there under both names that readers expect without being told: ``edges`` (networkx from 3.6 on)
        and ``links`` (networkx before, and d3).
        """
        write_json(self.path / "topology.json", {**graph, "edges": graph["links"]})

    def write_rates(self, rates: Mapping[str, NDArray[np.floating[Any]]]) -> None:
        """Store the rates of each algorithm on the held-out realisations, ``rates[algorithm]`` [realisation, user]."""
        import numpy as np

        columns: dict[str, list[Any]] = {name: [] for name in tables.RATES}
        for algorithm, values in rates.items():
            realisations, users = np.shape(values)
            columns["algorithm"] += [algorithm] * (realisations * users)
            columns["realisation"] += np.repeat(np.arange(realisations), users).tolist()
            columns["user"] += np.tile(np.arange(users), realisations).tolist()
            columns["rate"] += np.asarray(values, dtype=np.float64).ravel().tolist()
        tables.write_table(self.path / "rates.parquet", tables.RATES, columns)

    def metrics_writer(self, keep: int = 0) -> tables.TableWriter:
        """Writer of metrics.parquet, one row per round, after the first `keep` rows that are there."""
        return tables.TableWriter(self.path / "metrics.parquet", tables.METRICS, keep=keep)

    def backhaul_writer(self, keep: int = 0) -> tables.TableWriter:
        """Writer of backhaul.parquet, one row per frame, after the first `keep` rows that are there."""
        return tables.TableWriter(self.path / "backhaul.parquet", tables.BACKHAUL, keep=keep)

    def uplink_writer(self, keep: int = 0) -> tables.TableWriter:
        """Writer of uplink.parquet, one row per burst and service, after the first `keep` rows that are there."""
        return tables.TableWriter(self.path / "uplink.parquet", tables.UPLINK, keep=keep)

    def data_files(self) -> list[str]:
        """Names of the files that hold what the run did, tables that are still being written included."""
        names = (
            "summary.json",
            "metrics.parquet",
            "uplink.parquet",
            "backhaul.parquet",
            "rates.parquet",
            "topology.json",
        )
        tabled = [
            name for name in names if any(p.exists() for p in (self.path / name, tables.partial_path(self.path / name)))
        ]
        return [self.scenario_path.name, *tabled, self.log_path.name]

    def scenario_text(self) -> str:
        """The resolved scenario, as YAML."""
        try:
            return self.scenario_path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunFolderError(f"{self.scenario_path}: cannot be read: {error}") from error

    def summary(self) -> dict[str, Any]:
        """The summary; empty where the run has not come to it."""
        return read_json(self.summary_path)

    def topology(self) -> dict[str, Any]:
        """The network graph in node-link form; empty where the run has not come to it."""
        return read_json(self.path / "topology.json")

    def graph(self) -> nx.Graph:
        """The network graph; an empty one where the run has not come to it.

        Raises:
            RunFolderError: the file is damaged.
        """
        import networkx as nx

        found = self.topology()
        try:
            return nx.node_link_graph(found, edges="links") if found else nx.Graph()
        except (nx.NetworkXError, KeyError, TypeError, ValueError) as error:
            path = self.path / "topology.json"
            raise RunFolderError(f"{path}: is damaged, a graph in node-link form expected: {error!r}") from error

    def metrics(self) -> pd.DataFrame:
        """The rounds so far."""
        return tables.read_table(self.path / "metrics.parquet", tables.METRICS)

    def backhaul(self) -> pd.DataFrame:
        """The frames so far."""
        return tables.read_table(self.path / "backhaul.parquet", tables.BACKHAUL)

    def uplink(self) -> pd.DataFrame:
        """The bursts so far; no rows where there is no uplink."""
        return tables.read_table(self.path / "uplink.parquet", tables.UPLINK)

    def rates(self) -> pd.DataFrame:
        """The rates on the held-out realisations; no rows where the run has not come to them."""
        return tables.read_table(self.path / "rates.parquet", tables.RATES)

    def _reserve(self) -> None:
        """Make the folder, and run.log in it exclusively, so that of two runs with one folder the second is refused."""
        try:
            if self.path.exists() and not self.path.is_dir():
                raise RunFolderError(f"{self.path}: is a file, a run needs a new or empty folder")
            if self.path.exists() and any(self.path.iterdir()):
                raise RunFolderError(f"{self.path}: the folder is not empty, a run needs a new or empty one")
            self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            self.log_path.open("x", encoding="utf-8").close()
        except OSError as error:
            self._unmake()
            raise RunFolderError(f"{self.path}: cannot be used as run folder: {error.strerror or error}") from error

    def _unmake(self) -> None:
        for folder in self._made:
            with suppress(OSError):  # not ours alone: somebody else has put something into it
                folder.rmdir()


def default_folder(scenario_name: str, now: datetime) -> Path:
    """Where a run goes that is not told: ``runs/<name>-<UTC stamp>``, with a number where that is taken."""
    return free_folder(scenario_name, now)


def free_folder(name: str, now: datetime) -> Path:
    """``runs/<name>-<UTC stamp>``, with a number where that is taken."""
    if now.tzinfo is None:
        raise ValueError("the start of a run must have a time zone")
    base = DEFAULT_PARENT / f"{name}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    path, number = base, 2
    while path.exists():
        path, number = base.with_name(f"{base.name}-{number}"), number + 1
    return path
