"""``cellfree run``: start a scenario, plan it, let it go on by itself, or go on with what was interrupted."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.cli.commands import Commands
from cellfree_sim.cli.results import outcome
from cellfree_sim.cli.scenarios import add_set, checked, read
from cellfree_sim.cli.terminal import DONE, REFUSED, complain, flat, show, table
from cellfree_sim.errors import UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from cellfree_sim.network.graph import Network
    from cellfree_sim.results.observer import Observer
    from cellfree_sim.scenario import Scenario

_EPILOG = """\
examples:
  cellfree run scenarios/quickstart.yaml
  cellfree run quickstart --engine inline --out runs/first
  cellfree run quickstart --set downlink.epochs=5 --set channel.model=rayleigh --seed 7
  cellfree run quickstart --set downlink.policy.width=64     an option of what stands as a bare name
  cellfree run quickstart --set network.sbs.positions_m='[[20, 20], [80, 20], [50, 80]]'
  cellfree run quickstart --dry-run                          which station would run where; starts nothing
  cellfree run quickstart --detach                           look with: cellfree status; end with: cellfree stop
  cellfree run --resume runs/quickstart-20250101T120000Z     go on with what was interrupted or killed

Values are YAML. A scenario's keys: cellfree scenarios show NAME. Progress is on stderr, results are on stdout.
"""


def add_to(commands: Commands) -> None:
    """Add the command."""
    run = commands.add("run", _run, "run a scenario: channels, training, evaluation, report", _EPILOG)
    run.add_argument("scenario", metavar="SCENARIO", nargs="?", help="a YAML file, or the name of a shipped scenario")
    run.add_argument("--resume", metavar="DIR", help="go on with the run in this folder from its last checkpoint")
    run.add_argument("--out", metavar="DIR", help="new or empty folder of the run (default runs/<name>-<UTC stamp>)")
    run.add_argument("--address", metavar="ADDR", help="join the Ray cluster at this address instead of starting one")
    run.add_argument(
        "--engine", metavar="ray|inline", help="one process per station, or all in this process without Ray"
    )
    add_set(run)
    run.add_argument("--seed", metavar="N", help="the same as --set seed=N")
    run.add_argument("--quiet", action="store_true", help="no progress on stderr")
    run.add_argument("--detach", action="store_true", help="let it go on by itself; prints its folder")
    run.add_argument("--dry-run", action="store_true", help="print which station would run where, and start nothing")
    run.add_argument(
        "--tensorboard",
        action="store_true",
        help="write curves for TensorBoard meanwhile, into its folder",
    )


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
    if arguments.dry_run and arguments.detach:
        raise UserError("--dry-run starts nothing; leave out --detach")
    source = read(arguments.scenario, arguments.assignments, engine=arguments.engine, seed=arguments.seed)
    scenario, network = checked(source)
    if scenario.sweep is not None:
        name = flat(arguments.scenario)
        raise UserError(f"{name}: has a sweep; run it with: cellfree sweep {name}")
    if scenario.link is not None:
        name = flat(arguments.scenario)
        raise UserError(f"{name}: has a link, which is measured without a network: cellfree sweep {name}")
    if arguments.dry_run:
        return _dry_run(scenario, network, arguments.address)
    if arguments.detach:
        return _detach(arguments, scenario)
    observer = create_observer(arguments.quiet, title=f"{scenario.name} · {scenario.engine}")
    from agents import Simulation

    launch = partial(Simulation.launch, scenario, out=arguments.out)
    return _to_the_end(launch, arguments.address, observer, tensorboard=arguments.tensorboard)


def _dry_run(scenario: Scenario, network: Network, address: str | None) -> int:
    """Print the placement plan."""
    from agents.placement import dry_run, plan_table

    with redirect_stdout(sys.stderr):  # Ray's threads print on stdout, which is for results
        plan = dry_run(scenario, network, address)
    show("\n\n".join([plan.cluster, *([table(plan_table(plan.seats))] if plan.seats else [])]))
    for note in plan.notes:
        complain(note, kind="note: ")
    if not plan.fits:
        complain(plan.problem)
        return REFUSED
    return DONE


def _detach(arguments: argparse.Namespace, scenario: Scenario) -> int:
    from cellfree_sim.control import detach
    from cellfree_sim.results.run_folder import default_folder

    folder = Path(arguments.out) if arguments.out else default_folder(scenario.name, datetime.now(UTC))
    options = [f"--set={assignment}" for assignment in arguments.assignments]
    options += [f"--{name}={value}" for name in ("address", "engine", "seed") if (value := getattr(arguments, name))]
    options += ["--tensorboard"] if arguments.tensorboard else []
    status = detach([arguments.scenario, *options], folder)
    if status == DONE:
        show(str(folder))
    return status


def _resume(arguments: argparse.Namespace) -> int:
    from agents import Simulation
    from cellfree_sim.results.observer import create_observer

    given = ("scenario", "out", "engine", "seed", "assignments", "detach", "dry_run")
    if any(getattr(arguments, name) for name in given):
        raise UserError(
            "--resume goes on with the scenario of the run folder; leave out "
            "SCENARIO, --out, --engine, --seed, --set, --detach and --dry-run"
        )
    observer = create_observer(arguments.quiet, title=arguments.resume)
    start = partial(Simulation.resume, arguments.resume)
    return _to_the_end(start, arguments.address, observer, tensorboard=arguments.tensorboard)


def _to_the_end(start: Any, address: str | None, display: Observer, *, tensorboard: bool) -> int:
    """Bring a simulation up, train it to the end of its scenario, and print what came out."""
    from cellfree_sim.results.observer import Several

    if tensorboard:
        from cellfree_sim.results.exports.event_files import check_installed

        check_installed()
    observer: Any = Several(display) if tensorboard else display
    try:
        # Ray's threads tell of dead workers on stdout, which is for results
        with ended_like_ctrl_c(), redirect_stdout(sys.stderr), start(address=address, observer=observer) as simulation:
            if tensorboard:
                observer.add(_curves(simulation.folder))
            simulation.advance()
            result = simulation.result()
    finally:
        observer.close()
    show(outcome(result.folder))
    return DONE


def _curves(folder: Path) -> Observer:
    """Writes curves for TensorBoard into a run folder."""
    from cellfree_sim import load_results
    from cellfree_sim.results.exports import FORMS
    from cellfree_sim.results.exports.tensorboard import TensorBoardObserver

    return TensorBoardObserver(folder / FORMS["tensorboard"].place, load_results(folder))


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
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
