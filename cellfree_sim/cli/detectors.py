"""``cellfree detectors``: detectors of the uplink, and the trained ones that come with the package."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cellfree_sim.cli.commands import Commands, add_json
from cellfree_sim.cli.terminal import DONE, show, table

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from cellfree_sim.detection.learned.trained import TrainedDetector

_EPILOG = """\
examples:
  cellfree detectors list
  cellfree detectors show epnet-receive                      what it was trained on, and its training curve
  cellfree train detectors/epnet-receive --out my.detector   one of your own, for the option 'checkpoint'
"""
_COLUMNS = ("name", "family", "detector", "problem", "sizes", "channel", "parameters", "bytes")
_CURVE_ROWS = 20


def add_to(commands: Commands) -> Commands:
    """Add the command; returns those below it."""
    parser = commands.add(
        "detectors", None, "list the trained detectors of the uplink, show what they learned", _EPILOG
    )
    actions = Commands(parser, "action")
    add_json(actions.add("list", _list, "list the trained detectors that come with the package"))
    showing = actions.add("show", _show, "print what a detector was trained on, and its training curve")
    showing.add_argument("detector", metavar="NAME|FILE", help="name of a shipped detector, or a file")
    return actions


def _list(arguments: argparse.Namespace) -> int:
    from cellfree_sim.detection.learned.trained import read_trained, shipped_detectors

    found = [{"name": name, **_about(read_trained(path), path)} for name, path in shipped_detectors().items()]
    if arguments.json:
        show(json.dumps(found, indent=2))
    elif found:
        show(table([list(_COLUMNS), *([_printable(str(each[key])) for key in _COLUMNS] for each in found)]))
    return DONE


def _show(arguments: argparse.Namespace) -> int:
    from cellfree_sim.detection.learned.trained import find_trained, read_trained

    path = find_trained(arguments.detector)
    trained = read_trained(path)
    facts = [[key, _printable(str(value))] for key, value in _about(trained, path).items()]
    points = list(zip(*trained.curve.values(), strict=True))
    every = -(-len(points) // _CURVE_ROWS) or 1
    rows = [[f"{number:.4g}" for number in point] for point in points[::-1][::every][::-1]]
    curve = table([[_printable(key) for key in trained.curve], *rows])
    scenario = _printable(trained.scenario).removesuffix("\n")
    show(f"{table(facts)}\n\n# training curve\n{curve}\n\n# trained by this scenario\n{scenario}")
    return DONE


def _printable(text: str) -> str:
    """Lines of a file of unknown origin, without what a terminal would take for commands."""
    from cellfree_sim.scenario.suggest import on_one_line

    return "\n".join(on_one_line(line, len(line) * 10) for line in text.split("\n"))


def _about(trained: TrainedDetector, path: Path) -> dict[str, Any]:
    return {
        "family": trained.family,
        "detector": trained.detector,
        "options": ", ".join(f"{key} {value}" for key, value in trained.options.items()),
        **trained.curriculum.facts(),
        "seed": trained.seed,
        "iterations": trained.iterations,
        "parameters": trained.parameters,
        "bytes": path.stat().st_size,
        "made by": ", ".join(f"{key} {value}" for key, value in trained.versions.items()),
        "file": str(path),
    }
