"""Links of scenarios that belong to no study: measured, as a table.

`cellfree sweep` on a scenario with a `link` measures what stands there at each of its points, whichever its family.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import UserError
from cellfree_sim.studies.sweeps.measured import RATES, primary_rate

if TYPE_CHECKING:
    import pandas as pd

    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.studies.results import Results


def evaluate(scenario: Scenario) -> list[dict[str, Any]]:
    """The rows that the link of a scenario gives, by its family.

    Raises:
        UserError: it has none, or nothing of it can be measured.
    """
    from cellfree_sim.studies import link, mmtc_link, noma_link

    if scenario.link is None:
        raise UserError("link: not given; allowed: a problem, detectors and SNRs to measure")
    by_family = {"mimo": link.evaluate, "noma": noma_link.evaluate, "mmtc": mmtc_link.evaluate}
    return by_family[scenario.link.family](scenario)


def rows(results: Results) -> list[list[str]]:
    """A table for people: means over seeds, each rate with its standard error, and what could not be measured."""
    from cellfree_sim.scenario.sweep import short_name

    table = results.table
    keys = [*results.places[0]]
    if "snr_db" not in table:
        return [["nothing was measured"]]
    measured = table[table["snr_db"].notna()]
    wanted = [primary_rate(results), *(rate for rate in RATES if rate != primary_rate(results))]
    found = [rate for rate in wanted if rate in measured]
    columns = [str(column) for column in measured]
    found += [name for name in columns if name.startswith("bler_") and not name.endswith("_error") and " " not in name]
    found = [rate for rate in found if rate == primary_rate(results) or measured[rate].fillna(0.0).any()]
    head = ["case", *(short_name(key) for key in keys), "SNR, dB", "scheme", "frames", *found]
    lines = [head]
    for values, group in measured.groupby(["case", *keys, "snr_db", "algorithm"], sort=False):
        *place, name = [f"{each:g}" if isinstance(each, float) else str(each) for each in values]
        rates = [_with_error(group[rate], group[f"{rate}_error"]) for rate in found]
        lines.append([*place, name, str(int(group["slots"].sum())), *rates])
    left_out = [0] if not any(line[0] for line in lines[1:]) else []
    left_out += [1 + len(keys)] if _without_snr(results) else []
    return [[cell for place, cell in enumerate(line) if place not in left_out] for line in lines]


def _without_snr(results: Results) -> bool:
    """Whether powers follow from the problem, and not from an SNR."""
    link = results.ended[0].point.scenario.link
    return link is not None and link.family == "mmtc"


def notes(results: Results) -> list[str]:
    """Why a scheme could not be measured, each once."""
    table = results.table
    if "note" not in table:
        return []
    found = table[table["note"].notna()]
    return list(dict.fromkeys(f"{row['algorithm']}: {row['note']}" for _, row in found.iterrows()))


def _with_error(values: pd.Series[float], errors: pd.Series[float]) -> str:
    mean = float(values.mean())
    error = math.sqrt(float((errors**2).sum())) / len(errors)
    if len(values) > 1:
        error = max(error, float(values.std(ddof=1)) / math.sqrt(len(values)))
    return f"{mean:.3g} ± {error:.1g}" if math.isfinite(mean) else "-"
