"""``cellfree reproduce``: tables and figures of papers, with verdicts; and what it shares with ``cellfree sweep``."""

from __future__ import annotations

import json
import sys
import textwrap
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.cli.commands import Commands, add_json, check_choice
from cellfree_sim.cli.running import ended_like_ctrl_c
from cellfree_sim.cli.scenarios import add_set
from cellfree_sim.cli.terminal import DONE, FAILED, complain, flat, show, table, terminal_width
from cellfree_sim.errors import CellfreeError, UserError
from cellfree_sim.studies.study import DEFAULT_OUT, SCALES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from cellfree_sim.studies.reproduce import Reproduction
    from cellfree_sim.studies.results import Results
    from cellfree_sim.studies.runner import Progress
    from cellfree_sim.studies.study import Study

MAX_DIGITS = 19  # of the largest seed
WIDTH = 110
SHOWN_NUMBERS = 6

_REPRODUCE_EPILOG = """\
examples:
  cellfree reproduce --list                                  all tables and figures, with the last verdicts below --out
  cellfree reproduce cmtssl/fig6a                            at quick scale: minutes on two cores
  cellfree reproduce cmtssl/fig6a --scale full --seeds 1,2,3,4,5
  cellfree reproduce all --address 10.0.0.5:6379             as many runs side by side as the cluster has CPUs
  cellfree reproduce --summary                               the page of all studies, from what is there

Runs go to DIR/points, named by content: what is done is not run again, so that an interrupted study goes on where it
was when it is started again. The content is the scenario, the files it names and the version of cellfree: after other
changes of the code, delete DIR/points. Figure, table and verdicts go to DIR/<study>/<scale>; those with --seeds or
--set take the place of others, and --list says so. DIR/summary.html and summary.md show all studies of the scale so
far; one that fails does not stop the others. The verdicts are on stdout, progress is on stderr.
"""


def add_to(commands: Commands) -> None:
    """Add the commands."""
    reproduce = commands.add("reproduce", _reproduce, "reproduce a paper's table or figure", _REPRODUCE_EPILOG)
    reproduce.add_argument("studies", metavar="STUDY", nargs="*", help="such as cmtssl/fig6a; all for all")
    reproduce.add_argument("--list", action="store_true", help="list all studies with their last verdicts")
    reproduce.add_argument("--summary", action="store_true", help="rewrite the page of all studies; run nothing")
    add_json(reproduce)
    add_options(reproduce, "quick")


