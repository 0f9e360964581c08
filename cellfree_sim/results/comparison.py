"""Several runs against each other: what their scenarios differ in, and what may be said of their numbers.

Two runs are *paired* where they were tested on the same channels (or heard the same bursts): then the difference is
taken realisation by realisation, which is far surer than the difference of two means. Where they were not, the two
means are independent; where the runs had different problems, their difference says nothing about who does better.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from cellfree_sim.errors import UserError
from cellfree_sim.results.analysis import outcomes, setting, standard_error, sum_rates, user_rates
from cellfree_sim.results.loading import distinct_names
from cellfree_sim.results.uplink import service_records

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellfree_sim.results.analysis import Outcome, RunData
    from cellfree_sim.results.uplink import ServiceRecord

MOST_RUNS = 12  # more curves than this cannot be told apart
LONGEST_LABEL, LONGEST_VALUE = 28, 16
MOST_KEYS = 12  # of which two may label runs together
PAIRED_PART = 0.9  # of the bursts must be the same, else they are not paired
# Keys below these decide which channels a run is tested on …
CHANNEL_KEYS = (
    *("seed", "network.area_m", "network.mbs.position_m", "network.mbs.height_m", "network.sbs", "network.users"),
    *("radio.carrier_frequency_hz", "radio.bandwidth_hz", "radio.subcarriers", "channel.model"),
    "channel.realisations.test",
)
# Of recorded channels the splits take one after the other, so that these move those that are held out.
RECORDED_KEYS = ("channel.realisations.train", "channel.realisations.validation")
# … but these do not, though they stand among them; those that are in PROBLEM_KEYS are what a run has to solve on them.
APART = ("network.sbs.mec_flop_per_s", "network.sbs.power_dbm", "network.users.min_rate_bps_hz", "network.sbs.names")
PROBLEM_KEYS = ("radio.noise_dbm", "network.sbs.power_dbm", "network.users.min_rate_bps_hz")
UPLINK_KEYS = ("problem", "constellation", "rates", "resources", "bits", "pilot_length", "slots", "power", "activity")
BURST = ["burst", "snr_db", "drop", "users", "symbols", "active"]  # what makes a burst the same in two runs


class Difference(NamedTuple):
    """A run's number minus the first run's.

    Attributes:
        mean, error: and its standard error; NaN where nothing can be said.
        how: "paired", "not paired", or "not comparable".
        pairs: realisations (bursts) that were compared one by one; 0 where they were not.
        better: share of the realisations in which the run had the higher sum rate, ties counted half; NaN for bursts,
            and where not paired.
        reasons: why not paired, or not comparable.
    """

    mean: float
    error: float
    how: str
    pairs: int = 0
    better: float = math.nan
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contender:
    """One of the runs that are compared: its label in figures and tables, what it left, and what it came to."""

    label: str
    run: RunData
    outcomes: list[Outcome]
    services: list[ServiceRecord]

    @property
    def status(self) -> str:
        """How it ended."""
        return str(self.run.summary.get("status") or "unfinished")

    @property
    def learned(self) -> Outcome | None:
        """How the algorithm did that the run was about; None without held-out rates."""
        return next((outcome for outcome in self.outcomes if outcome.learned), None)

    @property
    def seed(self) -> Any:
        """Its seed."""
        return self.run.summary.get("seed", self.run.scenario.get("seed"))


def contenders(runs: Sequence[RunData]) -> list[Contender]:
    """The runs with labels that tell them apart.

    Raises:
        UserError: they are fewer than two or more than `MOST_RUNS`, or one is there twice.
        RunFolderError: a file of one is damaged.
    """
    if not 2 <= len(runs) <= MOST_RUNS:
        raise UserError(f"a comparison: found {len(runs)} runs; allowed: 2 to {MOST_RUNS}")
    places = [run.folder.resolve() for run in runs]
    for number, run in enumerate(runs):
        if places.index(places[number]) < number:
            raise UserError(f"a comparison: found {run.folder} twice; allowed: runs that differ")
    names = labels(runs)
    return [Contender(name, run, outcomes(run), service_records(run)) for name, run in zip(names, runs, strict=True)]


def labels(runs: Sequence[RunData]) -> list[str]:
    """What to call each run: by its scenario; runs of one scenario by the settings in which they differ, by their
    folders where they do not, and by number where those have long names.
    """
    names = [shortened(run.name) for run in runs]
    found = list(names)
    for name in dict.fromkeys(names):
        places = [place for place, own in enumerate(names) if own == name]
        if len(places) == 1:
            continue
        alike = [runs[place] for place in places]
        told, folders = _by_settings(alike), distinct_names([run.folder for run in alike])
        if told and len(places) < len(runs):
            told = [f"{name}, {own}" for own in told]
        elif not told and all(_fits(each) for each in folders) and not set(folders) & set(names):
            told = folders
        for number, place in enumerate(places):
            found[place] = told[number] if told else f"{name} #{number + 1}"
    return found


def shortened(text: str) -> str:
    """Text that is not too long for a legend."""
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"


def _by_settings(runs: Sequence[RunData]) -> list[str] | None:
    """A label for each run that says one setting, or two, by which it is told from the others; None where none do."""
    short = {
        key: [f"{_spoken(key)} {as_text(value)}" for value in values]
        for key, values in differences(runs).items()
        if all(_fits(as_text(value), LONGEST_VALUE) and not isinstance(value, list) for value in values)
    }
    keys = sorted(short, key=lambda key: (key == "seed", not key.endswith(".name")))  # sorted is stable
    chosen = [*((key,) for key in keys), *itertools.combinations(keys[:MOST_KEYS], 2)]
    for some in chosen:
        told = [", ".join(parts) for parts in zip(*(short[key] for key in some), strict=True)]
        if len(set(told)) == len(told):
            return told
    return None


def _fits(text: str, longest: int = LONGEST_LABEL) -> bool:
    """Whether text is short enough for a legend, which takes what stands between dollars for a formula."""
    return len(text) <= longest and "$" not in text


def _spoken(key: str) -> str:
    return key.removesuffix(".name").rpartition(".")[2].replace("_", " ")


def settings(scenario: Mapping[str, Any], below: str = "") -> dict[str, Any]:
    """A scenario as one level of keys with dots; entries of a list of mappings go by their name, or their number.

    >>> settings({"uplink": {"services": [{"name": "near", "detector": {"name": "ep"}}]}, "events": [{"at_step": 5}]})
    {'uplink.services[near].detector.name': 'ep', 'events[0].at_step': 5}
    """
    found: dict[str, Any] = {}
    for key, value in scenario.items():
        if isinstance(value, dict):
            found |= settings(value, f"{below}{key}.")
        elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            for number, each in enumerate(value):
                name = each.get("name", number)
                inside = {inner: content for inner, content in each.items() if inner != "name"} or each
                found |= settings(inside, f"{below}{key}[{name}].")
        else:
            found[f"{below}{key}"] = value
    return found


def differences(runs: Sequence[RunData]) -> dict[str, list[Any]]:
    """Settings that are not the same in all runs, the name apart: a value for each run, None where it has none."""
    told = [settings(run.scenario) for run in runs]
    keys = dict.fromkeys(key for each in told for key in each if key != "name")
    found = {key: [each.get(key) for each in told] for key in keys}
    return {key: values for key, values in found.items() if any(value != values[0] for value in values)}


def as_text(value: Any) -> str:
    """A setting as YAML would have it, on one line.

    >>> as_text(None), as_text(True), as_text(1e10), as_text([1.0, 2.5]), as_text("nfl")
    ('–', 'yes', '1e+10', '[1, 2.5]', 'nfl')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return f"[{', '.join(as_text(each) for each in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def other_channels(first: RunData, run: RunData) -> list[str]:
    """Settings that give two runs different held-out channels; none where they were tested on the same."""
    own, other = settings(run.scenario), settings(first.scenario)
    keys = dict.fromkeys([*other, *own])
    counted = [*CHANNEL_KEYS, *(RECORDED_KEYS if _recorded(run) else ())]
    return [key for key in keys if _below(key, counted) and key not in APART and own.get(key) != other.get(key)]


