"""The tables of a comparison, as text cells: a row or a column for each run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cellfree_sim.results.comparison import (
    Contender,
    Difference,
    as_text,
    differences,
    error_difference,
    rate_difference,
)
from cellfree_sim.results.formats import algorithm_label, count, mean_and_error, percent, signed
from cellfree_sim.results.report_tables import Row, Table, balanced, megabytes
from cellfree_sim.results.report_uplink import milliseconds, rate_with_interval
from cellfree_sim.results.uplink import symbols_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN_KEYS, NAMED_KEYS = 60, 4


def runs_table(compared: Sequence[Contender]) -> Table:
    """What the runs are: scenario, seed, how they ended, how long they took."""
    heard = any(not each.run.uplink.empty for each in compared)
    columns = ["run", "scenario", "seed", "status", "steps", *(["bursts"] if heard else []), "engine"]
    columns += ["wall time (s)", "simulated time (s)", "folder"]
    rows = []
    for each in compared:
        summary = each.run.summary
        steps, wall, simulated = (summary.get(key) for key in ("steps", "wall_seconds", "simulated_seconds"))
        cells = [each.label, each.run.name, "–" if each.seed is None else str(each.seed), each.status]
        cells += [
            "–" if steps is None else f"{steps:,}",
            *([f"{each.run.uplink['burst'].nunique():,}"] if heard else []),
        ]
        cells += [str(summary.get("engine") or "–"), "–" if wall is None else f"{wall:,.1f}"]
        cells += ["–" if simulated is None else f"{simulated:.4g}", str(each.run.folder)]
        rows.append(Row(cells))
    note = "Wall times are those of the machines the runs were on, report not counted."
    return Table("Runs", columns, rows, note, layout="tight")


def differences_table(compared: Sequence[Contender]) -> Table:
    """Settings that are not the same in all runs."""
    found = differences([each.run for each in compared])
    rows = [Row([key, *(as_text(value) for value in values)]) for key, values in list(found.items())[:SHOWN_KEYS]]
    if len(found) > SHOWN_KEYS:
        rows.append(
            Row([f"{len(found) - SHOWN_KEYS} more", "in comparison.json", *[""] * (len(compared) - 1)], total=True)
        )
    note = "Settings that are not the same in all runs; – where a run has no such setting."
    if not found:
        note = "All settings of the runs are the same."
    return Table(
        "What differs in the scenarios", ["key", *(each.label for each in compared)], rows, note, layout="wrap"
    )


def rates_table(compared: Sequence[Contender]) -> Table | None:
    """How each run's own algorithm did on the test realisations; None where no run has a downlink."""
    shown = [each for each in compared if each.run.has_downlink]
    if not shown:
        return None
    rows = []
    for each in shown:
        own = each.learned
        cells = ["–"] * 3
        if own is not None:
            cells = [mean_and_error(own.sum_rate, own.sum_rate_se), percent(own.satisfied), str(own.realisations)]
        training = each.run.summary.get("backhaul", {}).get("training_bytes")
        rows.append(
            Row(
                [
                    each.label,
                    algorithm_label(each.run.algorithm),
                    *cells,
                    "–" if training is None else megabytes(training),
                ]
            )
        )
    columns = ["run", "algorithm", "sum rate (bit/s/Hz)", "users ≥ r_min", "realisations", "bytes of training (MB)"]
    return Table("Test", columns, rows, "± is the standard error of the mean over the test realisations.")


def rate_differences_table(compared: Sequence[Contender]) -> Table | None:
    """Sum rates minus the first run's; None where it has no downlink, or no other has."""
    first, *others = compared
    others = [other for other in others if other.run.has_downlink]
    if not others or not first.run.has_downlink:
        return None
    rows = []
    for other in others:
        found = rate_difference(first, other)
        share = None
        if found.how != "not comparable" and first.learned and other.learned and other.learned.satisfied is not None:
            share = 100 * (other.learned.satisfied - (first.learned.satisfied or 0.0))
        rows.append(
            Row(
                [
                    *(
                        other.label,
                        mean_and_error(found.mean, found.error, signed_mean=True),
                        _z(found),
                        percent(found.better),
                    ),
                    *("–" if share is None else signed(share, "+.1f"), _how(found, "realisation")),
                ]
            )
        )
    columns = [
        *("run", "sum rate minus the first's (bit/s/Hz)", "in standard errors", "realisations in which it is better"),
        *("users ≥ r_min (percentage points)", "how"),
    ]
    note = (
        "Paired: realisation by realisation on the same channels. Not paired: the difference of two independent means. "
        "± is the standard error; the 95 % interval is 1.96 of it to either side."
    )
    return Table(f"Against {first.label}", columns, rows, note, layout="tight")


def _z(found: Difference) -> str:
    """The difference in units of its standard error."""
    return signed(found.mean / found.error, "+.1f") if math.isfinite(found.error) and found.error > 0 else "–"


def _how(found: Difference, noun: str) -> str:
    if found.how == "paired":
        return f"paired over {count(found.pairs, noun)}"
    return f"{found.how}: {named(found.reasons)}"


