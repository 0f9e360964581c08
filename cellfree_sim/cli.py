"""The command ``cellfree``: run scenarios, rebuild reports, measure speed, look at scenarios.

Results go to stdout and nothing else does; progress and errors go to stderr. Exit status: 0 done; 1 the run failed; 2
bad usage, scenario or resources, with one clear line; 130 interrupted. Heavy libraries are imported by the command that
needs them, never at start.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import threading
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from cellfree_sim import __version__
from cellfree_sim.errors import CellfreeError, UserError
from cellfree_sim.memory import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cellfree_sim.results.observer import Observer
    from cellfree_sim.scenario import Scenario, ScenarioSource

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130

_DESCRIPTION = "Simulate a cell-free radio network with mobile edge computing; every byte between stations is measured."
_EPILOG = """\
examples:
  cellfree run quickstart                  train the shipped scenario, write its report
  cellfree scenarios list                  what there is to start from
  cellfree scenarios show quickstart       every key and its default
  cellfree report runs/quickstart-20250101T120000Z --open

exit status: 0 done; 1 the run failed; 2 bad usage, scenario or resources; 130 interrupted
"""
_RUN_EPILOG = """\
examples:
  cellfree run scenarios/quickstart.yaml
  cellfree run quickstart --engine inline --out runs/first
  cellfree run quickstart --set downlink.epochs=5 --set channel.model=rayleigh --seed 7
  cellfree run quickstart --set downlink.policy.width=64     an option of what stands as a bare name
  cellfree run quickstart --set network.sbs.positions_m='[[20, 20], [80, 20], [50, 80]]'
  cellfree run quickstart --detach                           look with: cellfree status; end with: cellfree stop
  cellfree run --resume runs/quickstart-20250101T120000Z     go on with what was interrupted or killed

Values are YAML. A scenario's keys: cellfree scenarios show NAME. Progress is on stderr, results are on stdout.
"""
_STATUS_EPILOG = """\
examples:
  cellfree status
  cellfree status --run runs/quickstart-20250101T120000Z --json

A run that vanished (its process was killed) goes on with: cellfree run --resume DIR
"""
_STOP_EPILOG = """\
examples:
  cellfree stop
  cellfree stop quickstart-20250101T120000Z
"""
_REPORT_EPILOG = """\
example:
  cellfree report runs/quickstart-20250101T120000Z --open
"""
_BENCH_EPILOG = """\
examples:
  cellfree bench                           all benchmarks
  cellfree bench training codec --quick    two of them, fewer repetitions
  cellfree bench --json > bench.json
"""
_SCENARIOS_EPILOG = """\
examples:
  cellfree scenarios list
  cellfree scenarios show quickstart --set downlink.policy=dense
  cellfree scenarios check my-network.yaml other.yaml
  cellfree scenarios schema > scenario.schema.json     for completion and checks in editors
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (that of the process by default) and return its exit status."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read by torch's threads when they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    keep_freed_memory()
    with suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        arguments = _parsed(list(sys.argv[1:] if argv is None else argv))
        status: int = arguments.handler(arguments)
        if sys.stdout is not None:  # closed by the caller (>&-)
            sys.stdout.flush()
    except SystemExit as stop:  # --help and --version
        return int(stop.code or DONE)
    except BrokenPipeError:
        return _reader_is_gone()
    except KeyboardInterrupt:
        _complain("interrupted", kind="")
        return INTERRUPTED
    except CellfreeError as error:
        _complain(str(error))
        return error.exit_status
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        _complain(f"{name}{error.strerror or error}")
        return FAILED
    return status


