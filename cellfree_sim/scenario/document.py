"""YAML 1.2 text as a tree of nodes that remember where they were written.

Only what a scenario needs is accepted: mappings with text keys, lists and plain values. Tags, merge keys, duplicate
keys and several documents in one file are refused; sizes, depth and the expansion of aliases are limited. Every refusal
is a `ScenarioError` that begins with ``file:line:column``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from cellfree_sim.errors import ScenarioError
from cellfree_sim.scenario.suggest import on_one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_BYTES = 2**20
MAX_VALUES = 50_000
MAX_DEPTH = 32
MAX_DIGITS = 400

# What the parser raises, beside its own errors, at escapes and directives that make no sense.
_PARSER_SLIPS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)

_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL: dict[str, Any] = {"": None, "~": None}
_SPECIAL |= dict.fromkeys(("null", "Null", "NULL"))
_SPECIAL |= dict.fromkeys(("true", "True", "TRUE"), True)
_SPECIAL |= dict.fromkeys(("false", "False", "FALSE"), False)
_SPECIAL |= {sign + form: float(sign + "inf") for sign in ("", "+", "-") for form in (".inf", ".Inf", ".INF")}
_SPECIAL |= {form: float("nan") for form in (".nan", ".NaN", ".NAN")}


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it was written.

    Attributes:
        value: a scalar, ``list[Node]`` or ``dict[str, Node]``.
        place: ``file:line:column`` of the value, or the override that set it.
        key_place: the same of its key, where it is a value of a mapping.
        written: a scalar as it stands in the text.
    """

    value: Any
    place: str
    key_place: str = ""
    written: str = ""

    def plain(self) -> Any:
        """The value without places, as Python data."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, key: str | int) -> Node | None:
        """The node under a key of a mapping or an index of a list, if there is one."""
        if isinstance(self.value, dict) and isinstance(key, str):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            child: Node = self.value[key]
            return child
        return None

    def found(self) -> str:
        """What stands here, in a few words for an error line."""
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return f"a list of {len(self.value)}"
        if self.value is None:
            return "nothing"
        if isinstance(self.value, str):
            return f"'{on_one_line(self.value)}'"
        return on_one_line(self.written)


def read_text(path: Path) -> str:
    """The text of a scenario file; `ScenarioError` where it is missing, no file, too long, or not text."""
    name = on_one_line(str(path), 300)
    try:
        if path.is_dir():
            raise ScenarioError(f"{name}: is a folder; a scenario is a YAML file")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ScenarioError(f"{name}: cannot be read: {reason}") from None
    if len(raw) > MAX_BYTES:
        raise ScenarioError(f"{name}: is longer than {MAX_BYTES} bytes; a scenario is a short YAML file")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        byte = f"{raw[error.start]:#04x}"
        raise ScenarioError(f"{name}:{line}:{column}: not a text file (byte {byte}); allowed: UTF-8") from None


def parse_yaml(text: str, origin: str, *, positions: bool = True) -> Node | None:
    """The single document in `text`, or None where there is none.

    `origin` names the text in errors: a file name, to which line and column are added unless `positions` is False.
    """
    return _Composer(text, origin, positions).document()


class _Composer:
    """Builds nodes from the events of the YAML parser."""

    def __init__(self, text: str, origin: str, positions: bool) -> None:
        self._text = text
        self._origin = origin
        self._positions = positions
        self._events = self._safely_parsed()
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._values = 0

    def document(self) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._error(event, "a second document begins; a scenario is one document")
            elif isinstance(event, (ScalarEvent, SequenceStartEvent, MappingStartEvent, AliasEvent)):
                root = self._node(event, 0)
        if root is not None and root.value is None and not root.written:
            return None
        return root

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, AliasEvent):
            return self._alias(event)
        if event.ctag is not None:
            raise self._error(event, f"tag {on_one_line(str(event.ctag))}; a scenario has no tags")
        if depth > MAX_DEPTH:
            raise self._error(event, f"nested more than {MAX_DEPTH} levels deep")
        before = self._values
        self._count(event, 1)
        if isinstance(event, ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, SequenceStartEvent):
            items = []
            while not isinstance(following := next(self._events), SequenceEndEvent):
                items.append(self._node(following, depth + 1))
            node = Node(items, self._place(event))
        else:
            node = Node(self._entries(depth), self._place(event))
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._values - before)
        return node

    def _entries(self, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._node(event, depth + 1)
            if isinstance(key.value, str) and key.value == "<<":
                raise self._error(event, "merge key '<<' is not YAML 1.2; write the keys out")
            if not isinstance(key.value, str):
                raise self._error(event, f"key {key.found()}; allowed: keys are text")
            name = key.value
            if name in entries:
                first = entries[name].key_place.removeprefix(f"{self._origin}:")
                raise self._error(event, f"key '{on_one_line(name)}' is given twice, first at {first}; keep one")
            value = self._node(next(self._events), depth + 1)
            empty = value.value is None and not value.written  # the parser places it at whatever comes next
            entries[name] = replace(value, key_place=key.place, place=key.place if empty else value.place)
        return entries

    def _alias(self, event: AliasEvent) -> Node:
        if event.anchor not in self._anchors:
            raise self._error(event, f"alias *{on_one_line(str(event.anchor))} has no anchor before it")
        node, values = self._anchors[event.anchor]
        self._count(event, values)
        return replace(node, place=self._place(event))

    def _scalar(self, event: ScalarEvent) -> Node:
        text, place = event.value, self._place(event)
        if event.style:
            return Node(text, place, written=text)
        if text in _SPECIAL:
            return Node(_SPECIAL[text], place, written=text)
        if len(text) > MAX_DIGITS and _FLOAT.fullmatch(text):
            raise self._error(event, f"a number of {len(text)} digits; allowed: at most {MAX_DIGITS}")
        if _INTEGER.fullmatch(text):
            return Node(int(text), place, written=text)
        if _OTHER_BASE.fullmatch(text):
            return Node(int(text, 0), place, written=text)
        if _FLOAT.fullmatch(text):
            return Node(float(text), place, written=text)
        return Node(text, place, written=text)

    def _count(self, event: Any, values: int) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise self._error(event, f"more than {MAX_VALUES} values (aliases counted as often as they are used)")

    def _place(self, event: Any) -> str:
        return self._at(event.start_mark.line, event.start_mark.column)

    def _at(self, line: int, column: int) -> str:
        return f"{self._origin}:{line + 1}:{column + 1}" if self._positions else self._origin

    def _error(self, event: Any, problem: str) -> ScenarioError:
        return ScenarioError(f"{self._place(event)}: {problem}")

    def _safely_parsed(self) -> Iterator[Any]:
        """Events of the text. Whatever the parser raises becomes a `ScenarioError`."""
        try:
            yield from YAML(typ="safe", pure=True).parse(self._text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = self._at(mark.line, mark.column) if mark else self._origin
            raise ScenarioError(f"{place}: not valid YAML: {_in_our_words(error)}") from None
        except ReaderError as error:
            before = self._text[: error.position]
            place = self._at(before.count("\n"), error.position - before.rfind("\n") - 1)
            raise ScenarioError(f"{place}: not a text file (character {error.character:#06x})") from None
        except (YAMLError, *_PARSER_SLIPS) as error:
            reason = on_one_line(str(error), 120)
            raise ScenarioError(f"{self._origin}: not valid YAML: {reason}") from None


def _in_our_words(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error.context or "it cannot be parsed")
    if "'\\t'" in problem:
        return "a tab; allowed: spaces"
    context = f" ({error.context})" if error.problem and error.context else ""
    return on_one_line(problem + context, 200)
