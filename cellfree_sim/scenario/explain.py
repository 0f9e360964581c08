"""From what pydantic found to lines a person can act on: place, key, what was found, what is allowed and meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellfree_sim.registry import MisfitError
from cellfree_sim.scenario.describe import Shape, keys_called
from cellfree_sim.scenario.suggest import did_you_mean, listed, near_miss, on_one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cellfree_sim.scenario.document import Node

MAX_LINES = 10


@dataclass(frozen=True)
class Spot:
    """Where an error belongs.

    Attributes:
        path: keys and indexes from the root.
        node: the innermost node on that path that was written by someone.
        shape: what may stand at `path`.
        inside: what may stand in the mapping around it.
        chosen: name of the extension chosen around it, if any.
        written: whether `path` itself was written, and not just what is around it.
    """

    path: tuple[str | int, ...]
    node: Node
    shape: Shape | None
    inside: Shape | None
    chosen: Any
    written: bool


def explained(errors: Sequence[Any], root: Node) -> list[str]:
    """One line for each wrong key of a scenario, unknown keys first, at most ten lines.

    `errors` are pydantic's; `root` is the document they were found in.
    """
    groups: dict[tuple[str | int, ...], list[tuple[Any, Spot, Spot | None]]] = {}
    for error in errors:
        cause = error.get("ctx", {}).get("error")
        misfit = cause if isinstance(cause, MisfitError) else None
        spot = locate(error["loc"], root, misfit.key if misfit else ())
        other = locate(error["loc"], root, misfit.because) if misfit and misfit.because else None
        groups.setdefault(spot.path, []).append((error, spot, other))
    for path in [path for path, found in groups.items() if _just_another_branch(path, found, groups)]:
        del groups[path]
    groups = dict(sorted(groups.items(), key=lambda group: group[1][0][0]["type"] != "extra_forbidden"))
    lines = [_line(*found[0]) for found in groups.values()]
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], f"and {len(lines) - MAX_LINES + 1} more errors"]
    return lines


def locate(location: Sequence[str | int], root: Node, below: Sequence[str | int] = ()) -> Spot:
    """The spot of pydantic's `location`, from which the tags of unions are dropped, and of a key `below` it."""
    path: list[str | int] = []
    node, inside, chosen = root, None, None
    current: Shape | None = Shape.root()
    written, tagged = True, False
    for index, step in enumerate((*location, *below)):
        certain = index >= len(location)  # steps of `location` may be tags
        if current is not None and step in current.names and not tagged and not certain:
            tagged = True
            continue
        child = node.child(step) if written else None
        name = _chosen(node, current) if written else None
        following = current.below(step, name) if current is not None else None
        if child is None and not certain and (isinstance(step, int) or following is None):
            continue  # the tag of a union without names, or a part of a default
        path.append(step)
        inside, chosen = current, name
        current, tagged, written = following, False, child is not None
        node = child if child is not None else node
    return Spot(tuple(path), node, current, inside, chosen, written)


def dotted(path: Iterable[str | int]) -> str:
    """A path as it is written in ``--set``.

    >>> dotted(("network", "sbs", "positions_m", 0))
    'network.sbs.positions_m[0]'
    """
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{on_one_line(step) or repr(step)}"
    return text.removeprefix(".")


def _chosen(node: Node, shape: Shape | None) -> Any:
    """The name of the extension, or of the section, that is chosen at a node."""
    tag = shape.tag if shape is not None else "name"
    if isinstance(node.value, dict):
        usual = shape.names[0] if shape is not None and shape.names and tag != "name" else None
        return node.value[tag].plain() if tag in node.value else usual
    return node.value if isinstance(node.value, str) else None


def _just_another_branch(path: tuple[str | int, ...], found: Sequence[Any], groups: Iterable[Any]) -> bool:
    """Whether an error only says that a value is not of the other type of a union, one of which was nearly met."""
    if not all(error["type"].endswith("_type") for error, *_ in found):
        return False
    return any(len(other) > len(path) and other[: len(path)] == path for other in groups)


def _line(error: Any, spot: Spot, other: Spot | None) -> str:
    key, kind, node = dotted(spot.path) or "scenario", error["type"], spot.node
    if kind == "extra_forbidden":
        return f"{node.key_place}: {key}: unknown key; {_known_keys(spot)}"
    if kind == "missing" and not spot.written:
        return f"{_override_in(node) or node.place}: {key}: is missing; allowed: {_allowed(spot, error)}"
    if kind in ("value_error", "assertion_error"):
        return f"{_place_of_misfit(spot, other)}: {key}: {on_one_line(_message(error), 300)}"
    if kind == "union_tag_not_found" and isinstance(node.value, dict) and "name" not in node.value:
        return f"{node.place}: {key}.name: is missing; allowed: {_allowed(spot, error)}"
    tag = spot.shape.tag if spot.shape is not None else "name"
    name = node.child(tag)
    if kind.startswith("union_tag") and name is not None:
        node, key = name, f"{key}.{tag}"
    if not spot.written:
        return f"{node.place}: {key}: {on_one_line(_message(error), 300)}"
    meant = did_you_mean(node.value, spot.shape.words() if spot.shape else []) if isinstance(node.value, str) else ""
    return f"{node.place}: {key}: found {_found(node, spot)}; allowed: {_allowed(spot, error)}{meant}"


def _place_of_misfit(spot: Spot, other: Spot | None) -> str:
    """Where to mend two values that do not fit: at an override, at what was written, at what is around it."""
    spots = [each for each in (spot, other) if each is not None and each.written]
    overrides = [each.node.place if _is_override(each.node.place) else _override_in(each.node) for each in spots]
    places = [place for place in overrides if place is not None] + [each.node.place for each in spots]
    return places[0] if places else spot.node.place


def _is_override(place: str) -> bool:
    return place.startswith("--")


def _override_in(node: Node) -> str | None:
    """The first override that set something inside a mapping or list: it is the likely cause of a check that failed."""
    parts = node.value.values() if isinstance(node.value, dict) else node.value if isinstance(node.value, list) else ()
    for part in parts:
        place = part.place if _is_override(part.place) else _override_in(part)
        if place is not None:
            return place
    return None


def _known_keys(spot: Spot) -> str:
    key = str(spot.path[-1])
    here = spot.inside.key_names(spot.chosen) if spot.inside else []
    allowed = f"allowed: {listed(here, limit=24)}"
    if near_miss(key, here) is not None:
        return allowed + did_you_mean(key, here)
    elsewhere = keys_called(key)
    return allowed + (f"; did you mean '{elsewhere[0]}'?" if len(elsewhere) == 1 else "")


def _found(node: Node, spot: Spot) -> str:
    if not isinstance(node.value, str) or ":" not in node.value or spot.shape is None or not spot.shape.key_names():
        return node.found()
    is_choice = spot.shape.names and spot.shape.tag == "name"
    hint = "neither a name nor module:Class" if is_choice else "a space is missing after ':'"
    return f"{node.found()} ({hint})"


def _allowed(spot: Spot, error: Any) -> str:
    return spot.shape.allowed() if spot.shape is not None else _message(error)


def _message(error: Any) -> str:
    cause = error.get("ctx", {}).get("error")
    return str(cause) if cause is not None else str(error["msg"])