class _Parser(argparse.ArgumentParser):
    """Usage errors become a `UserError`: one line, like all other errors."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{_flat(message)}; see '{self.prog} --help'")


def _parsed(argv: list[str]) -> argparse.Namespace:
    parser, commands, actions = _parser()
    _check_word(argv, commands, "cellfree", "command")
    if argv and argv[0] == "scenarios":
        _check_word(argv[1:], actions, "cellfree scenarios", "command")
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        _refuse_unknown(unknown, arguments.parser)
    return arguments


def _check_word(argv: Sequence[str], known: Sequence[str], prog: str, noun: str) -> None:
    """Refuse an unknown command with the one that was probably meant."""
    word = argv[0] if argv else "-"
    if not word.startswith("-") and word not in known:
        from cellfree_sim.scenario.suggest import did_you_mean

        hint = did_you_mean(word, known)
        raise UserError(f"unknown {noun} '{_flat(word)}'; allowed: {', '.join(known)}{hint}; see '{prog} --help'")


def _refuse_unknown(unknown: Sequence[str], parser: argparse.ArgumentParser) -> NoReturn:
    from cellfree_sim.scenario.suggest import did_you_mean

    options = [word for word in unknown if word.startswith("-")]
    if not options:
        raise UserError(f"one argument too many: '{_flat(unknown[0])}'; see '{parser.prog} --help'")
    known = sorted(set(re.findall(r"--[a-z-]+", parser.format_usage())))
    option = options[0].partition("=")[0]
    hint = did_you_mean(option, known)
    raise UserError(f"unknown option '{_flat(option)}'; allowed: {', '.join(known)}{hint}; see '{parser.prog} --help'")


def _parser() -> tuple[argparse.ArgumentParser, list[str], list[str]]:
    """The parser, the names of the commands, and those of ``cellfree scenarios``."""
    style: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = _Parser(prog="cellfree", description=_DESCRIPTION, epilog=_EPILOG, **style)
    parser.add_argument("--version", action="version", version=f"cellfree {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands", dest="command")

    def add(group: Any, name: str, handler: Any, help_text: str, epilog: str = "") -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = group.add_parser(
            name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.", epilog=epilog, **style
        )
        made.set_defaults(handler=handler, parser=made)
        return made

    run = add(commands, "run", _run, "run a scenario: channels, training, evaluation, report", _RUN_EPILOG)
    run.add_argument("scenario", metavar="SCENARIO", nargs="?", help="a YAML file, or the name of a shipped scenario")
    run.add_argument("--resume", metavar="DIR", help="go on with the run in this folder from its last checkpoint")
    run.add_argument("--out", metavar="DIR", help="new or empty folder of the run (default runs/<name>-<UTC stamp>)")
    run.add_argument("--address", metavar="ADDR", help="join the Ray cluster at this address instead of starting one")
    run.add_argument(
        "--engine", metavar="ray|inline", help="one process per station, or all in this process without Ray"
    )
    _add_set(run)
    run.add_argument("--seed", metavar="N", help="the same as --set seed=N")
    run.add_argument("--quiet", action="store_true", help="no progress on stderr")
    run.add_argument("--detach", action="store_true", help="let it go on by itself; prints its folder")

    status = add(commands, "status", _status, "show how the runs below ./runs are doing", _STATUS_EPILOG)
    status.add_argument("--run", metavar="NAME", help="only this one: its folder, or its name below ./runs")
    status.add_argument("--json", action="store_true", help="print JSON")

    stop = add(commands, "stop", _stop, "end a run at the next round boundary, as Ctrl-C would", _STOP_EPILOG)
    stop.add_argument("run", metavar="RUN", nargs="?", help="its folder or name (default: the one that is running)")

    report = add(commands, "report", _report, "rebuild the report and figures of a run folder", _REPORT_EPILOG)
    report.add_argument("folder", metavar="DIR", help="the folder of a run")
    report.add_argument("--open", action="store_true", help="show it in the web browser")

    bench = add(commands, "bench", _bench, "measure speed, as ratios taken side by side", _BENCH_EPILOG)
    bench.add_argument("names", metavar="NAME", nargs="*", help="benchmarks to run (default all)")
    bench.add_argument("--json", action="store_true", help="print JSON")
    bench.add_argument("--quick", action="store_true", help="fewer repetitions, rougher numbers")

    scenarios = add(
        commands, "scenarios", None, "list, show and check scenarios, print their schema", _SCENARIOS_EPILOG
    )
    actions = scenarios.add_subparsers(metavar="COMMAND", required=True, title="commands", dest="action")
    listing = add(actions, "list", _scenarios_list, "list the shipped scenarios and what they show")
    listing.add_argument("--json", action="store_true", help="print JSON")
    show = add(actions, "show", _scenarios_show, "print a scenario with every default written out")
    show.add_argument("scenario", metavar="NAME|FILE", help="name of a shipped scenario, or a YAML file")
    _add_set(show)
    check = add(actions, "check", _scenarios_check, "check scenario files without running them")
    check.add_argument("scenarios", metavar="FILE", nargs="+", help="YAML files, or names of shipped scenarios")
    add(actions, "schema", _scenarios_schema, "print the JSON Schema of scenarios, for editors")
    return parser, list(commands.choices), list(actions.choices)


def _add_set(parser: argparse.ArgumentParser) -> None:
    text = "set one key of the scenario, for example downlink.epochs=5; can be given several times"
    parser.add_argument("--set", metavar="key=value", action="append", default=[], dest="assignments", help=text)


def _run(arguments: argparse.Namespace) -> int:
    from cellfree_sim.results.observer import create_observer

    if arguments.resume is not None:
        return _resume(arguments)
    if arguments.out == "":
        raise UserError("--out: found nothing; allowed: a new or empty folder")
    if not arguments.scenario:
        raise UserError(
            "run: SCENARIO is missing; allowed: a YAML file, a name from 'cellfree scenarios list', --resume"
        )
    scenario = _checked(_read(arguments.scenario, arguments.assignments, engine=arguments.engine, seed=arguments.seed))
    if arguments.detach:
        return _detach(arguments, scenario)
    observer = create_observer(arguments.quiet, title=f"{scenario.name} · {scenario.engine}")
    from agents import Simulation

    launch = partial(Simulation.launch, scenario, out=arguments.out)
    return _to_the_end(launch, arguments.address, observer)


def _detach(arguments: argparse.Namespace, scenario: Scenario) -> int:
    from cellfree_sim.control import detach
    from cellfree_sim.results.run_folder import default_folder

    folder = Path(arguments.out) if arguments.out else default_folder(scenario.name, datetime.now(UTC))
    options = [f"--set={assignment}" for assignment in arguments.assignments]
    options += [f"--{name}={value}" for name in ("address", "engine", "seed") if (value := getattr(arguments, name))]
    status = detach([arguments.scenario, *options], folder)
    if status == DONE:
        print(folder)
    return status


def _status(arguments: argparse.Namespace) -> int:
    from cellfree_sim.results.runs import find_run, list_runs

    runs = [find_run(arguments.run)] if arguments.run is not None else list_runs()
    if arguments.json:
        print(json.dumps([run.as_dict() for run in runs], indent=2))
        return DONE
    if not runs:
        print("no run below ./runs", file=sys.stderr)
        return DONE
    rows = [["run", "status", "engine", "step", "sum rate, bit/s/Hz", "MB moved", "process"]]
    for run in runs:
        step = "" if run.step is None else f"{run.step}" + (f"/{run.steps}" if run.steps else "")
        rate = "" if run.sum_rate is None else f"{run.sum_rate:.2f}"
        moved = "" if run.bytes is None else f"{run.bytes / 1e6:.1f}"
        process = "" if run.pid is None else f"{run.pid} on {run.host}"
        rows.append([run.run, run.status, run.engine or "", step, rate, moved, process])
    print(_table(rows))
    return DONE


def _stop(arguments: argparse.Namespace) -> int:
    from cellfree_sim.control import stop
    from cellfree_sim.results.runs import find_run

    ended = stop(find_run(arguments.run))
    saved = (Path(ended.folder) / "checkpoints").is_dir()
    hint = f"; go on with: cellfree run --resume {ended.folder}" if saved else "; nothing was saved yet"
    print(f"{ended.run}: {ended.status} after step {ended.step}{hint}")
    return DONE


def _resume(arguments: argparse.Namespace) -> int:
    from agents import Simulation
    from cellfree_sim.results.observer import create_observer

    given = ("scenario", "out", "engine", "seed", "assignments", "detach")
    if any(getattr(arguments, name) for name in given):
        raise UserError(
            "--resume goes on with the scenario of the run folder; leave out "
            "SCENARIO, --out, --engine, --seed, --set and --detach"
        )
    observer = create_observer(arguments.quiet, title=arguments.resume)
    return _to_the_end(partial(Simulation.resume, arguments.resume), arguments.address, observer)


def _to_the_end(start: Any, address: str | None, observer: Observer) -> int:
    """Bring a simulation up, train it to the end of its scenario, and print what came out."""
    try:
        # Ray's threads tell of dead workers on stdout, which is for results
        with _ended_like_ctrl_c(), redirect_stdout(sys.stderr), start(address=address, observer=observer) as simulation:
            if simulation.step < simulation.scenario.steps:
                simulation.advance()
            result = simulation.result()
    finally:
        observer.close()
    print(_outcome(result.folder))
    return DONE


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Let `kill`, a scheduler's time limit and a closed terminal end a run as Ctrl-C does, with its state saved."""

    def interrupt(*_: object) -> None:
        if callable(signal.getsignal(signal.SIGINT)):  # whoever defers Ctrl-C to the end of a round defers this, too
            signal.raise_signal(signal.SIGINT)
        else:  # in the background of a shell script Ctrl-C is ignored
            raise KeyboardInterrupt

    wanted = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread():
        wanted = []
    before = {number: signal.signal(number, interrupt) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(arguments: argparse.Namespace) -> int:
    from cellfree_sim.results.report import build_report

    path = build_report(Path(arguments.folder))
    print(path)
    if arguments.open:
        import webbrowser

        if not webbrowser.open(path.absolute().as_uri()):
            _complain("no web browser was found; open the file by hand", kind="note: ")
    return DONE


def _bench(arguments: argparse.Namespace) -> int:
    from cellfree_sim import benchmarks
    from cellfree_sim.scenario.suggest import did_you_mean

    known = benchmarks.list_benchmarks()
    for name in arguments.names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UserError(f"unknown benchmark '{_flat(name)}'; allowed: {', '.join(known)}{hint}")
    rows = benchmarks.run_benchmarks(arguments.names or known, quick=arguments.quick)
    print(json.dumps(rows, indent=2) if arguments.json else _rows(rows))
    return DONE


def _scenarios_list(arguments: argparse.Namespace) -> int:
    from cellfree_sim.scenario import scenario_title, shipped_scenarios

    found = [
        {"name": name, "title": scenario_title(path), "path": str(path)} for name, path in shipped_scenarios().items()
    ]
    print(json.dumps(found, indent=2) if arguments.json else _table([[each["name"], each["title"]] for each in found]))
    return DONE


def _scenarios_show(arguments: argparse.Namespace) -> int:
    from cellfree_sim.scenario import dump_scenario, scenario_title

    source = _read(arguments.scenario, arguments.assignments)
    scenario, title = source.validated(), scenario_title(source.path)
    print((f"# {title}\n" if title else "") + dump_scenario(scenario), end="")
    return DONE


def _scenarios_check(arguments: argparse.Namespace) -> int:
    status = DONE
    for text in arguments.scenarios:
        try:
            scenario = _checked(_read(text, []))
        except UserError as error:
            _complain(str(error))
            status = REFUSED
        else:
            stations, users = scenario.network.sbs.count, scenario.network.users.count
            print(f"{_flat(text)}: good: {stations} stations, {users} users, {scenario.steps} training steps")
    return status


def _scenarios_schema(_: argparse.Namespace) -> int:
    from cellfree_sim.scenario import scenario_schema

    print(json.dumps(scenario_schema(), indent=2))
    return DONE


def _read(text: str, assignments: Sequence[str], **options: str | None) -> ScenarioSource:
    """A scenario by path or name, with ``--set`` and with options that stand for a key of the same name."""
    from cellfree_sim.scenario import find_scenario, parse_assignments, read_scenario

    overrides = parse_assignments(assignments)
    for key, value in options.items():
        if value is not None:
            overrides |= parse_assignments([f"{key}={value}"], label=f"--{key} {value}")
    return read_scenario(find_scenario(text), overrides)


def _checked(source: ScenarioSource) -> Scenario:
    """The scenario, after the checks that need all stations, links and channel files."""
    from cellfree_sim.channel import check_channels
    from cellfree_sim.network import build_network

    scenario = source.validated()
    try:
        build_network(scenario)
        check_channels(scenario)
    except UserError as error:
        raise source.located(error) from None
    return scenario


def _outcome(folder: Path) -> str:
    """The result of a run as a short text, from the files in its folder."""
    from cellfree_sim.results.analysis import load_run, outcomes

    run = load_run(folder)
    rows = [["algorithm", "sum rate, bit/s/Hz", f"{run.algorithm} minus it", "users meeting r_min"]]
    for each in outcomes(run):
        gap = "" if each.learned else f"{each.difference:+.2f} ± {each.difference_se:.2f}"
        satisfied = "" if each.satisfied is None else f"{100 * each.satisfied:.1f} %"
        rows.append([each.algorithm, f"{each.sum_rate:.2f} ± {each.sum_rate_se:.2f}", gap, satisfied])
    backhaul, seconds = run.summary.get("backhaul", {}), run.summary.get("wall_seconds")
    books = "books balanced" if backhaul.get("balanced") else "BOOKS DO NOT BALANCE"
    facts = [["backhaul", f"{backhaul.get('bytes', 0):,} bytes in {backhaul.get('frames', 0):,} frames, {books}"]]
    facts += [["time", f"{seconds:.1f} s, report not counted"]] if seconds is not None else []
    facts += [["folder", str(folder)], ["report", str(run.folder.report_path)]]
    realisations = max((each.realisations for each in outcomes(run)), default=0)
    head = f"{run.name}: mean ± standard error over {realisations} held-out realisations, differences paired"
    return f"{head}\n\n{_table(rows)}\n\n{_table(facts)}"


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Dictionaries as text; neighbours with the same keys share a table."""
    tables: list[list[list[str]]] = []
    for row in rows:
        if not tables or tables[-1][0] != list(row):
            tables.append([list(row)])
        tables[-1].append([f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()])
    return "\n\n".join(_table(table) for table in tables)


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _complain(text: str, kind: str = "error: ") -> None:
    with suppress(OSError):
        for line in text.splitlines():
            print(f"cellfree: {kind}{line}", file=sys.stderr, flush=True)


def _flat(text: str) -> str:
    from cellfree_sim.scenario.suggest import on_one_line

    return on_one_line(text, 300)


def _reader_is_gone() -> int:
    """The reader of stdout has seen enough (``| head``): keep Python from failing once more when it closes stdout."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE
