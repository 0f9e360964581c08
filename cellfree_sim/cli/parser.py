"""The parser of the whole command line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from cellfree_sim import __version__
from cellfree_sim.cli import (
    completion,
    detectors,
    doctor,
    exports,
    extensions,
    live,
    metrics,
    policies,
    results,
    running,
    scenarios,
    studies,
    sweep,
    train,
)
from cellfree_sim.cli.commands import STYLE, Commands, Parser, check_choice
from cellfree_sim.cli.terminal import flat
from cellfree_sim.cli.watch import command as watch
from cellfree_sim.errors import UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_DESCRIPTION = "Simulate a cell-free radio network with mobile edge computing; every byte between stations is measured."
_EPILOG = """\
examples:
  cellfree run quickstart                  train the shipped scenario, write its report
  cellfree watch                           look at the run that is going on, and act on it
  cellfree inject --position 75,75         add a station to the network that is running
  cellfree scenarios list                  what there is to start from
  cellfree scenarios show quickstart       every key and its default
  cellfree report runs/quickstart-20250101T120000Z --open
  cellfree trace runs/quickstart-20250101T120000Z    every frame on simulated time, for Perfetto
  cellfree reproduce cmtssl/fig6a          a figure of a paper, with a verdict on its claims
  cellfree train detectors/epnet-receive   a learned detector of the uplink

exit status: 0 done; 1 the run failed; 2 bad usage, scenario or resources; 130 interrupted
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """The arguments of a command line; `handler` is the function that takes them.

    Raises:
        UserError: a command, option or value is unknown or missing.
        SystemExit: help or the version was asked for, and printed.
    """
    parser, commands, below = whole_parser()
    commands.check(argv)
    if argv and argv[0] in below:
        below[argv[0]].check(argv[1:])
    arguments, unknown = parser.parse_known_args(live.with_negative_positions(argv))
    if unknown:
        _refuse(unknown, arguments.parser)
    return arguments


def whole_parser() -> tuple[Parser, Commands, dict[str, Commands]]:
    """The parser of the command line, its commands, and the commands below some of them, by name."""
    parser = Parser(prog="cellfree", description=_DESCRIPTION, epilog=_EPILOG, **STYLE)
    parser.add_argument("--version", action="version", version=f"cellfree {__version__}")
    commands = Commands(parser, "command")
    running.add_to(commands)
    live.add_to(commands)
    watch.add_to(commands)
    results.add_to(commands)
    exports.add_to(commands)
    studies.add_to(commands)
    sweep.add_to(commands)
    train.add_to(commands)
    below = {
        "detectors": detectors.add_to(commands),
        "metrics": metrics.add_to(commands),
        "policies": policies.add_to(commands),
        "scenarios": scenarios.add_to(commands),
    }
    extensions.add_to(commands)
    doctor.add_to(commands)
    completion.add_to(commands)
    return parser, commands, below


def _refuse(unknown: Sequence[str], parser: argparse.ArgumentParser) -> NoReturn:
    see = f"see '{parser.prog} --help'"
    options = [word for word in unknown if word.startswith("-")]
    if options:
        known = sorted(set(re.findall(r"--[a-z-]+", parser.format_usage())))
        check_choice("unknown option", options[0].partition("=")[0], known, see)
    raise UserError(f"one argument too many: '{flat(unknown[0])}'; {see}")
