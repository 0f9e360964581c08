"""Cells of a report's tables as numbers: what they are sorted by, and what a CSV file of them holds."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"
_NUMBER = re.compile(rf"[+{MINUS}-]?\d[\d,]*(?:\.\d+)?(?:[eE][+{MINUS}-]?\d+)?")
_CELL = re.compile(
    rf"(?P<value><?{_NUMBER.pattern})(?P<percent> %)?"
    rf"(?: ± (?P<error>{_NUMBER.pattern})| \[(?P<low>{_NUMBER.pattern}), (?P<high>{_NUMBER.pattern})\])?"
)
NOTHING = ("", "–")
FORMULA = ("=", "+", "-", "@", "\t")  # a spreadsheet takes text that begins so for a formula


def numbers(cell: str) -> list[float] | None:
    """The number in a cell, with its error or the ends of its interval; None where the cell is no such number.

    >>> numbers("−0.0521 ± 0.0084"), numbers("0.0123 [0.0101, 0.0149]"), numbers("1,234"), numbers("91.4 %")
    ([-0.0521, 0.0084], [0.0123, 0.0101, 0.0149], [1234.0], [91.4])
    >>> numbers("<0.001"), numbers("sbs-1"), numbers("–"), numbers("(25, 25, 25)")
    ([0.0], None, None, None)
    """
    found = _CELL.fullmatch(cell)
    if found is None:
        return None
    if cell.startswith("<"):
        return [0.0]
    parts = (found[name] for name in ("value", "error", "low", "high"))
    return [float(part.replace(MINUS, "-").replace(",", "")) for part in parts if part is not None]


def sort_keys(column: Sequence[str]) -> list[float | None] | None:
    """What a column is sorted by: its numbers, None for empty cells; None where a cell holds words.

    >>> sort_keys(["1,000 ± 3", "–", "2"]), sort_keys(["1", "two"])
    ([1000.0, None, 2.0], None)
    """
    found = [numbers(cell) for cell in column]
    if not any(found) or any(
        number is None and cell not in NOTHING for number, cell in zip(found, column, strict=True)
    ):
        return None
    return [number[0] if number else None for number in found]


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as comma-separated values: plain numbers, an error or the ends of an interval in columns of their own.

    >>> print(csv_text(["=run", "rate", "share"], [["zf", "−1,021.5 ± 0.2", "91.4 %"], ["=x", "–", ""]]))
    '=run,rate,rate ±,share (%)
    zf,-1021.5,0.2,91.4
    '=x,,,
    <BLANKLINE>
    """
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    spread = [_spread(name, [row[place] for row in rows]) for place, name in enumerate(columns)]
    writer.writerow([name for names, _ in spread for name in names])
    for place in range(len(rows)):
        writer.writerow([cell for _, cells in spread for cell in cells[place]])
    return target.getvalue()


def _spread(name: str, column: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of the columns that one column becomes."""
    if sort_keys(column) is None:
        return [_text(name)], [[_text(cell)] for cell in column]
    parts = [_plain(cell) for cell in column]
    width = max(len(part) for part in parts)
    ends = {1: [""], 2: ["", " ±"], 3: ["", " low", " high"]}[width]
    head = f"{name} (%)" if any(cell.endswith(" %") for cell in column) and "%" not in name else name
    return [_text(f"{head}{end}") for end in ends], [[*part, *[""] * (width - len(part))] for part in parts]


def _text(cell: str) -> str:
    """Words that no spreadsheet computes with."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _plain(cell: str) -> list[str]:
    """Numbers of a cell as Python writes them; what is less than something stays that."""
    if cell.startswith("<"):
        return [cell]
    found = _NUMBER.findall(cell)
    return [part.replace(MINUS, "-").replace(",", "").removeprefix("+") for part in found]
