"""``cellfree extensions`` and ``cellfree check-extension``: what scenarios can choose from, and tests of one's own."""

from __future__ import annotations

import json
import traceback
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.cli.commands import Commands, add_json, check_choice
from cellfree_sim.cli.terminal import DONE, FAILED, complain, flat, show, table
from cellfree_sim.errors import UserError

if TYPE_CHECKING:
    import argparse

    from cellfree_sim.conformance import Result
    from cellfree_sim.registry import Named, Registry

_CHECK_EPILOG = """\
examples:
  cellfree check-extension my_detector:Jacobi                     a class of my_detector.py in this folder
  cellfree check-extension lib/my_detector.py:Jacobi --quick      in another folder
  cellfree check-extension my_detector:Jacobi --set iterations=20 with another value of an option
  cellfree check-extension my_detector --traceback                why it cannot be imported, in full
  cellfree check-extension lmmse --kind mimo_detectors            one that is registered, to compare

The module is imported, and so run. Exit status: 0 all checks passed; 1 one failed; 2 there is no such class.
"""
_LIST_EPILOG = """\
examples:
  cellfree extensions                 all names that a scenario may choose from, by kind
  cellfree extensions policies        of one kind, with their options

A class of one's own stands in a scenario as module:Class; other distributions add names by entry points.
"""


def add_to(commands: Commands) -> None:
    """Add the commands."""
    checking = commands.add("check-extension", _check, "test a class of your own against what its kind promises",
                            _CHECK_EPILOG)  # fmt: skip
    checking.add_argument("extension", metavar="MODULE:CLASS", help="or FILE.py:CLASS, or the name of a registered one")
    checking.add_argument("--kind", metavar="KIND", help="which of 'cellfree extensions' it is, where it could be more")
    checking.add_argument("--quick", action="store_true", help="fewer slots and iterations")
    text = "an option of it, for example iterations=20; can be given several times"
    checking.add_argument("--set", metavar="key=value", action="append", default=[], dest="assignments", help=text)
    checking.add_argument("--traceback", action="store_true", help="show where a check, or the import, failed in full")
    add_json(checking)
    listing = commands.add("extensions", _list, "list the names that a scenario may choose from", _LIST_EPILOG)
    listing.add_argument("kind", metavar="KIND", nargs="?", help="of one kind alone, with options")
    add_json(listing)


def _list(arguments: argparse.Namespace) -> int:
    from cellfree_sim.scenario.extensions import REGISTRIES

    if arguments.kind is not None:
        check_choice("kind", arguments.kind, list(REGISTRIES))
        registry = REGISTRIES[arguments.kind]
        rows = [_about(registry, name) for name in registry.names()]
        if arguments.json:
            show(json.dumps(rows, indent=2))
        else:
            show(table([list(rows[0]), *(list(row.values()) for row in rows)]))
        return DONE
    found = [
        {"kind": kind, "what": registry.noun, "names": registry.names(), "entry points": registry.group}
        for kind, registry in REGISTRIES.items()
    ]
    if arguments.json:
        show(json.dumps(found, indent=2))
    else:
        show(table([["kind", "names"], *([str(row["kind"]), ", ".join(row["names"])] for row in found)]))
    return DONE


def _about(registry: Registry[Any], name: str) -> dict[str, str]:
    option = registry.type_of(name)
    source = option.source
    return {
        "name": name,
        "from": source.distribution if source is not None else "cellfree-sim",
        "options": ", ".join(key for key in option.model_fields if key != "name"),
        "what": " ".join((option.__doc__ or "").partition("\n")[0].split()),
    }


def _check(arguments: argparse.Namespace) -> int:
    from cellfree_sim.conformance import checked

    kind, option = _found(arguments)
    names = typing.get_args(option.model_fields["name"].annotation)
    name = arguments.extension if arguments.extension in names else names[0]
    options = _options(option, name, arguments.assignments)
    results = checked(kind, options, quick=arguments.quick)
    failed = [each for each in results if each.status == "fail"]
    if arguments.json:
        show(json.dumps([_row(each) for each in results], indent=2))
    else:
        show(table([["check", "result", "seconds", ""], *([*_row(each).values()] for each in results)]))
        count = sum(each.status == "pass" for each in results)
        left = len(results) - count - len(failed)
        what = f"{count} checks passed, {len(failed)} failed, {left} left out"
        show(f"\n{options.name}, {kind}: {what}")
    if arguments.traceback:
        for each in failed:
            complain(f"{each.name}\n{each.trace.rstrip()}", kind="")
    return FAILED if failed else DONE


