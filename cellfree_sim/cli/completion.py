"""``cellfree completion``: what a shell needs to complete commands, options and names.

The script is made from the parser by shtab. What an argument takes is told by its destination or its metavar; names
that change (of scenarios, runs, studies, detectors, keys) are asked for when they are wanted, by ``cellfree completion
--names KIND``, which imports nothing heavy and never complains.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cellfree_sim.cli.commands import Commands, check_choice
from cellfree_sim.cli.terminal import DONE, show
from cellfree_sim.errors import CellfreeError, UserError

SHELLS = ("bash", "zsh", "fish", "tcsh")
_EPILOG = """\
examples; each puts the script where the shell looks for it, and takes effect in the next terminal:
  cellfree completion bash > ~/.local/share/bash-completion/completions/cellfree      (make the folder first)
  cellfree completion zsh > ~/.zfunc/_cellfree        with  fpath=(~/.zfunc $fpath); autoload -U compinit; compinit
  cellfree completion fish > ~/.config/fish/completions/cellfree.fish
  cellfree completion tcsh > ~/.cellfree.tcsh         with  source ~/.cellfree.tcsh  in ~/.tcshrc

For this terminal only:
  source <(cellfree completion bash)

It completes commands, options, files, and the names of scenarios, runs below ./runs, studies, detectors, policies,
benchmarks and keys for --set.
"""
_DESTINATIONS = {  # what an argument takes, by its name in the parser
    "assignments": "keys",
    "detector": "detectors",
    "names": "benchmarks",
    "policy": "policies",
    "run": "runs",
    "runs": "runs",
    "scenario": "scenarios",
    "scenarios": "scenarios",
    "studies": "studies",
}
_GLOBS = {"scenarios": "*.y*ml", "detectors": "*.detector", "policies": "*.policy"}  # files beside the names
# Bash expands what it is offered: a folder called $(command) below ./runs must not be run by the Tab key.
_HARMLESS = re.compile(r"\w[\w.+/\[\]-]*")
_CHOICES = re.compile(r"[a-z]+(-[a-z]+)*(\|[a-z]+(-[a-z]+)*)+")


def add_to(commands: Commands) -> None:
    """Add the command."""
    completion = commands.add("completion", _completion, "print a script that lets a shell complete", _EPILOG)
    completion.add_argument("shell", metavar="|".join(SHELLS), nargs="?", help="for which shell")
    completion.add_argument("--names", metavar="KIND", help=argparse.SUPPRESS)


def _completion(arguments: argparse.Namespace) -> int:
    if arguments.names is not None:
        with suppress(CellfreeError, OSError):  # a shell that completes is no place for errors
            for name in filter(_HARMLESS.fullmatch, _NAMES.get(arguments.names, list)()):
                show(name)
        return DONE
    if arguments.shell is None:
        raise UserError(f"completion: SHELL is missing; allowed: {', '.join(SHELLS)}")
    check_choice("unknown shell", arguments.shell, SHELLS)
    show(script(arguments.shell))
    return DONE


def script(shell: str) -> str:
    """The completion script for one of `SHELLS`."""
    import shtab

    from cellfree_sim.cli.parser import whole_parser

    parser, _, _ = whole_parser()
    for action in _arguments(parser):
        metavar = str(action.metavar or "")
        if action.dest in _DESTINATIONS and metavar != "DIR":
            action.complete = _named(_DESTINATIONS[action.dest])  # type: ignore[attr-defined]
        elif _CHOICES.fullmatch(metavar):
            action.choices = metavar.split("|")
        elif metavar in ("DIR", "FILE", "PATH"):
            action.complete = shtab.DIRECTORY if metavar == "DIR" else shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell=shell)


def _arguments(parser: argparse.ArgumentParser) -> Iterable[argparse.Action]:
    """All that take a value, of all commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _arguments(below)
        elif action.nargs != 0:
            yield action


def _named(kind: str) -> dict[str, Any]:
    """How each shell completes names of a kind, and the files beside them where there may be some."""
    function, glob = f"_cellfree_{kind}", _GLOBS.get(kind, "")
    command = f"command cellfree completion --names {kind} 2>/dev/null"
    bash = [f'  compgen -W "$({command})" -- "$1"']
    zsh = [f'  local -a names; names=(${{(f)"$({command})"}})']
    if glob:
        bash += [f"  compgen -f -X '!{glob}' -- \"$1\"", '  compgen -d -- "$1"']
        zsh += [f"""  _alternative 'names:{kind}:compadd -a names' 'files:file:_files -g "{glob}"'"""]
        fish = f"({command}; __fish_complete_path (commandline -ct))"
    elif kind == "runs":  # anywhere else they are named by their folders
        bash[0] += ' || compgen -d -- "$1"'
        zsh += ["  _alternative 'names:run:compadd -a names' 'folders:folder:_files -/'"]
        fish = f"({command}; __fish_complete_directories (commandline -ct))"
    else:
        zsh += ["  compadd -a names"]
        fish = f"({command})"
    return {
        "bash": function,
        "zsh": function,
        "fish": fish,
        "tcsh": f"`cellfree completion --names {kind}`",
        "preamble": {
            shell: "\n".join([f"{function}() {{", *lines, "}"]) for shell, lines in (("bash", bash), ("zsh", zsh))
        },
    }


def _scenarios() -> list[str]:
    from cellfree_sim.scenario import shipped_scenarios

    return list(shipped_scenarios())


def _studies() -> list[str]:
    """By their scenarios, so that no study has to be imported."""
    below = "papers/"
    return ["all", *(name.removeprefix(below) for name in _scenarios() if name.startswith(below))]


def _runs() -> list[str]:
    return sorted(log.parent.name for log in Path("runs").glob("*/run.log"))


def _detectors() -> list[str]:
    from cellfree_sim.uplink.trained_files import shipped_detectors

    return list(shipped_detectors())


def _policies() -> list[str]:
    from cellfree_sim.downlink.trained import shipped_policies

    return list(shipped_policies())


def _benchmarks() -> list[str]:
    from cellfree_sim.benchmarks import list_benchmarks

    return list_benchmarks()


def _keys() -> list[str]:
    from cellfree_sim.scenario.describe import section_keys

    return section_keys()


_NAMES: Mapping[str, Callable[[], list[str]]] = {
    "benchmarks": _benchmarks,
    "detectors": _detectors,
    "keys": _keys,
    "policies": _policies,
    "runs": _runs,
    "scenarios": _scenarios,
    "studies": _studies,
}
