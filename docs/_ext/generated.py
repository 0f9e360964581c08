"""Puts text that is made from the code into pages: a line ``{{ generated NAME }}`` becomes what `NAME` writes.

The makers are functions without arguments that give Markdown. They are called when a page is read, so that nothing that
is generated lies in the repository, and nothing of it can lie.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# What a page may ask for: the module of the package beside this one, and its function.
MAKERS = {
    "scenario-keys": ("scenario_keys", "sections"),
    "scenario-options": ("scenario_keys", "network_options"),
    "detector-options": ("scenario_keys", "uplink_options"),
    "command-line": ("command_line", "commands"),
    "messages": ("messages", "catalogue"),
    "summary-keys": ("results", "summary_keys"),
    "table-columns": ("results", "table_columns"),
    "run-files": ("results", "files"),
    "errors": ("errors", "errors"),
    "refusals": ("errors", "refusals"),
    "scenarios": ("shipped", "scenarios"),
    "trained-detectors": ("shipped", "trained_detectors"),
    "trained-policies": ("shipped", "trained_policies"),
    "verdicts": ("shipped", "studies"),
}
_LINE = re.compile(r"^\{\{ generated ([a-z-]+) \}\}$", re.MULTILINE)
_BAR = re.compile(r"``.+?``|`[^`]+`|\|")


def made(name: str) -> str:
    """The Markdown that a page gets for a name."""
    module, function = MAKERS[name]
    text: str = getattr(import_module(f"reference.{module}"), function)()
    return text


def fill_in(source: str) -> str:
    """A page with all that is generated in its place."""
    return _LINE.sub(lambda found: made(found[1]), source)


def _on_read(app: Sphinx, name: str, source: list[str]) -> None:
    source[0] = fill_in(source[0])


def _plain_bars(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Docstrings write |x| for a modulus, which Sphinx takes for a substitution."""
    lines[:] = [_BAR.sub(lambda found: found[0] if found[0].startswith("`") else r"\|", line) for line in lines]


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", _on_read)
    app.connect("autodoc-process-docstring", _plain_bars)
    return {"parallel_read_safe": True}