def _row(result: Result) -> dict[str, str]:
    return {
        "check": result.name,
        "result": result.status,
        "seconds": f"{result.seconds:.2f}",
        "reason": result.reason,
    }


def _found(arguments: argparse.Namespace) -> tuple[str, type[Named]]:
    """The kind and the class that were meant; `UserError` where there is none."""
    from cellfree_sim.cli.scenarios import note
    from cellfree_sim.scenario.extensions import REGISTRIES
    from cellfree_sim.scenario.outside import Importer

    text, kind = arguments.extension, arguments.kind
    if kind is not None:
        check_choice("--kind", kind, list(REGISTRIES))
    path, _, name = text.rpartition(":") if ":" in text else (text, "", "")
    folder = Path.cwd()
    if path.endswith(".py"):
        folder, path = Path(path).parent.resolve(), Path(path).stem
    elif not name and not _is_module(folder, path):
        return _registered(text, kind)
    importer = Importer(folder, announce=note)
    try:
        module = importer.module(path)
        if not name:
            there = ", ".join(f"{path}:{each}" for each in importer.extensions(path)) or "none"
            raise UserError(f"{flat(text)}: say which class; there are {there}")
        found = getattr(module, name, None)
        kinds = [each for each, registry in REGISTRIES.items() if registry.fits(found)]
        if kind is None and len(kinds) > 1:
            advice = "say which with --kind, or in the class with family = 'mimo' (or noma, mmtc)"
            raise UserError(f"{flat(text)}: may be any of {', '.join(kinds)}; {advice}")
        kind = kind or (kinds[0] if kinds else "mimo_detectors")
        if found is not None and not kinds:
            nouns = ", ".join(registry.noun for registry in REGISTRIES.values())
            raise UserError(f"{flat(text)}: is no extension; allowed: a class derived from that of a {nouns}")
        return kind, importer.resolve(REGISTRIES[kind], f"{path}:{name}")
    except UserError:
        raise
    except ValueError as error:
        if arguments.traceback and error.__cause__ is not None:
            complain("".join(traceback.format_exception(error.__cause__)).rstrip(), kind="")
        raise UserError(f"{flat(text)}: {error}") from None


def _is_module(folder: Path, name: str) -> bool:
    from cellfree_sim.sources import find_below, find_on_path

    return find_below(folder, name) is not None or find_on_path(name) is not None


def _registered(name: str, kind: str | None) -> tuple[str, type[Named]]:
    """What is registered under a name."""
    from cellfree_sim.scenario.extensions import REGISTRIES
    from cellfree_sim.scenario.suggest import did_you_mean

    kinds = [each for each, registry in REGISTRIES.items() if name in registry.names() and kind in (None, each)]
    if not kinds:
        known = [each for registry in REGISTRIES.values() for each in registry.names()]
        allowed = "module:Class of a module in this folder or on Python's path, or a name of 'cellfree extensions'"
        raise UserError(f"{flat(name)}: there is no such extension; allowed: {allowed}{did_you_mean(name, known)}")
    if len(kinds) > 1:
        raise UserError(f"{flat(name)}: is in {', '.join(kinds)}; say which with --kind")
    return kinds[0], REGISTRIES[kinds[0]].type_of(name)


def _options(option: type[Named], name: str, assignments: list[str]) -> Named:
    """Its options, those that are not given by default."""
    from pydantic import ValidationError

    from cellfree_sim.scenario.overrides import parse_assignments
    from cellfree_sim.scenario.suggest import on_one_line

    given = {key: node.plain() for key, node in parse_assignments(assignments).items()}
    try:
        return option.model_validate({"name": name, **given}, context={"folder": Path()})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(step) for step in first["loc"]) or "options"
        allowed = ", ".join(each for each in option.model_fields if each != "name") or "none"
        reason = f"{on_one_line(str(first['msg']), 200)}; options are {allowed} (--set {key}=…)"
        raise UserError(f"{option.__name__}: {key}: {reason}") from None