def add_options(parser: argparse.ArgumentParser, scale: str) -> None:
    """The options of commands that run many points; `scale` is the default."""
    parser.add_argument("--scale", metavar="|".join(SCALES), default=scale, help=f"how much is run (default {scale})")
    parser.add_argument("--out", metavar="DIR", default=DEFAULT_OUT, help=f"where it goes (default {DEFAULT_OUT})")
    parser.add_argument(
        "--address",
        metavar="ADDR",
        help="join the Ray cluster at this address; without it that at RAY_ADDRESS, else one is started, but for a "
        "single run, or a study that needs no training, none at all",
    )
    parser.add_argument("--seeds", metavar="N,N,…", help="instead of the seeds of the scenario")
    add_set(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _reproduce(arguments: argparse.Namespace) -> int:
    from agents.cluster import check_cluster
    from cellfree_sim.studies.study import find_study, list_studies

    for name, handler in (("list", _list), ("summary", _summary)):
        if getattr(arguments, name):
            if arguments.studies:
                raise UserError(f"--{name} is of all studies; leave out STUDY")
            return handler(arguments)
    if not arguments.studies:
        raise UserError("reproduce: STUDY is missing; allowed: all, or names from 'cellfree reproduce --list'")
    if "all" in arguments.studies and len(arguments.studies) > 1:
        raise UserError("reproduce: all stands alone; leave out the other names, or all")
    options = options_of(arguments)
    chosen = list_studies() if arguments.studies == ["all"] else [find_study(name) for name in arguments.studies]
    if len(chosen) > 1:
        check_cluster(options["address"])
    found: list[dict[str, Any]] = []
    try:
        return max(_one(study, arguments, options, found, alone=len(chosen) == 1) for study in chosen)
    finally:  # a later study may be interrupted
        if found:
            show(json.dumps(found, indent=2))


def _one(
    study: Study, arguments: argparse.Namespace, options: dict[str, Any], found: list[dict[str, Any]], *, alone: bool
) -> int:
    """Reproduce a study and tell its verdicts, or add them to `found` for JSON; returns the exit status.

    Where it is not `alone`, what goes wrong is told, so that the next one has its turn.
    """
    from cellfree_sim.studies.reproduce import leave_failure, reproduce
    from cellfree_sim.studies.summary import write_summary

    out = options["out"]
    if not arguments.quiet:
        options = {**options, "tell": teller(f"{study.name}: {study.title}, scale {arguments.scale}")}
    page = None
    try:
        # Ray's threads tell of dead workers on stdout, which is for results
        with ended_like_ctrl_c(), redirect_stdout(sys.stderr):
            made = reproduce(study, **options)
    except CellfreeError as error:
        if alone:
            raise
        complain(f"{study.name}: {error}")
        leave_failure(study, out, arguments.scale, error)
        return error.exit_status
    finally:
        if out.is_dir():
            page = write_summary(out, arguments.scale)
    if arguments.json:
        found.append(json.loads((made.folder / "verdict.json").read_text(encoding="utf-8")))
    else:
        files = [["figure", str(made.figure)], ["table", str(made.folder / "table.csv")], ["all studies", str(page)]]
        show(f"{verdict_text(study.name, study.title, made)}\n\n{table(files)}" + ("" if alone else "\n"))
    return DONE if any_done(made.results) else FAILED


def _summary(arguments: argparse.Namespace) -> int:
    from cellfree_sim.studies.summary import write_summary

    options = options_of(arguments)
    if not options["out"].is_dir():
        raise UserError(f"--out: {flat(str(options['out']))}: no such folder; allowed: one with studies")
    show(str(write_summary(options["out"], arguments.scale)))
    return DONE


def any_done(results: Results) -> bool:
    """Whether at least one point is done."""
    return any(each.outcome.status == "done" for each in results.ended)


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `add_options` was given, checked, as `run_sweep` takes it."""
    from cellfree_sim.scenario import parse_assignments

    check_choice("--scale", arguments.scale, SCALES)
    if not arguments.out:
        raise UserError("--out: found nothing; allowed: a folder")
    return {
        "scale": arguments.scale,
        "out": Path(arguments.out),
        "address": arguments.address,
        "seeds": seeds(arguments.seeds),
        "overrides": parse_assignments(arguments.assignments),
        "tell": None if arguments.quiet else teller(),
        "note": None if arguments.quiet else partial(complain, kind="note: "),
    }


def seeds(text: str | None) -> list[int] | None:
    """The numbers of ``--seeds``.

    >>> seeds("1, 2,5"), seeds(None)
    ([1, 2, 5], None)

    Raises:
        UserError: something else stands there.
    """
    if text is None:
        return None
    from cellfree_sim.scenario.sweep import MAX_SEEDS

    parts = [part.strip() for part in text.split(",")]
    numbers = []
    for part in parts:
        digits = part.lstrip("0") or part[-1:]
        if not (part.isascii() and part.isdigit()) or len(digits) > MAX_DIGITS or int(digits) > 2**63 - 1:
            allowed = "whole numbers from 0 to 2^63 - 1, such as 1,2,3"
            raise UserError(f"--seeds: found '{flat(part)}' in '{flat(text)}'; allowed: {allowed}")
        numbers.append(int(digits))
    if len(set(numbers)) < len(numbers):
        raise UserError(f"--seeds: found '{flat(text)}'; allowed: numbers that differ")
    if len(numbers) > MAX_SEEDS:
        raise UserError(f"--seeds: found {len(numbers)} numbers; allowed: {MAX_SEEDS}")
    return numbers


def teller(title: str = "") -> Callable[[Progress], None]:
    """Says on stderr what has ended, and how long the rest may take; first of all the title."""
    from cellfree_sim.results.formats import duration

    begun = not title

    def tell(progress: Progress) -> None:
        nonlocal begun
        if not begun:
            complain(title, kind="")
            begun = True
        outcome = progress.outcome
        how = f"{outcome.cpu_seconds:.1f} CPU-s" if outcome.status == "done" else f"{outcome.status}: {outcome.reason}"
        left = "" if not progress.seconds_left else f", about {duration(progress.seconds_left, roughly=True)} left"
        complain(f"{progress.done}/{progress.total} points{left}: {progress.point.label} ({how})", kind="")

    return tell


def verdict_text(name: str, title: str, made: Reproduction) -> str:
    """The verdicts of a study as text."""
    results = made.results
    lines = [
        f"{name}: {title}",
        f"scale {results.scale}, seeds {', '.join(map(str, results.seeds))}; mean ± standard error",
    ]
    if made.departures:
        lines.append(f"not the study's own, but {flat(' '.join(made.departures))}")
    for verdict in made.verdicts:
        lines += ["", *textwrap.wrap(f"{verdict.verdict.upper()}: {verdict.claim}", WIDTH)]
        lines += textwrap.wrap(verdict.reason, WIDTH, initial_indent="  ", subsequent_indent="  ")
        shown = verdict.least_sure(SHOWN_NUMBERS)
        lines += [f"    {number}" for number in shown]
        if len(shown) < len(verdict.numbers):
            lines.append(f"    and {len(verdict.numbers) - len(shown)} more, in verdict.json")
    lines += not_done(made.failures)
    return "\n".join(lines)


def not_done(failures: Sequence[str]) -> list[str]:
    """Lines that tell of points that are not done; none where there is nothing to tell."""
    from cellfree_sim.results.formats import count

    if not failures:
        return []
    return ["", f"{count(len(failures), 'point')} not done:", *(f"  {flat(each)}" for each in failures)]


def _list(arguments: argparse.Namespace) -> int:
    from cellfree_sim.studies.reproduce import last_verdicts
    from cellfree_sim.studies.study import list_studies

    found = [(study, last_verdicts(study, Path(arguments.out))) for study in list_studies()]
    if arguments.json:
        rows = [{"name": study.name, "title": study.title, "last": last} for study, last in found]
        show(json.dumps(rows, indent=2))
        return DONE
    width = terminal_width()
    if width is None:
        show(table([[study.name, study.title, _told(last)] for study, last in found]))
        return DONE
    indent = max(len(study.name) for study, _ in found) + 2
    for study, last in found:
        name = study.name.ljust(indent)
        show(textwrap.fill(study.title, width, initial_indent=name, subsequent_indent=" " * indent))
        show(textwrap.fill(_told(last), width, initial_indent=" " * indent, subsequent_indent=" " * indent))
    return DONE


def _rank(word: str) -> tuple[int, str]:
    """Verdicts in the order in which a reader asks for them."""
    order = ("holds", "does not hold", "cannot hold", "undecided")
    return (order.index(word) if word in order else len(order)), word


def _told(last: Mapping[str, Mapping[str, Any]]) -> str:
    """The last verdicts in a few words."""
    parts = []
    for scale, content in last.items():
        if "damaged" in content:
            parts.append(f"{scale}: verdict.json is damaged")
            continue
        words = [verdict["verdict"] for verdict in content["verdicts"]]
        counts = ", ".join(f"{words.count(word)} {word}" for word in sorted(set(words), key=_rank))
        own = f" ({flat(' '.join(content['departures']))})" if content.get("departures") else ""
        parts.append(f"{scale}{own}: {counts or 'no claims'}")
    return "; ".join(parts) or "not yet run"
