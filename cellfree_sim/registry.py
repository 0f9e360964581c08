"""Extension points: one registry each. An extension is one class of options in one file, with one decorator.

A registered class *is* the configuration of the thing it names: a frozen pydantic model whose fields are the options
that a scenario may set, with a ``name`` field of type ``Literal[...]``. Its methods do the work, and import heavy
libraries only when called, so that listing what exists never imports torch:

    @CHANNEL_MODELS.register
    class Rayleigh(ChannelModel):
        name: Literal["rayleigh"] = "rayleigh"
        path_loss_exponent: float = Field(3.0, gt=0)

In a scenario an option is a name, or a mapping with a name and options: ``model: rayleigh`` or
``model: {name: rayleigh, path_loss_exponent: 3.5}``. `Choice` puts a registry into a pydantic field, so that whatever
is registered is validated, and printed in the JSON schema, without editing any list.
"""

from __future__ import annotations

import importlib
import pkgutil
import typing
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

if typing.TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue


def _refuse_conversions(schema: Any) -> None:
    """Make every number and truth value inside a pydantic core schema strict."""
    if isinstance(schema, dict):
        if schema.get("type") in ("int", "float", "bool"):
            schema.setdefault("strict", True)
        for key, part in schema.items():
            if key not in ("metadata", "default", "serialization"):
                _refuse_conversions(part)
    elif isinstance(schema, (list, tuple)):
        for part in schema:
            _refuse_conversions(part)


class Options(BaseModel):
    """Base of every part of a scenario: frozen, unknown keys refused, no NaN, no infinity.

    Nothing is converted on the way in: "3", true and 3.0 are not the whole number 3. (A list is taken for a tuple, and
    a whole number for a float: YAML has no other way to write them.)
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        _refuse_conversions(schema)
        return schema


class MisfitError(ValueError):
    """A cross-field check failed at one key of the section that checks: raise it in a validator.

    `key` is relative to that section, for example ``("sbs", "positions_m", 2)``, and `because` the key of the other
    value that it does not fit, if there is one. The error names `key`, and the place where it (or the other) was
    written.
    """

    def __init__(self, key: tuple[str | int, ...], message: str, because: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.key = key
        self.because = because


class Named(Options):
    """Base of registered options. Subclasses narrow ``name`` to a ``Literal``."""

    name: str


OptionT = TypeVar("OptionT", bound=Named)


class Registry(Generic[OptionT]):
    """Named options of one kind, found in the modules of one package.

    The package is imported when somebody first asks what is registered, not before: a layer below may hold the registry
    of a layer above without importing it.
    """

    def __init__(self, noun: str, package: str) -> None:
        self.noun = noun
        self._package = package
        self._types: dict[str, type[OptionT]] = {}
        self._discovered = False

    def register(self, option: type[OptionT]) -> type[OptionT]:
        """Class decorator: make `option` selectable under each of its names."""
        for name in typing.get_args(option.model_fields["name"].annotation):
            if name in self._types:
                raise ValueError(f"{self.noun} '{name}' is registered twice")
            self._types[name] = option
        return option

    def names(self) -> list[str]:
        """All names, in the order of the modules that register them."""
        self._discover()
        return list(self._types)

    def type_of(self, name: str) -> type[OptionT]:
        """The class registered under `name` (KeyError where there is none)."""
        self._discover()
        return self._types[name]

    def create(self, name: str, **options: Any) -> OptionT:
        """Validated options of the thing called `name`."""
        return self.type_of(name)(name=name, **options)

    def types(self) -> list[type[OptionT]]:
        """The registered classes, each once."""
        self._discover()
        return list(dict.fromkeys(self._types.values()))

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)


class Choice:
    """Annotation that turns a pydantic field into a choice from a registry.

    ``model: Annotated[ChannelModel, Choice(CHANNEL_MODELS)]`` accepts an instance, a name, or a mapping with a name.
    """

    def __init__(self, registry: Registry[Any]) -> None:
        self.registry = registry

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler.generate_schema(self.registry.type_of(name)) for name in self.registry.names()}
        union = core_schema.tagged_union_schema(choices, discriminator="name")
        return core_schema.no_info_before_validator_function(
            lambda value: {"name": value} if isinstance(value, str) else value, union
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        names = self.registry.names()
        alone = [name for name in names if not _needs_options(self.registry.type_of(name))]
        return {"anyOf": [{"type": "string", "enum": alone}, handler(schema)] if alone else [handler(schema)]}


class Tagged:
    """Annotation that makes a pydantic field one of several sections, which one of their keys tells apart.

    ``uplink: Annotated[Uplink, Tagged("problem", {"mimo": MimoUplink, "noma": NomaUplink})]``. Where the key is left
    out the section is the first; in that one the key has a default, in all others none.
    """

    def __init__(self, key: str, sections: dict[str, type[Options]]) -> None:
        self.key = key
        self.sections = sections

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        first = next(iter(self.sections))
        choices = {name: handler.generate_schema(section) for name, section in self.sections.items()}
        union = core_schema.tagged_union_schema(choices, discriminator=self.key)
        return core_schema.no_info_before_validator_function(
            lambda value: {self.key: first, **value} if isinstance(value, dict) else value, union
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = handler(schema)
        found["anyOf"] = found.pop("oneOf")  # where the key is left out, more than one may look right
        return found


def _needs_options(option: type[Named]) -> bool:
    return any(field.is_required() for key, field in option.model_fields.items() if key != "name")
