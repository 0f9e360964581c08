"""``cellfree scenarios``, and how every command reads and checks a scenario."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from cellfree_sim.cli.commands import Commands, add_json
from cellfree_sim.cli.terminal import DONE, REFUSED, complain, flat, show, table
from cellfree_sim.errors import UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from cellfree_sim.network.graph import Network
    from cellfree_sim.scenario import Scenario, ScenarioSource

_EPILOG = """\
examples:
  cellfree scenarios list
  cellfree scenarios show quickstart --set downlink.policy=dense
  cellfree scenarios check my-network.yaml other.yaml
  cellfree scenarios schema > scenario.schema.json     for completion and checks in editors
"""


def add_to(commands: Commands) -> Commands:
    """Add the command; returns those below it."""
    parser = commands.add("scenarios", None, "list, show and check scenarios, print their schema", _EPILOG)
    actions = Commands(parser, "action")
    add_json(actions.add("list", _list, "list the shipped scenarios and what they show"))
    showing = actions.add("show", _show, "print a scenario with every default written out")
    showing.add_argument("scenario", metavar="NAME|FILE", help="name of a shipped scenario, or a YAML file")
    add_set(showing)
    checking = actions.add("check", _check, "check scenario files without running them")
    checking.add_argument("scenarios", metavar="FILE", nargs="+", help="YAML files, or names of shipped scenarios")
    actions.add("schema", _schema, "print the JSON Schema of scenarios, for editors")
    return actions


def add_set(parser: argparse.ArgumentParser) -> None:
    """The option ``--set``."""
    text = "set one key of the scenario, for example downlink.epochs=5; can be given several times"
    parser.add_argument("--set", metavar="key=value", action="append", default=[], dest="assignments", help=text)


def read(text: str, assignments: Sequence[str], **options: str | None) -> ScenarioSource:
    """A scenario by path or name, with ``--set`` and with options that stand for a key of the same name."""
    from cellfree_sim.scenario import find_scenario, parse_assignments, read_scenario

    overrides = parse_assignments(assignments)
    for key, value in options.items():
        if value is not None:
            overrides |= parse_assignments([f"{key}={value}"], label=f"--{key} {value}")
    return replace(read_scenario(find_scenario(text), overrides), announce=note)


@cache
def note(text: str) -> None:
    """Say on stderr what is allowed and yet worth knowing, once."""
    complain(text, kind="note: ")


def checked(source: ScenarioSource) -> tuple[Scenario, Network]:
    """The scenario and its network, after the checks that need all stations, links, channel files and events.

    What is allowed and yet worth knowing, such as files outside the scenario's folder, is said on stderr.
    """
    from cellfree_sim.channel import check_channels, outside_notes
    from cellfree_sim.network import build_network
    from cellfree_sim.network.changes import check_events

    scenario = source.validated()
    try:
        network = build_network(scenario)
        check_channels(scenario)
        check_events(scenario, network)
    except UserError as error:
        raise source.located(error) from None
    for text in outside_notes(scenario, source.folder):
        note(text)
    return scenario, network


def _list(arguments: argparse.Namespace) -> int:
    from cellfree_sim.scenario import scenario_title, shipped_scenarios

    found = [
        {"name": name, "title": scenario_title(path), "path": str(path)} for name, path in shipped_scenarios().items()
    ]
    show(json.dumps(found, indent=2) if arguments.json else table([[each["name"], each["title"]] for each in found]))
    return DONE


def _show(arguments: argparse.Namespace) -> int:
    from cellfree_sim.scenario import dump_scenario, scenario_title

    source = read(arguments.scenario, arguments.assignments)
    scenario, title = source.validated(), scenario_title(source.path)
    show((f"# {title}\n" if title else "") + dump_scenario(scenario).removesuffix("\n"))
    return DONE


def _check(arguments: argparse.Namespace) -> int:
    status = DONE
    for text in arguments.scenarios:
        try:
            source = read(text, [])
            scenario, _ = checked(source)
            points = _points(source) if scenario.sweep is not None else {}
        except UserError as error:
            complain(str(error))
            status = REFUSED
        else:
            if points:
                show(f"{flat(text)}: good: {points['full']} points, {points['quick']} at quick scale")
                continue
            stations, users = scenario.network.sbs.count, scenario.network.users.count
            bursts = f", {scenario.uplink.bursts} bursts" if scenario.uplink else ""
            what = f"{stations} stations, {users} users, {scenario.steps} training steps{bursts}"
            show(f"{flat(text)}: good: {what}")
    return status


def _points(source: ScenarioSource) -> dict[str, int]:
    """How many points a sweep has at each scale, all of them checked."""
    from cellfree_sim.studies.reproduce import checked_points

    return {scale: len(checked_points(source, quick=scale == "quick")) for scale in ("full", "quick")}


def _schema(_: argparse.Namespace) -> int:
    from cellfree_sim.scenario import scenario_schema

    show(json.dumps(scenario_schema(), indent=2))
    return DONE
