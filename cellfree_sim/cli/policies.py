"""``cellfree policies``: trained policies, which there are, what they were trained on, and new ones from runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.cli.commands import Commands, add_json
from cellfree_sim.cli.terminal import DONE, show, table

if TYPE_CHECKING:
    import argparse

    from cellfree_sim.downlink.trained import TrainedPolicy

_EPILOG = """\
examples:
  cellfree policies list
  cellfree policies show set-shared
  cellfree policies export runs/quickstart-20250101T120000Z --out my.policy
  cellfree run quickstart --set downlink.policy.trained=my.policy --set downlink.epochs=0      execute it as it is
  cellfree run quickstart --set downlink.policy.trained=my.policy --set downlink.epochs=10     train it further
"""
_SERVES = {"shared": "any station", "stations": "one station each", "central": "all stations at once"}


def add_to(commands: Commands) -> Commands:
    """Add the command; returns those below it."""
    parser = commands.add("policies", None, "list and show trained policies, export those of runs", _EPILOG)
    actions = Commands(parser, "action")
    add_json(actions.add("list", _list, "list the trained policies that come with the package"))
    showing = actions.add("show", _show, "print what a trained policy was trained on")
    showing.add_argument("policy", metavar="NAME|FILE", help="name of a shipped policy, or a file")
    exporting = actions.add("export", _export, "write what a run has learned to a file", _EPILOG)
    exporting.add_argument("folder", metavar="DIR", help="the folder of a run; its last checkpoint counts")
    exporting.add_argument("--out", metavar="FILE", help="where to (default <name of the scenario>.policy in DIR)")
    return actions


def _list(arguments: argparse.Namespace) -> int:
    from cellfree_sim.downlink.trained import read_trained, shipped_policies

    found = [{"name": name, **_about(read_trained(path), path)} for name, path in shipped_policies().items()]
    if arguments.json:
        show(json.dumps(found, indent=2))
    elif found:
        columns = ("name", "algorithm", "serves", "scenario", "parameters", "bytes")
        show(table([list(columns), *([_printable(str(each[key])) for key in columns] for each in found)]))
    return DONE


def _show(arguments: argparse.Namespace) -> int:
    from cellfree_sim.downlink.trained import find_trained, read_trained

    path = find_trained(arguments.policy)
    trained = read_trained(path)
    facts = [[key, _printable(str(value))] for key, value in _about(trained, path).items() if value is not None]
    show(f"{table(facts)}\n\n# trained by this scenario\n{_printable(trained.scenario)}".removesuffix("\n"))
    return DONE


def _export(arguments: argparse.Namespace) -> int:
    from cellfree_sim.cli.scenarios import note
    from cellfree_sim.export import export_policy, save_policy

    trained = export_policy(arguments.folder, announce=note)
    show(str(save_policy(trained, arguments.out or Path(arguments.folder) / f"{trained.name}.policy")))
    return DONE


def _printable(text: str) -> str:
    """Lines of a file of unknown origin, without what a terminal would take for commands."""
    from cellfree_sim.scenario.suggest import on_one_line

    return "\n".join(on_one_line(line, len(line) * 10) for line in text.split("\n"))


def _about(trained: TrainedPolicy, path: Path) -> dict[str, Any]:
    return {
        "algorithm": trained.algorithm,
        "serves": _SERVES[trained.kind],
        "policy": ", ".join(f"{key} {value}" for key, value in trained.policy.items()),
        "trained for": ", ".join(f"{value} {key.replace('_', ' ')}" for key, value in trained.sizes.items() if value),
        "scenario": trained.name,
        "seed": trained.seed,
        "steps": trained.steps,
        "validation sum rate": trained.validation_sum_rate,
        "parameters": trained.parameters,
        "bytes": path.stat().st_size,
        "made by": f"cellfree-sim {trained.made_by}",
        "file": str(path),
    }