def other_drops(first: RunData, run: RunData) -> list[str]:
    """Settings that give the uplinks of two runs different channels."""
    found = other_channels(first, run)
    if not _recorded(run):  # else the drops of the uplink come after those of all splits
        found = [key for key in found if not key.startswith("channel.realisations")]
    made = [setting(each.scenario, "uplink", "realisations") for each in (first, run)]
    return [*found, *(["uplink.realisations"] if made[0] != made[1] else [])]


def _recorded(run: RunData) -> bool:
    """Whether its channels, those of its uplink too, are taken from a file in the order of the splits."""
    model = setting(run.scenario, "channel", "model")
    return (model.get("name") if isinstance(model, dict) else model) == "trace"


def other_problem(first: RunData, run: RunData) -> list[str]:
    """Settings that give two runs something else to solve, be the channels the same or not; a seed is none of them."""
    own, other = settings(run.scenario), settings(first.scenario)
    keys = dict.fromkeys([*other, *own])
    counted = [*CHANNEL_KEYS, *PROBLEM_KEYS]
    if all(setting(each.scenario, "uplink") for each in (first, run)):  # one alone takes nothing from a downlink
        counted += [f"uplink.{key}" for key in UPLINK_KEYS]
    spared = ("seed", "network.sbs.names", "network.sbs.mec_flop_per_s", "channel.realisations.test")
    return [key for key in keys if _below(key, counted) and key not in spared and own.get(key) != other.get(key)]


