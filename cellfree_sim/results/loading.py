"""What runs left, as pandas in one call: one run, or several as tidy tables with a column that names the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from cellfree_sim.errors import UserError
from cellfree_sim.results.analysis import RunData

if TYPE_CHECKING:
    import pandas as pd

RUN = "run"


@overload
def load_results(folder: Path | str) -> RunData: ...  # type: ignore[overload-overlap]
@overload
def load_results(folder: Iterable[Path | str]) -> Runs: ...
def load_results(folder: Path | str | Iterable[Path | str]) -> RunData | Runs:
    """The results of a run, or of several, from their folders. Needs neither Ray nor torch, and reads as it is asked.

    Args:
        folder: of one run, done or not; or folders of several, such as ``Path("runs").glob("quickstart-*")``.

    Raises:
        RunFolderError: no run was recorded in a folder.
        UserError: there is no folder in an iterable.

    For example:

        import cellfree_sim

        run = cellfree_sim.load_results("runs/quickstart-20250101T120000Z")
        run.summary["downlink"]["sum_rate"], run.metrics, run.backhaul, run.topology
        runs = cellfree_sim.load_results(["runs/first", "runs/second"])
        runs.metrics.groupby("run")["sum_rate"].max()
    """
    if isinstance(folder, str | Path):
        return RunData(folder)
    return Runs([RunData(each) for each in folder])


class Runs(Sequence[RunData]):
    """Several runs, in the order given; each table is that of all of them, with a first column ``run``.

    A run is named by its folder, and where two have the same name, by as much of the path as tells them apart.
    """

    def __init__(self, runs: Sequence[RunData]) -> None:
        """Raises UserError where there is none."""
        if not runs:
            raise UserError("load_results: found no folder of a run; allowed: one or more")
        self._runs = list(runs)
        self.names = distinct_names([run.folder for run in runs])

    def __repr__(self) -> str:
        return f"<{len(self)} runs: {', '.join(self.names)}>"

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[RunData]:
        return iter(self._runs)

    @overload
    def __getitem__(self, which: int) -> RunData: ...
    @overload
    def __getitem__(self, which: slice) -> Runs: ...
    def __getitem__(self, which: int | slice) -> RunData | Runs:
        return Runs(self._runs[which]) if isinstance(which, slice) else self._runs[which]

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row per run: every number and word of its summary under its keys with dots, ``downlink.sum_rate``."""
        return self._rows([run.summary for run in self])

    @cached_property
    def scenario(self) -> pd.DataFrame:
        """One row per run: every setting under its keys with dots, ``downlink.policy.name``; lists stay lists."""
        return self._rows([run.scenario for run in self])

    @property
    def differences(self) -> pd.DataFrame:
        """The columns of `scenario` in which the runs differ, and ``run``."""
        told = self.scenario
        differ = [name for name in told.columns if name != RUN and told[name].map(repr).nunique() > 1]
        return told[[RUN, *differ]]

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """See `RunData.metrics`."""
        return self._stacked([run.metrics for run in self])

    @cached_property
    def backhaul(self) -> pd.DataFrame:
        """See `RunData.backhaul`."""
        return self._stacked([run.backhaul for run in self])

    @cached_property
    def rates(self) -> pd.DataFrame:
        """See `RunData.rates`."""
        return self._stacked([run.rates for run in self])

    @cached_property
    def uplink(self) -> pd.DataFrame:
        """See `RunData.uplink`."""
        return self._stacked([run.uplink for run in self])

    @cached_property
    def events(self) -> pd.DataFrame:
        """One row per event; see `RunData.events`."""
        import pandas as pd

        return self._stacked([pd.DataFrame(run.events).convert_dtypes() for run in self])

    def _rows(self, tables: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame([{RUN: name, **flat(table)} for name, table in zip(self.names, tables, strict=True)])

    def _stacked(self, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
        import pandas as pd

        named = []
        for name, table in zip(self.names, tables, strict=True):
            one = table.copy(deep=False)
            one.insert(0, RUN, name)
            named.append(one)
        return pd.concat([table for table in named if len(table)] or named[:1], ignore_index=True)


def flat(table: Mapping[str, Any], below: str = "") -> dict[str, Any]:
    """Nested mappings as one, its keys joined by dots; lists of mappings are left out, other lists stay.

    >>> flat({"downlink": {"sum_rate": 21.5, "injection": [{"station": "sbs-3"}]}, "network": {"area_m": [100, 80]}})
    {'downlink.sum_rate': 21.5, 'network.area_m': [100, 80]}
    """
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{below}{key}.")
        elif not (isinstance(value, list) and any(isinstance(each, Mapping) for each in value)):
            found[f"{below}{key}"] = value
    return found


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """A name for each folder: its own, with those above it where that is needed to tell it from the others.

    >>> distinct_names([Path("runs/a"), Path("runs/b")]), distinct_names([Path("old/a"), Path("new/a")])
    (['a', 'b'], ['old/a', 'new/a'])
    """
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-depth:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{each[-1]}#{number}" for number, each in enumerate(parts)]
