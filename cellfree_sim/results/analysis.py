"""Numbers of a run, computed from the files of its folder and nothing else.

Everything that the report says and the figures draw comes from here, so that a number has one definition: rates are
bit/s/Hz, bytes are lengths of frames, and first attempts only (a frame sent again is counted apart).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from cellfree_sim.errors import RunFolderError
from cellfree_sim.results.files import read_json
from cellfree_sim.results.run_folder import RunFolder
from cellfree_sim.results.runs import PROGRESS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import networkx as nx
    from numpy.typing import NDArray

PURPOSES = ("training", "execution", "uplink", "measurement", "control")
PURPOSE_OF_PHASE = {
    "training": "training",
    "sharing": "training",
    "execution": "execution",
    "uplink": "uplink",
    "validation": "measurement",
    "test": "measurement",
    "setup": "control",
    "control": "control",
}
CONFIDENCE_95 = 1.96  # of a normal mean, in standard errors
TIME_PARTS = ("compute_s", "queue_s", "transfer_s")
BOLTZMANN_J_PER_K = 1.380649e-23
REFERENCE_TEMPERATURE_K = 290.0


class RunData:
    """What a run left in its folder, or has put there so far; each part is read when it is first asked for, and kept.

    Tables are those of the folder (`cellfree_sim.results.run_folder`), as pandas frames without an index of their own.
    Whatever reads a part raises `RunFolderError` where its file is damaged.

    Attributes:
        folder: path of the folder.
        files: the same as `RunFolder`, which knows the files in it.
    """

    def __init__(self, folder: Path | str) -> None:
        self.files = RunFolder.open(folder)
        self.folder = self.files.path

    def __repr__(self) -> str:
        return f"<run {self.folder}: {self.summary.get('status', 'unfinished')}>"

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The numbers of the run, the keys of ``summary.json``; empty where it has not come to them."""
        return self.files.summary()

    @cached_property
    def scenario_text(self) -> str:
        """The scenario with every default written out, as YAML."""
        return self.files.scenario_text()

    @cached_property
    def scenario(self) -> dict[str, Any]:
        """The scenario with every default written out, as plain mappings; ``load_scenario`` gives a checked one."""
        return _parse(self.files.scenario_path, self.scenario_text)

    @cached_property
    def topology(self) -> nx.Graph:
        """The network as it is at the end: stations, users, links; for attributes see `cellfree_sim.network.Network`.

        An empty graph where the run has not come to it.
        """
        return self.files.graph()

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """Stations and users of `topology`, in its order, each with its name as ``id``."""
        return [{"id": name, **attributes} for name, attributes in self.topology.nodes(data=True)]

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row per round: losses, sum rate, simulated time and its parts, bytes so far."""
        return self.files.metrics()

    @cached_property
    def backhaul(self) -> pd.DataFrame:
        """One row per frame: kind, sender, receiver, path, bytes, simulated times, what became of it."""
        return self.files.backhaul()

    @cached_property
    def rates(self) -> pd.DataFrame:
        """One row per algorithm, held-out realisation and user: its rate, bit/s/Hz."""
        return self.files.rates()

    @cached_property
    def uplink(self) -> pd.DataFrame:
        """One row per burst and service: errors, bytes, latency and its parts; no rows without an uplink."""
        return self.files.uplink()

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """What happened to the network, oldest first, and what was refused; of a run that goes on, the last of it."""
        # it has no summary yet
        return list(self.summary.get("events") or read_json(self.folder / PROGRESS).get("events", []))

    @property
    def happened(self) -> list[dict[str, Any]]:
        """The events that happened, without those that were refused."""
        return [event for event in self.events if "refused" not in event]

    @property
    def injections(self) -> list[dict[str, Any]]:
        """Records of the stations that were injected, in order."""
        return list(self.summary.get("downlink", {}).get("injection", []))

    @property
    def name(self) -> str:
        """Name of the run."""
        return str(self.summary.get("name") or self.scenario.get("name") or self.folder.name)

    @property
    def algorithm(self) -> str:
        """Name of the algorithm that was trained."""
        named = self.summary.get("downlink", {}).get("algorithm") or setting(self.scenario, "downlink", "algorithm")
        return str(named["name"] if isinstance(named, dict) else named or "dmtssl")

    @property
    def has_downlink(self) -> bool:
        """Whether anything was learned or tested for the downlink."""
        return self.algorithm != "none"

    @property
    def min_rate(self) -> float | None:
        """Minimum rate of each user, bit/s/Hz; None where the scenario does not say."""
        return number(self.scenario, "network", "users", "min_rate_bps_hz")

    @property
    def first_attempts(self) -> pd.DataFrame:
        """Frames of stations, without those that were sent again, each with its purpose."""
        frames = self.backhaul[(self.backhaul["attempt"] == 0) & (self.backhaul["link_class"] != "air")].copy()
        frames["purpose"] = frames["phase"].map(PURPOSE_OF_PHASE).fillna("control")
        return frames


def load_run(path: Path | str) -> RunData:
    """All of a run folder at once, of a run that is done, was interrupted, or goes on; `RunData` reads as it is asked.

    Raises:
        RunFolderError: it is no run folder, or a file in it is damaged.
    """
    run = RunData(path)
    for part in (name for name, value in vars(RunData).items() if isinstance(value, cached_property)):
        getattr(run, part)
    return run


def setting(scenario: Mapping[str, Any], *keys: str) -> Any:
    """Value under a path of keys; None where there is no such key."""
    value: Any = scenario
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def number(scenario: Mapping[str, Any], *keys: str) -> float | None:
    """Number under a path of keys; None where there is none."""
    value = setting(scenario, *keys)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class Outcome:
    """How one algorithm did on the held-out realisations.

    Attributes:
        sum_rate, sum_rate_se: mean over realisations of the users' rates added up, and its standard error.
        satisfied: share of users, over all realisations, whose rate reaches the minimum; None where there is none.
        difference, difference_se: the learned algorithm's sum rate minus this one's, realisation by realisation: mean
            and standard error; NaN for the learned algorithm itself.
    """

    algorithm: str
    learned: bool
    realisations: int
    sum_rate: float
    sum_rate_se: float
    satisfied: float | None
    difference: float
    difference_se: float


def sum_rates(rates: pd.DataFrame) -> pd.DataFrame:
    """Sum rate of each realisation (rows) and algorithm (columns, in the order of the table).

    >>> rows = [("zf", 0, 0, 1.0), ("zf", 0, 1, 2.0), ("zf", 1, 0, 4.0)]
    >>> sum_rates(pd.DataFrame(rows, columns=["algorithm", "realisation", "user", "rate"]))["zf"].tolist()
    [3.0, 4.0]
    """
    order = list(dict.fromkeys(rates["algorithm"]))
    table = rates.pivot_table(index="realisation", columns="algorithm", values="rate", aggfunc="sum", observed=True)
    return table.reindex(columns=order)


def user_rates(rates: pd.DataFrame, algorithm: str) -> NDArray[np.float64]:
    """Rates of one algorithm, [realisation, user], in the order of the table's numbers; realisations lacking a user are
    left out.
    """
    own = rates[rates["algorithm"] == algorithm]
    table = own.pivot_table(index="realisation", columns="user", values="rate").dropna()
    return table.to_numpy(float)


def outcomes(run: RunData) -> list[Outcome]:
    """One outcome per algorithm, the learned one first, then the others by falling sum rate."""
    if run.rates.empty:
        return []
    table = sum_rates(run.rates)
    learned = table.get(run.algorithm)
    found = []
    for name in table.columns:
        own = table[name].dropna()
        satisfied = None
        if run.min_rate is not None:
            satisfied = float((run.rates.loc[run.rates["algorithm"] == name, "rate"] >= run.min_rate).mean())
        is_learned = name == run.algorithm
        gap = (learned - table[name]).dropna() if learned is not None and not is_learned else pd.Series(dtype=float)
        mean, error = float(own.mean()), standard_error(own)
        found.append(
            Outcome(name, is_learned, len(own), mean, error, satisfied, float(gap.mean()), standard_error(gap))
        )
    return sorted(found, key=lambda outcome: (not outcome.learned, -outcome.sum_rate))


def share_below(
    values: NDArray[np.float64], at: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shares of `values` [realisation, user] at or below each of `at`, with the ends of their 95 % intervals.

    Realisations are independent; users of one are not, so that they count for as many as they vary like (Wilson's
    interval with the effective number of samples).

    >>> share, low, high = share_below(np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([1.0, 9.0]))
    >>> share.tolist(), low.round(2).tolist(), high.round(2).tolist()
    ([0.5, 1.0], [0.15, 0.51], [0.85, 1.0])
    """
    of_each = np.stack([(values <= place).mean(axis=1) for place in at], axis=1)  # realisation, place
    share, count = of_each.mean(axis=0), len(values)
    spread = of_each.var(axis=0) / count
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = np.where(spread > 0, share * (1 - share) / spread, count)
    z2 = CONFIDENCE_95**2
    middle = (share + z2 / (2 * effective)) / (1 + z2 / effective)
    half = CONFIDENCE_95 * np.sqrt(share * (1 - share) / effective + z2 / (4 * effective**2)) / (1 + z2 / effective)
    return share, np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def standard_error(values: pd.Series) -> float:
    """Standard error of the mean; NaN for fewer than two values."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def bytes_by(frames: pd.DataFrame, column: str) -> pd.DataFrame:
    """Bytes sent, rows by `column`, columns by purpose, largest total first."""
    table = frames.pivot_table(index=column, columns="purpose", values="bytes", aggfunc="sum", fill_value=0)
    table = table.reindex(columns=[purpose for purpose in PURPOSES if purpose in table.columns])
    return table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]


def hops(frames: pd.DataFrame) -> pd.DataFrame:
    """The frames once per link that they cross, with the column `link` ("a>b")."""
    paths = frames["path"].str.split(">")
    links = paths.map(lambda stations: [f"{a}>{b}" for a, b in itertools.pairwise(stations)])
    return frames.assign(link=links).explode("link").dropna(subset=["link"])


def bytes_by_station(frames: pd.DataFrame) -> pd.DataFrame:
    """Bytes that each station sent and received, columns `sent` and `received`."""
    sent = frames.groupby("sender")["bytes"].sum().rename("sent")
    delivered = frames[frames["status"] == "delivered"]
    received = delivered.groupby("receiver")["bytes"].sum().rename("received")
    return pd.concat([sent, received], axis=1).fillna(0).astype("int64").sort_index()


class SentAgain(NamedTuple):
    """Frames that were sent more than once: what a link had lost, and rounds that were done again after a restart."""

    lost_frames: int
    lost_bytes: int
    repeated_frames: int
    repeated_bytes: int

    @property
    def frames(self) -> int:
        """All of them."""
        return self.lost_frames + self.repeated_frames

    @property
    def bytes(self) -> int:
        """Their bytes on the wire."""
        return self.lost_bytes + self.repeated_bytes


def sent_again(run: RunData) -> SentAgain:
    """What the totals leave out; the frames table has the lost ones, and the summary counts both."""
    again = run.backhaul[run.backhaul["attempt"] > 0]
    frames, size = len(again), int(again["bytes"].sum())
    counted = setting(run.summary, "backhaul", "retransmissions") or {"frames": frames, "bytes": size}
    return SentAgain(frames, size, max(counted["frames"] - frames, 0), max(counted["bytes"] - size, 0))


def stations_of(event: Mapping[str, Any]) -> list[str]:
    """Stations that an event names.

    >>> stations_of({"event": "restart", "stations": ["mbs", "sbs-1"]}), stations_of({"event": "x", "station": "sbs-0"})
    (['mbs', 'sbs-1'], ['sbs-0'])
    """
    return list(event["stations"]) if "stations" in event else [event["station"]] if "station" in event else []


def round_times(metrics: pd.DataFrame) -> pd.DataFrame:
    """Simulated time of each training round on its critical path: columns `TIME_PARTS`, index step."""
    rows = metrics[metrics["phase"] == "training"]
    return rows.set_index("step")[list(TIME_PARTS)].dropna(how="all").fillna(0.0)


def thermal_noise_dbm(bandwidth_hz: float) -> float:
    """Thermal noise power k T B at 290 K.

    >>> round(thermal_noise_dbm(20e6), 1)
    -101.0
    """
    return 10 * math.log10(BOLTZMANN_J_PER_K * REFERENCE_TEMPERATURE_K * bandwidth_hz) + 30


def _parse(path: Path, text: str) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        scenario = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError) as error:
        raise RunFolderError(f"{path}: is damaged: {' '.join(str(error).split())}") from error
    if not isinstance(scenario, dict):
        raise RunFolderError(f"{path}: is damaged, a mapping expected, found {type(scenario).__name__}")
    return scenario