def _below(key: str, heads: Sequence[str]) -> bool:
    return any(key == head or key.startswith((f"{head}.", f"{head}[")) for head in heads)


def rate_difference(first: Contender, other: Contender) -> Difference:
    """Sum rate of what `other` learned minus that of what `first` learned, bit/s/Hz."""
    own, base = other.learned, first.learned
    if own is None or base is None:
        return Difference(math.nan, math.nan, "not comparable", reasons=("no held-out rates",))
    problem = other_problem(first.run, other.run)
    if problem:
        return Difference(math.nan, math.nan, "not comparable", reasons=tuple(problem))
    reasons = other_channels(first.run, other.run) or _other_references(first, other)
    if not reasons:
        pair = [sum_rates(each.run.rates)[each.run.algorithm] for each in (first, other)]
        gap = (pair[1] - pair[0]).dropna()
        better = float(((gap > 0) + 0.5 * (gap == 0)).mean())
        return Difference(float(gap.mean()), standard_error(gap), "paired", len(gap), better)
    error = math.hypot(own.sum_rate_se, base.sum_rate_se)
    return Difference(own.sum_rate - base.sum_rate, error, "not paired", reasons=tuple(reasons))


def _other_references(first: Contender, other: Contender) -> list[str]:
    """A reference that did not do the same in two runs, which it does on the same channels with the same stations."""
    if _stations(first.run) != _stations(other.run):
        return []
    told = {each.label: {entry["name"]: entry for entry in _references(each.run)} for each in (first, other)}
    for name, entry in told[first.label].items():
        if told[other.label].get(name) != entry:
            continue
        mine, theirs = (user_rates(each.run.rates, name) for each in (first, other))
        if mine.size and (mine.shape != theirs.shape or not np.allclose(mine, theirs, rtol=1e-2, atol=1e-3)):
            return [f"rates of {name}, which would be equal on the same channels"]
    return []


def _references(run: RunData) -> list[dict[str, Any]]:
    return [each for each in setting(run.scenario, "downlink", "references") or [] if isinstance(each, dict)]


def _stations(run: RunData) -> set[tuple[Any, ...]]:
    """Small base stations that take part at the end, and where they stand."""
    active = [node for node in run.nodes if node.get("kind") == "sbs" and node.get("status", "active") == "active"]
    return {(node["id"], node["x_m"], node["y_m"]) for node in active}


def changed_network(first: RunData, run: RunData) -> bool:
    """Whether two runs ended with different stations, as far as both have come to tell."""
    return bool(first.nodes and run.nodes) and _stations(first) != _stations(run)


def error_difference(first: Contender, other: Contender, service: str) -> Difference:
    """Symbol error rate of a service in `other` minus that in `first`, over all SNRs.

    Paired over bursts; the standard error counts only drops of users as independent.
    """
    problem = other_problem(first.run, other.run)
    tables = [each.run.uplink[each.run.uplink["service"] == service] for each in (first, other)]
    if problem or any(table["symbols"].sum() == 0 for table in tables):
        return Difference(math.nan, math.nan, "not comparable", reasons=tuple(problem) or ("nothing was decided",))
    reasons = other_drops(first.run, other.run)
    both = tables[0].merge(tables[1], on=BURST, suffixes=("_first", "_other")) if not reasons else pd.DataFrame()
    if not reasons and len(both) < PAIRED_PART * min(map(len, tables)):
        reasons = ["other users were active in the same bursts"]
    if reasons:
        sums = [_clustered(table["symbol_errors"], table["symbols"], table["drop"]) for table in tables]
        error = math.hypot(sums[0][1], sums[1][1])
        return Difference(sums[1][0] - sums[0][0], error, "not paired", reasons=tuple(reasons))
    gap = both["symbol_errors_other"] - both["symbol_errors_first"]
    return Difference(*_clustered(gap, both["symbols"], both["drop"]), "paired", len(both))


def _clustered(errors: pd.Series, trials: pd.Series, cluster: pd.Series) -> tuple[float, float]:
    """Errors over trials, and its standard error where only clusters are independent."""
    sums = pd.DataFrame({"errors": errors, "trials": trials}).groupby(cluster.to_numpy()).sum()
    total = float(sums["trials"].sum())
    share, count = float(sums["errors"].sum()) / total, len(sums)
    if count < 2:
        return share, math.nan
    spread = float(((sums["errors"] - share * sums["trials"]) ** 2).sum()) * count / (count - 1)
    return share, math.sqrt(spread) / total
