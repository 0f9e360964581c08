"""``cellfree report`` and ``cellfree bench``, and the result of a run as text."""

from __future__ import annotations

import json
import math
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cellfree_sim.cli.commands import Commands, add_json, check_choice, names_of_runs
from cellfree_sim.cli.terminal import DONE, complain, show, table, tables
from cellfree_sim.errors import UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from cellfree_sim.results.analysis import RunData

_REPORT_EPILOG = """\
examples:
  cellfree report runs/quickstart-20250101T120000Z --open    its report.html and figures, made again
  cellfree report quickstart-20250101T120000Z                the same, by its name below ./runs
  cellfree report runs/first runs/second runs/third          the first against the others: runs/comparison-<UTC stamp>
  cellfree report runs/first runs/second --out comparison    in a folder of your own

Runs that were tested on the same channels (one seed, one network) are compared realisation by realisation.
"""
_BENCH_EPILOG = """\
examples:
  cellfree bench                           all benchmarks
  cellfree bench training codec --quick    two of them, fewer repetitions
  cellfree bench --json > bench.json
"""


def add_to(commands: Commands) -> None:
    """Add the commands."""
    report = commands.add("report", _report, "make the report of a run again, or compare several runs", _REPORT_EPILOG)
    report.add_argument("runs", metavar="RUN", nargs="+", help="the folder of a run, or its name below ./runs")
    report.add_argument(
        "--out",
        metavar="DIR",
        help="folder of a comparison: new, empty, or an earlier comparison (default below ./runs)",
    )
    report.add_argument("--open", action="store_true", help="show it in the web browser")

    bench = commands.add("bench", _bench, "measure speed, as ratios taken side by side", _BENCH_EPILOG)
    bench.add_argument("names", metavar="NAME", nargs="*", help="benchmarks to run (default all)")
    add_json(bench)
    bench.add_argument("--quick", action="store_true", help="fewer repetitions, rougher numbers")


def outcome(folder: Path) -> str:
    """The result of a run as a short text, from the files in its folder."""
    from cellfree_sim.results.analysis import load_run

    run = load_run(folder)
    parts = [_rates(run)] if run.has_downlink else []
    if not run.uplink.empty:
        parts.append(_services(run))
    backhaul, seconds = run.summary.get("backhaul", {}), run.summary.get("wall_seconds")
    books = "books balanced" if backhaul.get("balanced") else "BOOKS DO NOT BALANCE"
    air = f", {backhaul['air_bytes']:,} of them over the air" if backhaul.get("air_bytes") else ""
    facts = [["backhaul", f"{backhaul.get('bytes', 0):,} bytes in {backhaul.get('frames', 0):,} frames{air}, {books}"]]
    facts += [["time", f"{seconds:.1f} s, report not counted"]] if seconds is not None else []
    facts += [["folder", str(folder)], ["report", str(run.files.report_path)]]
    return "\n\n".join([*parts, table(facts)])


def _rates(run: RunData) -> str:
    """How the algorithm and its references did."""
    from cellfree_sim.results.analysis import outcomes

    rows = [["algorithm", "sum rate, bit/s/Hz", f"{run.algorithm} minus it", "users meeting r_min"]]
    for each in outcomes(run):
        gap = "" if each.learned else f"{each.difference:+.2f} ± {each.difference_se:.2f}"
        satisfied = "" if each.satisfied is None else f"{100 * each.satisfied:.1f} %"
        rows.append([each.algorithm, f"{each.sum_rate:.2f} ± {each.sum_rate_se:.2f}", gap, satisfied])
    realisations = max((each.realisations for each in outcomes(run)), default=0)
    head = f"{run.name}: mean ± standard error over {realisations} held-out realisations, differences paired"
    return f"{head}\n\n{table(rows)}"


def _services(run: RunData) -> str:
    """How the edge services of an uplink did, at the highest SNR."""
    from cellfree_sim.results.report_uplink import milliseconds, rate_with_interval
    from cellfree_sim.results.uplink import service_records, symbols_in_words

    records = service_records(run)
    some_refused = any(each.refused for each in records)
    errors = "state errors [95 %]" if symbols_in_words(records) == "state" else "SER [95 %]"
    rows = [["service", "SNR, dB", errors, "BER", "bytes per slot", "latency, ms: median", "99 %"]]
    rows[0] += ["requests refused"] if some_refused else []
    for each in records:
        ser, ber = each.rates["ser"][-1], each.rates["ber"][-1]
        latency = [milliseconds(each.latency_p50_s), milliseconds(each.latency_p99_s)]
        rates = [rate_with_interval(ser), "–" if math.isnan(ber.value) else f"{ber.value:.3g}"]
        refused = [f"{each.refused:,} of {each.requests:,}"] if some_refused else []
        rows.append([each.name, f"{each.snr_db[-1]:g}", *rates, f"{each.bytes_per_slot:,.0f}", *latency, *refused])
    bursts, several = run.uplink["burst"].nunique(), run.uplink["snr_db"].nunique() > 1
    which = "; the highest SNR, all of them in the report" if several else ""
    return f"{run.name}: uplink of {bursts:,} bursts{which}\n\n{table(rows)}"


def _report(arguments: argparse.Namespace) -> int:
    from cellfree_sim.results.runs import find_run

    if arguments.out == "":
        raise UserError("--out: found nothing; allowed: a new or empty folder")
    names = names_of_runs(arguments.runs)
    if len(names) == 1 and arguments.out is not None:
        raise UserError("--out is for a comparison; allowed: two or more runs, or no --out")
    folders = [Path(find_run(name).folder) for name in names]
    if len(folders) == 1:
        from cellfree_sim.results.report import build_report

        path = build_report(folders[0])
    else:
        path = _compare(folders, arguments.out)
    show(str(path))
    if arguments.open:
        import webbrowser

        if not webbrowser.open(path.absolute().as_uri()):
            complain("no web browser was found; open the file by hand", kind="note: ")
    return DONE


def _compare(folders: Sequence[Path], out: str | None) -> Path:
    """Report of several runs; what is to be known before comparing them goes to stderr, too."""
    from cellfree_sim.results.analysis import RunData
    from cellfree_sim.results.report_comparison import build_comparison, read_remarks

    path = build_comparison([RunData(folder) for folder in folders], Path(out) if out else None, datetime.now(UTC))
    for remark in read_remarks(path.parent):
        complain(remark, kind="note: ")
    return path


def _bench(arguments: argparse.Namespace) -> int:
    from cellfree_sim import benchmarks

    known = benchmarks.list_benchmarks()
    for name in arguments.names:
        check_choice("unknown benchmark", name, known)
    with redirect_stdout(sys.stderr):  # Ray's threads tell of dead workers on stdout, which is for results
        rows = benchmarks.run_benchmarks(arguments.names, quick=arguments.quick)
    show(json.dumps(rows, indent=2) if arguments.json else tables(rows))
    return DONE
