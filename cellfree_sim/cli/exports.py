"""``cellfree export`` and ``cellfree trace``: runs for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cellfree_sim.cli.commands import Commands, check_choice, names_of_runs
from cellfree_sim.cli.terminal import DONE, complain, show
from cellfree_sim.errors import UserError

if TYPE_CHECKING:
    import argparse

MANY_EVENTS = 3_000_000  # from here on a browser has trouble
TO = ("csv", "graphml", "tensorboard", "trace")

_EXPORT_EPILOG = """\
forms:
  csv           all tables as CSV, the first column names the run: spreadsheets, R, MATLAB
  graphml       the network with what its links carried: Gephi, yEd, Cytoscape, igraph
  tensorboard   curves, figures and settings as event files: tensorboard --logdir runs
  trace         every frame on simulated time, for https://ui.perfetto.dev (cellfree trace has more options)

examples:
  cellfree export runs/quickstart-20250101T120000Z --to graphml
  cellfree export quickstart-20250101T120000Z --to graphml --out network.graphml
  cellfree export runs/* --to csv --out tables               one table for all runs
  cellfree export runs/* --to tensorboard                    then: tensorboard --logdir runs

Without --out, files go into the folder of the run. The network is also in topology.json, in networkx's node-link form,
and in Python everything is there with: cellfree_sim.load_results(DIR)
"""
_TRACE_EPILOG = """\
examples:
  cellfree trace runs/quickstart-20250101T120000Z            makes trace.json.gz in that folder
  cellfree trace DIR --steps 100:120 --out rounds.json       rounds 100 to 120
  cellfree trace DIR --bursts 0:50 --kind soft_decision --kind detection_result

Open the file at https://ui.perfetto.dev (it stays on this machine) or in chrome://tracing. Time is simulated time.
Every station is a process: what it computes, what it receives, and a track for each frame that it has under way at
once; click on a frame to see its arrow to the receiver. Frames that were lost are called LOST, and have none.
"""


def add_to(commands: Commands) -> None:
    """Add the commands."""
    export = commands.add("export", _export, "write runs in the form of another program", _EXPORT_EPILOG)
    export.add_argument("runs", metavar="RUN", nargs="+", help="the folder of a run, or its name below ./runs")
    export.add_argument("--to", metavar="|".join(TO), required=True, help="the form; see below")
    export.add_argument(
        "--out",
        metavar="PATH",
        help="file or folder to write (default: in the run's folder; of several runs, a folder)",
    )
    trace = commands.add("trace", _trace, "write a run as a trace for Perfetto, on simulated time", _TRACE_EPILOG)
    trace.add_argument("run", metavar="RUN", help="the folder of a run, or its name below ./runs")
    trace.add_argument(
        "--out", metavar="FILE", help="where to; compressed if it ends with .gz (default: trace.json.gz in the folder)"
    )
    trace.add_argument("--steps", metavar="A:B", help="only rounds A to B (without --bursts: and no bursts)")
    trace.add_argument("--bursts", metavar="A:B", help="only bursts A to B (without --steps: and no rounds)")
    trace.add_argument(
        "--kind", metavar="KIND", action="append", default=[], help="only frames of this kind; may be given again"
    )


def _export(arguments: argparse.Namespace) -> int:
    check_choice("--to", arguments.to, TO)
    out = _out(arguments.out)
    from cellfree_sim import load_results
    from cellfree_sim.results.exports import export
    from cellfree_sim.results.runs import find_run

    runs = load_results(find_run(name).folder for name in names_of_runs(arguments.runs))
    for path in export(runs, arguments.to, out):
        show(str(path))
    return DONE


def _trace(arguments: argparse.Namespace) -> int:
    out = _out(arguments.out)
    from cellfree_sim import load_results
    from cellfree_sim.results.exports.selection import Selection, Span
    from cellfree_sim.results.exports.trace import write_trace
    from cellfree_sim.results.runs import find_run

    spans = {
        name: None if text is None else Span.parse(text, f"--{name}")
        for name, text in (("steps", arguments.steps), ("bursts", arguments.bursts))
    }
    selection = Selection(**spans, kinds=frozenset(arguments.kind))
    run = load_results(find_run(arguments.run).folder)
    if out is not None and out.is_dir():
        raise UserError(f"--out: found '{out}', a folder; allowed: a file")
    written = write_trace(run, out, selection)
    show(str(written.path))
    where = "open it at https://ui.perfetto.dev"
    if written.events > MANY_EVENTS:
        where = "too many for most browsers: choose some with --steps, --bursts or --kind"
    complain(f"{written.frames:,} frames of {written.stations} stations, {written.events:,} events; {where}", kind="")
    return DONE


def _out(text: str | None) -> Path | None:
    if text == "":
        raise UserError("--out: found nothing; allowed: a file or folder")
    return None if text is None else Path(text)
