"""How commands are added to the parser, and how their usage errors read."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from cellfree_sim.cli.terminal import complain, flat
from cellfree_sim.errors import UserError

STYLE: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
Handler = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """Usage errors become a `UserError`: one line, like all other errors."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise UserError(f"{flat(message)}; see '{self.prog} --help'")


class Commands:
    """The commands below a parser."""

    def __init__(self, parser: argparse.ArgumentParser, dest: str) -> None:
        self.prog = parser.prog
        self._group: Any = parser.add_subparsers(metavar="COMMAND", required=True, title="commands", dest=dest)

    @property
    def names(self) -> list[str]:
        """In the order of the help text."""
        return list(self._group.choices)

    def add(self, name: str, handler: Handler | None, help_text: str, epilog: str = "") -> argparse.ArgumentParser:
        """A new command, whose arguments `handler` gets; it returns the exit status."""
        made: argparse.ArgumentParser = self._group.add_parser(
            name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.", epilog=epilog, **STYLE
        )
        made.set_defaults(handler=handler, parser=made)
        return made

    def check(self, argv: Sequence[str]) -> None:
        """Refuse an unknown command with the one that was probably meant."""
        word = argv[0] if argv else "-"
        if not word.startswith("-"):
            check_choice("unknown command", word, self.names, f"see '{self.prog} --help'")


def check_choice(what: str, found: str, allowed: Sequence[str], see: str = "") -> None:
    """Refuse a word that is not one of `allowed`.

    >>> check_choice("--after", "fine-tun", ["fine-tune", "execute"])
    Traceback (most recent call last):
    cellfree_sim.errors.UserError: --after 'fine-tun'; allowed: fine-tune, execute; did you mean 'fine-tune'?
    """
    if found not in allowed:
        from cellfree_sim.scenario.suggest import did_you_mean

        hints = did_you_mean(found, allowed) + (f"; {see}" if see else "")
        raise UserError(f"{what} '{flat(found)}'; allowed: {', '.join(allowed)}{hints}")


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def names_of_runs(names: Sequence[str]) -> list[str]:
    """The names of runs that were given, without comparisons, which ``runs/*`` names, too; each is told in a line.

    Raises:
        UserError: nothing else was given.
    """
    from cellfree_sim.results.runs import without_comparisons

    runs, comparisons = without_comparisons(names)
    for name in comparisons:
        complain(f"{flat(name)} holds a comparison, and is left out", kind="note: ")
    if not runs:
        raise UserError(f"found comparisons only ({len(comparisons)}); allowed: folders of runs")
    return runs
