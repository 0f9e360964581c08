"""Points of studies that measure detectors at single links: the rows of their tables, and numbers out of them.

All detectors of a point see the same slots, which are those of `cellfree_sim.uplink.error_rates`. One that has made as
many errors as wanted gets no more; two are compared on the slots that both got, pair by pair.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from cellfree_sim.errors import DetectorError, UserError
from cellfree_sim.studies.verdicts import Number

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from cellfree_sim.scenario.link import Link
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.studies.results import Results
    from cellfree_sim.uplink import Batch, MimoProblem

Row = dict[str, Any]
Detectors: TypeAlias = "Mapping[str, Callable[..., Any]]"
FEW = 8  # errors below which a rate is not drawn


def evaluate(scenario: Scenario) -> list[Row]:
    """Rows of `Study.evaluate`: symbol error rates of each detector of `scenario.link` at each SNR.

    A detector that cannot serve the problem, for lack of trained weights for example, has one row with a `note`.

    Raises:
        UserError: the scenario has no section `link`, none of its detectors can serve, or the checkpoint that one of
            them names is not for this problem.
    """
    link = link_of(scenario)
    problem = problem_of(link)
    ready, rows = prepared(link, problem)
    if not ready:
        raise UserError(f"link.detectors: none can serve: {'; '.join(row['note'] for row in rows)}")
    for snr_db in link.snr_db:
        rows += measure(link, problem, ready, snr_db, scenario.seed)
    return rows


def link_of(scenario: Scenario) -> Link:
    """The section `link` of a scenario."""
    from cellfree_sim.scenario.link import Link

    if scenario.link is None:
        raise UserError("link: not given; allowed: a problem, detectors and SNRs to measure")
    if not isinstance(scenario.link, Link):
        raise UserError(f"link.family: found {scenario.link.family}; allowed: mimo")
    return scenario.link


def problem_of(link: Link) -> MimoProblem:
    """The problem that a section describes."""
    from cellfree_sim.uplink import MimoProblem

    return MimoProblem(**link.problem.options())


def prepared(link: Link, problem: MimoProblem) -> tuple[dict[str, Callable[..., Any]], list[Row]]:
    """The detectors of a section by their labels; and a row with a `note` for each that cannot serve.

    Raises:
        DetectorError: one that names its checkpoint cannot serve; that is a mistake, and no lack of weights.
    """
    from cellfree_sim.detection import Detector

    ready: dict[str, Callable[..., Any]] = {}
    notes: list[Row] = []
    for label, options in link.labelled().items():
        try:
            ready[label] = Detector(options, problem)
        except DetectorError as error:
            if getattr(options, "checkpoint", None) is not None:
                raise
            notes.append({"algorithm": label, "note": str(error)})
    return ready, notes


def measure(link: Link, problem: MimoProblem, detectors: Detectors, snr_db: float, seed: int) -> list[Row]:
    """One row for each detector at one SNR.

    Keys: algorithm, learned, trained_otherwise (where a learned one was not made for the problem: in what), snr_db,
    slots, errors, ser, ser_error (by the scatter between slots or blocks of slots), cpu_us_per_slot; and for each other
    detector x `minus x` and `minus x, error`: how much higher its rate is on the slots that both got, and the standard
    error of that.
    """
    import torch

    from cellfree_sim.seeds import integer

    generator = torch.Generator().manual_seed(integer(seed, "error-rates", f"{float(snr_db)!r}"))
    blocks = link.slots_max // problem.block
    at_once = -(-link.batch // problem.block)
    wrong: dict[str, list[Tensor]] = {label: [] for label in detectors}
    errors, seconds = dict.fromkeys(detectors, 0), dict.fromkeys(detectors, 0.0)
    waiting, done = set(detectors), 0
    while done < blocks and waiting:
        now = min(at_once, blocks - done)
        slots = problem.sample(now * problem.block, snr_db, generator=generator)
        for label in sorted(waiting):
            found, taken = _wrong(detectors[label], slots)
            wrong[label].append(found.reshape(now, -1).mean(dim=-1))
            errors[label] += int(found.sum())
            seconds[label] += taken
            if link.target_errors is not None and errors[label] >= link.target_errors:
                waiting.discard(label)
        done += now
    rates = {label: torch.cat(parts) for label, parts in wrong.items()}
    return [
        {
            "algorithm": label,
            "learned": is_learned(link, label),
            "trained_otherwise": _misfit(link, label, problem),
            "snr_db": float(snr_db),
            "slots": len(rate) * problem.block,
            "errors": errors[label],
            "ser": rate.mean().item(),
            "ser_error": _error(rate),
            "cpu_us_per_slot": 1e6 * seconds[label] / (len(rate) * problem.block),
            **_differences(label, rates),
        }
        for label, rate in rates.items()
    ]


def is_learned(link: Link, label: str) -> bool:
    """Whether a detector was trained."""
    return bool(getattr(link.labelled()[label], "learned", False))


def _misfit(link: Link, label: str, problem: MimoProblem) -> str:
    """In what the weights of a learned detector were not made for the problem, or nothing."""
    if not is_learned(link, label):
        return ""
    from cellfree_sim.detection.learned.trained import chosen

    return chosen(link.labelled()[label], problem).misfit(problem) or ""


def _wrong(detector: Callable[..., Any], slots: Batch) -> tuple[Tensor, float]:
    """Which symbols were wrong, float64 [S, N], and the CPU seconds that deciding took."""
    start = time.process_time()
    decided = detector(slots.y, slots.h_known, slots.noise_variance).messages
    return (decided != slots.messages).double(), time.process_time() - start


def _error(values: Tensor) -> float:
    return values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _differences(label: str, rates: Mapping[str, Tensor]) -> Row:
    row: Row = {}
    for other, theirs in rates.items():
        if other != label:
            both = min(len(rates[label]), len(theirs))
            gap = rates[label][:both] - theirs[:both]
            row[f"minus {other}"], row[f"minus {other}, error"] = gap.mean().item(), _error(gap)
    return row


# --- numbers from the table ------------------------------------------------------------------------------------------


def rows_of(results: Results, case: str, detector: str) -> pd.DataFrame:
    """The rows of one detector in one case, by SNR; empty where it could not serve."""
    table = results.table
    if "snr_db" not in table:
        return table.iloc[:0]
    here = table[(table["case"] == case) & (table["algorithm"] == detector) & table["snr_db"].notna()]
    return here.sort_values("snr_db")


def snrs_of(results: Results, case: str) -> list[float]:
    """The SNRs that were measured in one case."""
    table = results.table
    return sorted(set(table[table["case"] == case]["snr_db"].dropna())) if "snr_db" in table else []


def trained_otherwise(results: Results, case: str, detector: str) -> str:
    """In what a learned detector was not made for the problem of a case, as `measure` found it; or nothing."""
    rows = rows_of(results, case, detector)
    if "trained_otherwise" not in rows:
        return ""
    return next((str(text) for text in rows["trained_otherwise"].dropna() if text), "")


def below(results: Results, case: str, better: str, worse: str, *, within: float = 0.0) -> list[Number]:
    """By how much `better` is below (1 + `within`) times `worse`, as a part of `worse`, at each SNR; paired.

    Where `worse` made fewer than `FEW` errors, its rate is no unit: there it is a part of `better`. Points at which
    both made fewer are left out. One number that is not known, where nothing was measured.

    The error is a bound: those of the paired difference and of the rates are added.
    """
    found = below_by_snr(results, case, better, worse, within=within)
    return [number for _, number in found] or [Number(f"{worse} minus {better}, {case}", math.nan, math.nan, "")]


def below_by_snr(
    results: Results, case: str, better: str, worse: str, *, within: float = 0.0
) -> list[tuple[float, Number]]:
    """The numbers of `below`, each with its SNR; empty where nothing was measured."""
    ours, theirs = rows_of(results, case, better), rows_of(results, case, worse)
    others = {row["snr_db"]: row for _, row in theirs.iterrows()}
    sign = "plus" if within > 0 else "minus"
    numbers = []
    for _, one in ours.iterrows():
        other = others.get(one["snr_db"])
        if other is None or max(one["errors"], other["errors"]) < FEW:
            continue
        usual = other["errors"] >= FEW
        unit, inexact = (other, 0.0) if usual else (one, within)
        gap = -float(one[f"minus {worse}"]) / unit["ser"]
        allowed = within * other["ser"] / unit["ser"]
        error = float(one[f"minus {worse}, error"]) + inexact * other["ser_error"]
        relative = unit["ser_error"] / unit["ser"]
        number = Number(
            f"{worse} minus {better}, {case}, {one['snr_db']:g} dB",
            gap + allowed,
            error / unit["ser"] + (abs(gap) + (allowed if inexact else 0.0)) * relative,
            f"of the SER of {worse if usual else better}"
            + (f", {sign} {abs(within):g}" + ("" if usual else f" of that of {worse}") if within else ""),
            one_training=bool(one["learned"] or other["learned"]),
        )
        numbers.append((float(one["snr_db"]), number))
    return numbers


def notes_of(results: Results) -> list[str]:
    """What was left out, each detector once, and why."""
    table = results.table
    if "note" not in table:
        return []
    left_out = table[table["note"].notna()]
    return list(dict.fromkeys(f"{row['case']}: {row['note']}".removeprefix(": ") for _, row in left_out.iterrows()))


def missing(results: Results, wanted: Sequence[str]) -> list[str]:
    """Those of `wanted` that no point measured."""
    table = results.table
    measured = set(table[table["snr_db"].notna()]["algorithm"]) if "snr_db" in table else set()
    return [name for name in wanted if name not in measured]
