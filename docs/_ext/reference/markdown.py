"""Markdown from data: tables, and docstrings that are meant for a terminal."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
_SPECIAL = re.compile(r"([<>*_\[\]|\\{}])")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], css: str = "generated") -> str:
    """A table; cells are Markdown on one line."""
    lines = [head, ["---"] * len(head), *rows]
    body = "\n".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |" for line in lines)
    return f"{{.{css}}}\n{body}\n"


def code(text: object) -> str:
    """Text as code, in a cell of a table, too."""
    written = str(text).replace("|", r"\|")
    ticks = "``" if "`" in written else "`"
    return f"{ticks}{written}{ticks}"


def prose(text: str) -> str:
    """Words of a docstring on one line, with what it has in backticks as code and nothing else taken for markup."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(
        part.replace("|", r"\|") if index % 2 else _SPECIAL.sub(r"\\\1", part) for index, part in enumerate(parts)
    )


def docstring(thing: object) -> str:
    """The docstring of a class as paragraphs; what is indented is shown as it stands, examples left out."""
    return paragraphs(inspect.getdoc(thing) or "")


def paragraphs(text: str) -> str:
    """Paragraphs of a docstring; see `docstring`."""
    found = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if block.startswith(">>>") or re.match(r"(Args|Raises|Returns|Attributes):", block):
            break
        if block.startswith("    "):
            found.append("```text\n" + inspect.cleandoc(block) + "\n```")
        else:
            found.append(prose(block))
    return "\n\n".join(found)


def first_sentence(thing: object) -> str:
    """How a docstring begins."""
    return prose(re.split(r"(?<=\.)\s|\n\n", inspect.getdoc(thing) or "")[0])
