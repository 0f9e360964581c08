"""What a scenario may hold at each place, read from its JSON Schema: the words "allowed: …" of error lines.

The schema is made from the pydantic models and the registries, so that a new option of any extension describes itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from cellfree_sim.scenario.extensions import REGISTRIES
from cellfree_sim.scenario.schema import Scenario
from cellfree_sim.scenario.suggest import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellfree_sim.registry import Named

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@cache
def scenario_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a scenario, with the options of everything that is registered.

    >>> scenario_schema()["properties"]["seed"]["default"]
    1
    """
    return {"$schema": DIALECT, **Scenario.model_json_schema()}


@dataclass(frozen=True)
class Shape:
    """What may stand at one place of a scenario: the alternatives that its JSON Schema gives.

    Attributes:
        alternatives: schemas without ``$ref``, ``anyOf`` and ``oneOf``, any of which may hold.
        names: the names to choose from, where a registered extension, or one of several sections, is chosen here.
        tag: the key that says which one.
        default: the value that stands here when nothing is given, or None.
    """

    alternatives: tuple[dict[str, Any], ...]
    names: tuple[str, ...] = ()
    tag: str = "name"
    default: Any = None

    @staticmethod
    def root() -> Shape:
        """The shape of a whole scenario."""
        return _shape(scenario_schema())

    def below(self, key: str | int, chosen: Any = None) -> Shape | None:
        """What may stand under a key or index; `chosen` is the name of the extension chosen here, if one is."""
        parts = []
        for schema in self._of(chosen):
            if isinstance(key, str):
                parts += [schema["properties"][key]] if key in schema.get("properties", {}) else []
            elif key < len(schema.get("prefixItems", ())):
                parts.append(schema["prefixItems"][key])
            elif isinstance(schema.get("items"), dict):
                parts.append(schema["items"])
        return _shape({"anyOf": parts} if len(parts) > 1 else parts[0]) if parts else None

    def key_names(self, chosen: Any = None) -> list[str]:
        """The keys that a mapping here may have."""
        return list(dict.fromkeys(key for schema in self._of(chosen) for key in schema.get("properties", {})))

    def allowed(self) -> str:
        """What is allowed here, in words."""
        if self.names:
            return listed(self.names, limit=24)
        return " or ".join(dict.fromkeys(_in_words(schema) for schema in self.alternatives))

    def words(self) -> list[str]:
        """The fixed words that may stand here: names of extensions, and constants."""
        constants = [word for schema in self.alternatives for word in schema.get("enum", [schema.get("const")])]
        return list(dict.fromkeys([*self.names, *(word for word in constants if isinstance(word, str))]))

    def _of(self, chosen: Any) -> Iterator[dict[str, Any]]:
        for schema in self.alternatives:
            if "x-outside" in schema:
                yield from _outside(schema["x-outside"], chosen)
                continue
            name = schema.get("properties", {}).get(self.tag, {}) if self.names else {}
            if chosen is None or not name or chosen in name.get("enum", [name.get("const")]):
                yield schema


def shape_at(path: tuple[str | int, ...]) -> Shape | None:
    """The shape at a path from the root, without regard to what is chosen on the way."""
    shape: Shape | None = Shape.root()
    for key in path:
        shape = shape.below(key) if shape else None
    return shape


def keys_called(key: str) -> list[str]:
    """Dotted paths of all sections' keys with this name (options of extensions left out).

    >>> keys_called("epochs")
    ['downlink.epochs']
    """
    return [path for path in section_keys() if path.rpartition(".")[2] == key]


def section_keys() -> list[str]:
    """Dotted paths of all sections' keys, options of extensions left out.

    >>> [key for key in section_keys() if key.startswith("backhaul.capacity")]
    ['backhaul.capacity_bps']
    """
    return list(dict.fromkeys(_section_keys(Shape.root(), "")))


def _section_keys(shape: Shape, prefix: str) -> Iterator[str]:
    for key in [] if shape.names and shape.tag == "name" else shape.key_names():
        yield prefix + key
        below = shape.below(key)
        if below is not None:
            yield from _section_keys(below, f"{prefix}{key}.")


