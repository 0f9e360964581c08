"""The keys of a scenario, from its JSON Schema: what pydantic checks is what the page says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from cellfree_sim.registry import Registry
from cellfree_sim.scenario import extensions, scenario_schema
from cellfree_sim.scenario.describe import Shape
from reference.markdown import code, docstring, paragraphs, prose, table

HEAD = ("Key", "Type", "Unit", "Default", "Meaning", "Allowed")
UNITS = (
    ("flop_per_s", "FLOP/s"),
    ("bps_hz", "bit/s/Hz"),
    ("bps", "bit/s"),
    ("hz", "Hz"),
    ("dbm", "dBm"),
    ("db", "dB"),
    ("deg", "°"),
    ("bytes", "bytes"),
    ("wavelengths", "wavelengths"),
    ("m", "m"),
    ("s", "s"),
)
_NUMBER = re.compile(r"(?<![\w\"])-?\d+(\.\d+)?([eE][-+]?\d+)?(?![\w\"])")
TYPES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "truth value",
    "array": "list",
    "object": "mapping",
    "null": "null",
}
# A registry by the words of its page: what it names, where it stands in a scenario.
REGISTRIES: dict[str, tuple[str, Registry[Any], str]] = {
    "site-layouts": ("Layouts of stations", extensions.SITE_LAYOUTS, "network.sbs.layout"),
    "user-layouts": ("Layouts of users", extensions.USER_LAYOUTS, "network.users.layout"),
    "topologies": ("Backhaul topologies", extensions.TOPOLOGIES, "backhaul.topology"),
    "channel-models": ("Channel models", extensions.CHANNEL_MODELS, "channel.model"),
    "algorithms": ("Downlink algorithms", extensions.ALGORITHMS, "downlink.algorithm"),
    "loss-schemes": ("Loss schemes", extensions.LOSS_SCHEMES, "downlink.loss_scheme"),
    "policies": ("Policy networks", extensions.POLICIES, "downlink.policy"),
    "references": ("Reference algorithms", extensions.REFERENCES, "downlink.references"),
    "mimo-detectors": ("MIMO detectors", extensions.DETECTORS, "uplink.services[].detector, problem: mimo"),
    "noma-receivers": ("NOMA receivers", extensions.NOMA_DETECTORS, "uplink.services[].detector, problem: noma"),
    "mmtc-detectors": ("mMTC detectors", extensions.MMTC_DETECTORS, "uplink.services[].detector, problem: mmtc"),
    "codebooks": ("Codebooks of NOMA", extensions.CODEBOOKS, "uplink.codebook"),
}
OF_THE_UPLINK = ("mimo-detectors", "noma-receivers", "mmtc-detectors", "codebooks")


def unit(key: str) -> str:
    """Unit of a key, which its name ends with; empty where it has none.

    >>> unit("latency_s"), unit("min_rate_bps_hz"), unit("every_steps")
    ('s', 'bit/s/Hz', '')
    """
    name = re.sub(r"positions_m$", "position_m", key)
    return next((words for ending, words in UNITS if name == ending or name.endswith(f"_{ending}")), "")


def sections() -> str:
    """Every section, from the root down, with a table of its keys."""
    pages = []
    for path, schema in _sections(scenario_schema(), "", frozenset()):
        level = "###" if "." in path else "##"
        title = f"{level} `{path}`" if path else "## The whole"
        words = paragraphs(schema.get("description", "")) if path else ""
        pages.append(f"{title}\n\n{words}\n\n{_keys(schema, path)}")
    return "\n\n".join(pages)


def network_options() -> str:
    """Options of everything that a scenario chooses by name, detectors and codebooks left out."""
    return "\n\n".join(_registry(slug) for slug in REGISTRIES if slug not in OF_THE_UPLINK)


def uplink_options() -> str:
    """Options of detectors and codebooks."""
    return "\n\n".join(_registry(slug) for slug in OF_THE_UPLINK)


def _sections(schema: dict[str, Any], path: str, seen: frozenset[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for key, part in schema["properties"].items():
        for below, found in _below(part, f"{path}.{key}".lstrip("."), seen):
            reference = found["$ref"]
            if reference not in seen:
                yield from _sections(_resolved(found), below, seen | {reference})


def _below(part: dict[str, Any], path: str, seen: frozenset[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """References to sections that may stand at a key, with the path that each is shown under."""
    if "$ref" in part:
        if "properties" in _resolved(part):
            yield path, part
        else:
            yield from _below(_resolved(part), path, seen)
    elif isinstance(part.get("items"), dict):
        yield from _below(part["items"], f"{path}[]", seen)
    elif "discriminator" in part:
        tag, mapping = part["discriminator"]["propertyName"], part["discriminator"]["mapping"]
        if tag != "name":
            for value, reference in mapping.items():
                yield f"{path} ({tag}: {value})", {"$ref": reference}
    else:
        for alternative in (*part.get("anyOf", ()), *part.get("oneOf", ())):
            yield from _below(alternative, path, seen)


def _keys(schema: dict[str, Any], path: str) -> str:
    required = schema.get("required", [])
    rows = [
        (
            code(key),
            _type(part),
            unit(key) or "–",
            "**required**" if key in required else _default(part),
            _meaning(key, part, path),
            _allowed(key, part),
        )
        for key, part in schema["properties"].items()
    ]
    return table(HEAD, rows)


def _type(part: dict[str, Any]) -> str:
    if _registry_of(part):
        return "name, or mapping with `name`"
    kinds = []
    for alternative in _flat(part):
        if "const" in alternative:
            kinds.append("text")
        elif alternative.get("type") == "array":
            kinds.append("list")
        elif "properties" in alternative:
            kinds.append("section")
        elif alternative.get("type") != "null":
            kinds.append(TYPES.get(alternative.get("type", ""), "any value"))
    return " or ".join(dict.fromkeys(kinds)) or "any value"


def _default(part: dict[str, Any]) -> str:
    if "default" not in part:
        return "its defaults"
    value = part["default"]
    if value is None:
        return "none"
    if isinstance(value, dict):
        name = value.get("name")
        return code(name) if name else "its defaults"
    text = _NUMBER.sub(lambda found: _short(found[0]), json.dumps(value, ensure_ascii=False))
    return code(text.strip('"'))


def _short(number: str) -> str:
    """A number as people write it: 1e12 and not 1000000000000.0."""
    value = float(number)
    return (
        number if value.is_integer() and "." not in number else f"{value:.10g}".replace("e+0", "e").replace("e+", "e")
    )


def _meaning(key: str, part: dict[str, Any], path: str) -> str:
    if "description" in part:
        return prose(part["description"])
    if key == "name" and "const" in part:
        return "which one"
    for _, found in _below(part, key, frozenset()):
        first = _resolved(found).get("description", "")
        return prose(re.split(r"(?<=[.;:])\s", first)[0].rstrip(".;:"))
    return ""


def _allowed(key: str, part: dict[str, Any]) -> str:
    slug = _registry_of(part)
    if slug:
        page = "detectors" if slug in OF_THE_UPLINK else "options"
        each = "each one of " if part.get("type") == "array" else ""
        return (
            f"{each}[{REGISTRIES[slug][0].lower() if slug[0] not in 'mn' else REGISTRIES[slug][0]}]({page}.md#{slug})"
        )
    if any("properties" in alternative for alternative in _flat(part)):
        return "see its section"
    shape = Shape(tuple(_flat(part)))
    return prose(shape.allowed())


def _registry_of(part: dict[str, Any]) -> str | None:
    """The registry that is chosen from at a key, or in the items of its list."""
    if isinstance(part.get("items"), dict):
        return _registry_of(part["items"])
    names = {name for alternative in (part, *part.get("anyOf", ())) for name in _mapping(alternative)}
    return next((slug for slug, (_, registry, _) in REGISTRIES.items() if set(registry.names()) == names), None)


def _mapping(part: dict[str, Any]) -> list[str]:
    found = part.get("discriminator", {})
    return list(found["mapping"]) if found.get("propertyName") == "name" else []


def _flat(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in part:
        yield from _flat(_resolved(part))
    elif "anyOf" in part or "oneOf" in part:
        for alternative in (*part.get("anyOf", ()), *part.get("oneOf", ())):
            yield from _flat(alternative)
    else:
        yield part


def _resolved(part: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = scenario_schema()["$defs"][part["$ref"].rpartition("/")[2]]
    return found


def _registry(slug: str) -> str:
    """A registry: each of its options with its words and its keys."""
    title, registry, place = REGISTRIES[slug]
    parts = [f"({slug})=\n## {title}", f"Chosen at {code(place)}, by name or as a mapping `{{name: …, …}}`."]
    for option in registry.types():
        schema = option.model_json_schema()
        names = [name for name in registry.names() if registry.type_of(name) is option]
        heading = ", ".join(code(name) for name in names)
        keys = {key: part for key, part in schema["properties"].items() if key != "name"}
        parts.append(f"### {heading}\n\n{docstring(option)}")
        parts.append(_own_keys(keys, schema) if keys else "It has no options.")
    return "\n\n".join(parts)


def _own_keys(keys: dict[str, Any], schema: dict[str, Any]) -> str:
    """As `_keys`, for an option whose schema stands alone, with definitions of its own."""
    definitions = schema.get("$defs", {})
    known = scenario_schema()["$defs"]
    missing = {name: part for name, part in definitions.items() if name not in known}
    known.update(missing)
    try:
        return _keys({**schema, "properties": keys}, "")
    finally:
        for name in missing:
            del known[name]
