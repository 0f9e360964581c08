"""The command line, from its parser: every command, option and example."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from cellfree_sim.cli.parser import whole_parser
from reference.markdown import code, prose, table


def commands() -> str:
    """Every command with its usage, arguments and epilog."""
    parser, _, _ = whole_parser()
    return "\n\n".join(_command(each, depth) for each, depth in _walk(parser, 2))


def all_parsers() -> list[argparse.ArgumentParser]:
    """The parser of each command, those that only group others included."""
    return [each for each, _ in _walk(whole_parser()[0], 2)]


def _walk(parser: argparse.ArgumentParser, depth: int) -> Iterator[tuple[argparse.ArgumentParser, int]]:
    yield parser, depth
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _walk(below, depth + (parser.prog != "cellfree"))


def _command(parser: argparse.ArgumentParser, depth: int) -> str:
    parts = [f"{'#' * depth} {code(parser.prog)}", prose(parser.description or "")]
    parts.append(f"```text\n{parser.format_usage().removeprefix('usage: ').rstrip()}\n```")
    rows = [_row(action) for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]
    parts.append(table(("Argument", "Default", "Meaning"), rows))
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        rows = [
            (f"[{code(each.prog)}](#{_anchor(each.prog)})", prose(each.description or ""))
            for each in group.choices.values()
        ]
        parts.append(table(("Command", "What it does"), rows))
    if parser.epilog:
        parts.append(_epilog(parser.epilog))
    return "\n\n".join(parts)


def _row(action: argparse.Action) -> tuple[str, str, str]:
    takes = action.metavar if isinstance(action.metavar, str) else (action.dest if action.nargs != 0 else "")
    if action.option_strings:
        several = f" {takes}" if action.nargs != 0 and takes else ""
        name = ", ".join(code(option + several) for option in action.option_strings)
    else:
        name = code(f"{takes} …" if action.nargs in ("*", "+") else takes)
    default = action.default
    shown = code(default) if default not in (None, False, True, [], argparse.SUPPRESS) else "–"
    words = (
        (action.help or "") % {"prog": "cellfree", "default": default}
        if "%(" in (action.help or "")
        else action.help or ""
    )
    return name, shown, prose(words.replace("%%", "%"))


def _epilog(text: str) -> str:
    """Examples as they stand at the terminal, the words around them as paragraphs."""
    parts = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        first, _, rest = block.partition("\n")
        if first.endswith(":") and rest:
            parts.append(f"{first.capitalize()}\n\n```text\n{rest}\n```")
        else:
            parts.append(prose(block))
    return "\n\n".join(parts)


def _anchor(prog: str) -> str:
    return prog.replace(" ", "-")