def _shape(schema: dict[str, Any]) -> Shape:
    alternatives = tuple(_alternatives(schema))
    names = tuple(dict.fromkeys(_names(schema)))
    return Shape(alternatives, names, next(_tags(schema), "name"), schema.get("default"))


def _alternatives(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in schema:
        yield from _alternatives(_referred(schema))
    elif "anyOf" in schema or "oneOf" in schema:
        for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            yield from _alternatives(part)
    else:
        yield schema


def _names(schema: dict[str, Any]) -> Iterator[str]:
    """Names of a choice from a registry: `Choice` makes a union discriminated by them."""
    yield from schema.get("discriminator", {}).get("mapping", {})
    for part in schema.get("anyOf", ()):
        yield from _names(part)


def _tags(schema: dict[str, Any]) -> Iterator[str]:
    """The key that tells the parts of a union apart."""
    if "discriminator" in schema:
        yield schema["discriminator"]["propertyName"]
    for part in schema.get("anyOf", ()):
        yield from _tags(part)


def _outside(noun: str, chosen: Any) -> Iterator[dict[str, Any]]:
    """The schema of a class that was imported as module:Class."""
    for kind, registry in REGISTRIES.items():
        if registry.noun == noun and chosen in registry.outside():
            yield _outside_schema(kind, chosen)


@cache
def _outside_schema(kind: str, name: str) -> dict[str, Any]:
    option: type[Named] = REGISTRIES[kind].type_of(name)
    schema = option.model_json_schema()
    definitions = schema.pop("$defs", {})

    def written_out(part: Any) -> Any:
        if isinstance(part, dict):
            name = str(part.get("$ref", "")).rpartition("/")[2]
            return (
                written_out({**definitions[name], **{key: each for key, each in part.items() if key != "$ref"}})
                if name in definitions
                else {key: written_out(each) for key, each in part.items()}
            )
        return [written_out(each) for each in part] if isinstance(part, list) else part

    return {**written_out(schema)}


def _referred(schema: dict[str, Any]) -> dict[str, Any]:
    definition: dict[str, Any] = scenario_schema()["$defs"][schema["$ref"].rpartition("/")[2]]
    return definition


def _in_words(schema: dict[str, Any]) -> str:
    if "x-allowed" in schema:
        return str(schema["x-allowed"])
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return listed([str(word) for word in schema["enum"]])
    match schema.get("type"):
        case "integer":
            return "a whole number" + _bounds(schema)
        case "number":
            return "a number" + _bounds(schema)
        case "boolean":
            return "true or false"
        case "string":
            return f"text that matches {schema['pattern']}" if "pattern" in schema else "text"
        case "null":
            return "null"
        case "array":
            return _list_in_words(schema)
        case "object" if "properties" in schema:
            return f"a mapping with keys of {listed(list(schema['properties']))}"
    return "a mapping" if schema.get("type") == "object" else "any value"


def _list_in_words(schema: dict[str, Any]) -> str:
    fixed = schema.get("prefixItems")
    if fixed:
        kinds = {_in_words(alternative) for part in fixed for alternative in _alternatives(part)}
        each = kinds.pop() if len(kinds) == 1 else "value"
        return f"a list of {len(fixed)}" + (f", each {each}" if each != "value" else "")
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    size = f" of at least {least}" if least else ""
    size += f"{' and' if least else ' of'} at most {most}" if most is not None else ""
    items = schema.get("items")
    return f"a list{size}" + (f", each {_shape(items).allowed()}" if isinstance(items, dict) else "")


def _bounds(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {_number(low)} to {_number(high)}"
    words = [f"above {_number(above)}"] if above is not None else []
    words += [f"of at least {_number(low)}"] if low is not None else []
    words += [f"below {_number(below)}"] if below is not None else []
    words += [f"at most {_number(high)}"] if high is not None else []
    return (" " + ", ".join(words)) if words else ""


def _number(value: float) -> str:
    """A bound as a person writes it: 1e+10 as 1e10, and whole numbers in full."""
    if float(value).is_integer() and (isinstance(value, int) or abs(value) < 1e6):
        return str(int(value))
    return f"{value:g}".replace("e+0", "e").replace("e+", "e")
