"""What the command line writes: results to stdout, all else to stderr, and the exit statuses."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


def show(text: str) -> None:
    """Print a result on stdout; nothing else is printed there."""
    if sys.stdout is not None:  # closed by the caller (>&-)
        sys.stdout.write(f"{text}\n")


def complain(text: str, kind: str = "error: ") -> None:
    """Say on stderr what a person should know; each line names the program."""
    with suppress(OSError):
        for line in text.splitlines():
            if sys.stderr is not None:
                sys.stderr.write(f"cellfree: {kind}{line}\n")
                sys.stderr.flush()


def flat(text: str) -> str:
    """What a person typed, on one line of an error."""
    from cellfree_sim.scenario.suggest import on_one_line

    return on_one_line(text, 300)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text, the columns aligned.

    >>> table([["name", "bytes"], ["mbs", "12"]])
    'name  bytes\\nmbs   12'
    """
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """Dictionaries as text; neighbours with the same keys share a table."""
    found: list[list[list[str]]] = []
    for row in rows:
        if not found or found[-1][0] != list(row):
            found.append([list(row)])
        found[-1].append([f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()])
    return "\n\n".join(table(each) for each in found)


def terminal_width() -> int | None:
    """Columns of the terminal that results go to, or of COLUMNS; None where they go elsewhere, as into a pipe."""
    import shutil

    if not os.environ.get("COLUMNS") and not (sys.stdout is not None and sys.stdout.isatty()):
        return None
    return max(shutil.get_terminal_size().columns, 40)


def reader_is_gone() -> int:
    """The reader of stdout has seen enough (``| head``): keep Python from failing once more when it closes stdout."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE
