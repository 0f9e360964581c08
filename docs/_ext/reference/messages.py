"""The message catalogue, from the classes that the codec checks frames with."""

from __future__ import annotations

import dataclasses
import inspect

from cellfree_sim.backhaul import CATALOGUE, Header, Message
from cellfree_sim.backhaul import messages as source
from reference.markdown import code, docstring, prose, table

BITS = {"backhaul": "links of the backhaul", "air": "the air, between users and stations", "control": "control"}


def catalogue() -> str:
    """The header and every kind of message, with its fields."""
    letters, _, scale = (inspect.getdoc(source) or "").partition("\n\n")[2].partition("\n\n")
    parts = [prose(letters), prose(scale)]
    rows = [
        (f"[{code(kind)}](#{kind.replace('_', '-')})", prose(_way(message)), code(message.LINK))
        for kind, message in CATALOGUE.items()
    ]
    parts.append(table(("Kind", "From → to", "Link class"), rows))
    parts.append(f"## The header\n\n{docstring(Header)}")
    parts.append(table(("Field", "Type", "Meaning"), _header_rows()))
    parts += [_message(kind, message) for kind, message in CATALOGUE.items()]
    return "\n\n".join(parts)


def _way(message: type[Message]) -> str:
    return (inspect.getdoc(message) or "").partition(":")[0].replace("->", "→")


def _message(kind: str, message: type[Message]) -> str:
    rows = []
    for field in dataclasses.fields(message):
        if field.name in message.ARRAYS:
            letters, dtype = message.ARRAYS[field.name]
            shape = f"[{', '.join(letters)}]"
        else:
            shape, dtype = "–", str(field.type).replace("dict[str, Array]", "map of arrays, any shape and type")
        rows.append((code(field.name), code(shape) if shape != "–" else shape, code(dtype)))
    anchor = kind.replace("_", "-")
    words = docstring(message).replace("->", "→").replace("-\\>", "→")
    return f"({anchor})=\n## {code(kind)}\n\n{words}\n\n" + table(("Field", "Shape", "Type"), rows)


def _header_rows() -> list[tuple[str, str, str]]:
    """Fields of the header, with what its docstring says of each."""
    said: dict[str, str] = {}
    names: list[str] = []
    for line in (inspect.getdoc(Header) or "").partition("Attributes:")[2].splitlines():
        if ":" in line and line.startswith("    ") and not line.startswith("     "):
            before, _, words = line.strip().partition(": ")
            names = before.split(", ")
            said |= dict.fromkeys(names, words)
        elif line.strip():
            said |= {name: f"{said[name]} {line.strip()}" for name in names}
    return [(code(each.name), code(each.type), prose(said.get(each.name, ""))) for each in dataclasses.fields(Header)]
