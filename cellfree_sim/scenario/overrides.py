"""Single keys of a scenario set from outside: ``--set downlink.epochs=5``, or a mapping in Python.

A key is a dotted path; entries of lists are counted from 0: ``network.sbs.positions_m[0]`` (or ``….positions_m.0``). A
value replaces what stood there. Where an extension stands as a bare name, an option of it can be set directly:
``--set channel.model.path_loss_exponent=3`` makes ``rayleigh`` into ``{name: rayleigh, path_loss_exponent: 3}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from cellfree_sim.errors import ScenarioError
from cellfree_sim.scenario.describe import Shape
from cellfree_sim.scenario.document import Node, parse_yaml
from cellfree_sim.scenario.suggest import on_one_line

_PATH = re.compile(r"[^.\[\]=\s]+(\[[0-9]+\])*(\.[^.\[\]=\s]+(\[[0-9]+\])*)*")
_STEP = re.compile(r"[^.\[\]]+")


def parse_assignments(texts: Iterable[str], label: str | None = None) -> dict[str, Node]:
    """The overrides in a list of ``key=value`` texts; values are YAML, later ones win.

    Errors name each text as ``--set key=value``, or as `label`.

    >>> overrides = parse_assignments(["downlink.epochs=5", "radio.carrier_frequency_hz=3e9"])
    >>> {key: node.plain() for key, node in overrides.items()}
    {'downlink.epochs': 5, 'radio.carrier_frequency_hz': 3000000000.0}
    """
    overrides: dict[str, Node] = {}
    for text in texts:
        place = _label(text) if label is None else on_one_line(label, 80)
        key, equals, value = text.partition("=")
        if not equals:
            raise ScenarioError(f"{place}: found no '='; allowed: --set key=value, for example --set downlink.epochs=5")
        node = parse_yaml(value, place, positions=False) or Node(None, place)
        overrides.pop(key.strip(), None)
        overrides[key.strip()] = replace(node, key_place=place)
    return overrides


def apply_overrides(root: Node, overrides: Mapping[str, Any]) -> Node:
    """A copy of the tree with each key of `overrides` set; other keys keep their places."""
    for key, value in overrides.items():
        node = value if isinstance(value, Node) else _node(value, _label(f"{key}={value}"))
        if not _PATH.fullmatch(key):
            raise ScenarioError(
                f"{node.place}: found key '{on_one_line(key)}'; allowed: a dotted path, for example downlink.epochs"
            )
        root = _with(root, Shape.root(), _STEP.findall(key), node, "")
    return root


def _with(node: Node, shape: Shape | None, steps: list[str], new: Node, path: str) -> Node:
    """`node` with `new` at `steps` below it; `shape` and `path` say where `node` is."""
    if not steps:
        return replace(new, key_place=node.key_place or new.key_place)
    if isinstance(node.value, str) and shape is not None and shape.names:
        node = replace(node, value={"name": node})
    step, rest = steps[0], steps[1:]
    if isinstance(node.value, list):
        return _with_entry(node, shape, step, rest, new, path)
    if not isinstance(node.value, dict):
        raise ScenarioError(f"{new.place}: {path} is {node.found()}, which has no key '{on_one_line(step)}'")
    chosen = node.value["name"].plain() if "name" in node.value else None
    below = shape.below(step, chosen) if shape is not None else None
    child = node.value.get(step)
    if child is None:
        default = below.default if below is not None and below.default is not None else {}
        child = _node(default, new.place) if rest else new
    changed = _with(child, below, rest, new, f"{path}.{step}" if path else step)
    return replace(node, value={**node.value, step: changed})


def _with_entry(node: Node, shape: Shape | None, step: str, rest: list[str], new: Node, path: str) -> Node:
    size = len(node.value)
    if not step.isascii() or not step.isdigit() or int(step) >= size:
        allowed = f"0 to {size - 1}" if size else "none, the list is empty"
        found = f"found index '{on_one_line(step)}'"
        raise ScenarioError(f"{new.place}: {path} is a list of {size}: {found}; allowed: {allowed}")
    index = int(step)
    below = shape.below(index) if shape is not None else None
    items = list(node.value)
    items[index] = _with(items[index], below, rest, new, f"{path}[{index}]")
    return replace(node, value=items)


def _node(value: Any, label: str) -> Node:
    """Plain Python data as nodes that are placed at an override."""
    if isinstance(value, Mapping):
        return Node({_text(key, label): _node(part, label) for key, part in value.items()}, label, label)
    if isinstance(value, (list, tuple)):
        return Node([_node(part, label) for part in value], label, label)
    if isinstance(value, PurePath):
        value = str(value)
    elif hasattr(value, "tolist"):  # a NumPy scalar or array
        return _node(value.tolist(), label)
    if value is not None and not isinstance(value, (str, int, float)):
        found = f"found a value of type {type(value).__name__}"
        raise ScenarioError(f"{label}: {found}; allowed: text, numbers, lists and mappings")
    return Node(value, label, label, written=str(value))


def _text(key: Any, label: str) -> str:
    if isinstance(key, str):
        return key
    raise ScenarioError(f"{label}: found key {on_one_line(repr(key))}; allowed: keys are text")


def _label(assignment: str) -> str:
    return f"--set {on_one_line(assignment, 80)}"