def algorithms_table(compared: Sequence[Contender]) -> Table | None:
    """The sum rate of each algorithm, references included, in each run."""
    shown = [each for each in compared if each.outcomes]
    names = list(dict.fromkeys(outcome.algorithm for each in shown for outcome in each.outcomes))
    if len(names) < 2:
        return None
    told = [{outcome.algorithm: outcome for outcome in each.outcomes} for each in shown]
    rows = [
        Row(
            [
                algorithm_label(name),
                *(mean_and_error(one[name].sum_rate, one[name].sum_rate_se) if name in one else "–" for one in told),
            ]
        )
        for name in names
    ]
    note = "References decide on the same realisations as the run's own algorithm: equal numbers, equal channels."
    return Table("Sum rate by algorithm (bit/s/Hz)", ["algorithm", *(each.label for each in shown)], rows, note)


def errors_table(compared: Sequence[Contender]) -> Table | None:
    """Error rates of each service at each SNR, the runs side by side."""
    shown = [each for each in compared if each.services]
    if not shown:
        return None
    word = symbols_in_words([record for each in shown for record in each.services])
    told = [
        {
            (record.name, snr): rate
            for record in each.services
            for snr, rate in zip(record.snr_db, record.rates["ser"], strict=True)
        }
        for each in shown
    ]
    keys = list(dict.fromkeys(key for one in told for key in one))
    rows = [
        Row(
            [
                name,
                signed(snr, "g"),
                *(rate_with_interval(one[name, snr]) if (name, snr) in one else "–" for one in told),
            ]
        )
        for name, snr in keys
    ]
    note = "In brackets the 95 % interval, which counts only what is independent."
    columns = ["service", "SNR (dB)", *(each.label for each in shown)]
    return Table(f"{word.capitalize()} error rates", columns, rows, note)


def error_differences_table(compared: Sequence[Contender]) -> Table | None:
    """Services that the first run and another have in common."""
    first, *others = compared
    rows = []
    for other in others:
        theirs = {record.name for record in other.services}
        for record in first.services:
            if record.name in theirs:
                found = error_difference(first, other, record.name)
                shown = _fine(found)
                rows.append(Row([other.label, record.name, shown, _z(found), _how(found, "burst")]))
    if not rows:
        return None
    columns = ["run", "service", "error rate minus the first's", "in standard errors", "how"]
    note = (
        "Over all SNRs together; less is better. ± is the standard error, which counts only drops of users as "
        "independent. Services are matched by name, whatever they detect with."
    )
    return Table(f"Error rates against {first.label}", columns, rows, note)


def _fine(found: Difference) -> str:
    """An error rate's difference to two digits of its standard error.

    >>> _fine(Difference(-0.00123, 0.0000456, "paired")), _fine(Difference(math.nan, math.nan, "not comparable"))
    ('−0.001230 ± 0.000046', '–')
    """
    if not math.isfinite(found.mean):
        return "–"
    if not (math.isfinite(found.error) and found.error > 0):
        return signed(found.mean, "+.3g")
    return mean_and_error(found.mean, found.error, signed_mean=True)


def services_table(compared: Sequence[Contender]) -> Table | None:
    """What each service of each run took."""
    rows = [
        Row(
            [
                *(each.label, record.name, record.detector, record.cooperation.replace("_", " ")),
                f"{record.bytes_per_slot:,.0f}" if math.isfinite(record.bytes_per_slot) else "–",
                *(milliseconds(value) for value in (record.latency_p50_s, record.latency_p99_s)),
                *(f"{number:,}" for number in (record.requests, record.refused)),
            ]
        )
        for each in compared
        for record in each.services
    ]
    columns = [
        *("run", "service", "detector", "cooperation", "bytes per slot", "median latency (ms)", "99th percentile (ms)"),
        *("requests", "refused"),
    ]
    return Table("Edge services", columns, rows, "Latency is simulated time.", layout="tight") if rows else None


def bytes_table(compared: Sequence[Contender]) -> Table | None:
    """What each run sent."""
    frames = [each.run.first_attempts for each in compared]
    if all(table.empty for table in frames):
        return None
    base = int(frames[0]["bytes"].sum())
    rows = []
    for each, table in zip(compared, frames, strict=True):
        told = each.run.summary.get("backhaul", {})
        total = int(table["bytes"].sum())
        step, execution = told.get("per_step_bytes"), told.get("execution_bytes_per_realisation")
        rows.append(
            Row(
                [
                    *(each.label, f"{len(table):,}", f"{total:,}", "–" if not base else f"{total / base:.3g}"),
                    *("–" if value is None else f"{value:,.0f}" for value in (step, execution)),
                    {True: "balanced", False: "not balanced", None: "open"}[balanced(each.run)],
                ]
            )
        )
    columns = ["run", "frames", "bytes", f"times {compared[0].label}", "bytes per step", "bytes per decision", "books"]
    note = (
        "Bytes per step are those of training; per decision, those of one realisation when the trained policy executes."
    )
    return Table("Bytes on the wire", columns, rows, note)


def named(keys: Sequence[str]) -> str:
    """The first of so many keys, or reasons, in a sentence."""
    more = f" and {len(keys) - NAMED_KEYS} more" if len(keys) > NAMED_KEYS else ""
    return ", ".join(keys[:NAMED_KEYS]) + more
