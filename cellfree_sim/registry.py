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

Classes from outside the package come in two ways. Entry points of installed distributions (`Registry.group`) have names
like all others. And where a name is expected, ``module:Class`` may stand. Validation never imports code for that: it
asks the `Importer` in its context, which only those give who may (see `cellfree_sim.scenario.outside`); without one,
only classes are known that this process has imported before.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import logging
import pkgutil
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    create_model,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from cellfree_sim.errors import UserError
from cellfree_sim.sources import OWN_PACKAGES, Source, source_of

if typing.TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

_log = logging.getLogger(__name__)
REFERENCE = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
"""Pattern of a class of a module, as it is named in a scenario: ``my_module:MyDetector``."""


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


class NotImportedError(UserError):
    """Something names a class that this process has not imported, and that nobody allowed it to import."""


class Named(Options):
    """Base of registered options. Subclasses narrow ``name`` to a ``Literal``; those outside the package need none.

    Attributes:
        source: where the class comes from, for one from outside the package.
    """

    source: ClassVar[Source | None] = None

    name: str

    @model_validator(mode="before")
    @classmethod
    def _named_by_its_module(cls, data: Any) -> Any:
        """A class that has not narrowed its name is called by its module, as a scenario would."""
        if isinstance(data, dict) and "name" not in data and cls.model_fields["name"].annotation is str:
            return {"name": reference_of(cls), **data}
        return data

    @property
    def label(self) -> str:
        """The name without the module, for names of services and files, and for figures."""
        return self.name.rpartition(":")[2]


def reference_of(option: type) -> str:
    """How a scenario names a class.

    >>> reference_of(Named)
    'cellfree_sim.registry:Named'
    """
    return f"{option.__module__}:{option.__qualname__}"


class Importer(Protocol):
    """What may import the code that a scenario names; validation finds it in its context under "importer"."""

    def resolve(self, registry: Registry[Any], reference: str) -> type[Named]:
        """The class that ``module:Class`` means, adopted by the registry; ValueError where there is none."""


OptionT = TypeVar("OptionT", bound=Named)


class Registry(Generic[OptionT]):
    """Named options of one kind, found in the modules of one package and in entry points.

    The package is imported when somebody first asks what is registered, not before: a layer below may hold the registry
    of a layer above without importing it.

    Args:
        noun: what one of them is, in words.
        package: whose modules register them.
        group: of the entry points of other distributions; empty for none.
        base: module:Class of what all of them are derived from; `Named` by default.
        family: of problems, for detectors: those that say which one they are for must say this.
    """

    def __init__(self, noun: str, package: str, group: str = "", base: str = "", family: str = "") -> None:
        self.noun = noun
        self.group = group
        self.base_reference = base or reference_of(Named)
        self.family = family
        self._package = package
        self._types: dict[str, type[OptionT]] = {}
        self._outside: dict[str, type[OptionT]] = {}
        self._discovered = False

    def register(self, option: type[OptionT]) -> type[OptionT]:
        """Class decorator: make `option` selectable under each of its names."""
        for name in typing.get_args(option.model_fields["name"].annotation):
            if name in self._types:
                raise ValueError(f"{self.noun} '{name}' is registered twice")
            self._types[name] = option
        return option

    def names(self) -> list[str]:
        """All names, in the order of the modules that register them; those of entry points last."""
        self._discover()
        return list(self._types)

    def type_of(self, name: str) -> type[OptionT]:
        """The class registered under `name`, or imported before as module:Class.

        Raises:
            KeyError: there is none.
            NotImportedError: it names code that this process has not imported.
        """
        self._discover()
        if name in self._outside:
            return self._outside[name]
        if name not in self._types and re.match(REFERENCE, name):
            raise NotImportedError(
                f"names the code '{name}', which no scenario that was given here names; nothing is imported for it"
            )
        return self._types[name]

    def create(self, name: str, **options: Any) -> OptionT:
        """Validated options of the thing called `name`."""
        return self.type_of(name)(name=name, **options)

    def types(self) -> list[type[OptionT]]:
        """The registered classes, each once."""
        self._discover()
        return list(dict.fromkeys(self._types.values()))

    def base(self) -> type[Named]:
        """What all of them are derived from."""
        module, _, name = self.base_reference.partition(":")
        return cast("type[Named]", getattr(importlib.import_module(module), name))

    def fits(self, option: Any) -> bool:
        """Whether something is a class of this kind."""
        return (
            isinstance(option, type)
            and issubclass(option, self.base())
            and getattr(option, "family", None) in (None, self.family or None)
        )

    def adopt(self, option: type[Named], source: Source, name: str = "") -> type[OptionT]:
        """Make a class from outside the package selectable: as module:Class, or by a `name`.

        Raises:
            ValueError: it is not of this kind, or leaves something undone.
        """
        reference = name or f"{source.module}:{option.__qualname__}"
        undone = sorted(getattr(option, "__abstractmethods__", ()))
        if undone:
            raise ValueError(f"{reference} does not define {', '.join(undone)}")
        narrowed: Any = {"name": (Literal[reference], reference)}
        made = create_model(option.__name__, __base__=option, __module__=option.__module__, **narrowed)
        made.__doc__, made.__qualname__ = option.__doc__, option.__qualname__
        made.source = source
        (self._types if name else self._outside)[reference] = cast("type[OptionT]", made)
        return cast("type[OptionT]", made)

    def adopted(self, option: type[Named]) -> type[OptionT]:
        """The same for a class that a program has imported by itself.

        Raises:
            ValueError: it is not of this kind, or in no module that another process could import.
        """
        reference = reference_of(option)
        file = inspect.getsourcefile(option)
        if option.__module__ == "__main__" or "<locals>" in reference or file is None:
            raise ValueError(f"{reference} is in no module of its own, which other processes could import")
        if not self.fits(option):
            raise ValueError(f"{reference} is no {self.noun}")
        known = self._outside.get(reference)
        return known or self.adopt(option, source_of(option.__module__, Path(file)))

    def outside(self) -> dict[str, type[OptionT]]:
        """The classes that this process has imported by module:Class."""
        return dict(self._outside)

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)
        for entry in importlib.metadata.entry_points(group=self.group) if self.group else ():
            self._add_entry(entry)

    def _add_entry(self, entry: importlib.metadata.EntryPoint) -> None:
        """What another distribution registers; one that is broken is told in the log, and left out."""
        distribution = f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "unknown"
        try:
            option = entry.load()
            if not self.fits(option):
                raise ValueError(f"{entry.value} is no {self.noun}")
            if entry.name in self._types:
                raise ValueError("there is one of this name")
            if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", entry.name) is None:
                raise ValueError("the name has other signs than letters, digits, '.', '_' and '-'")
            file = inspect.getsourcefile(option) or ""
            self.adopt(option, source_of(option.__module__, Path(file), distribution), entry.name)
        except Exception as error:  # whatever code of others raises when it is imported
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            _log.warning("%s '%s' of distribution %s cannot be used: %s", self.noun, entry.name, distribution, reason)


class Choice:
    """Annotation that turns a pydantic field into a choice from a registry.

    ``model: Annotated[ChannelModel, Choice(CHANNEL_MODELS)]`` accepts an instance, a name, or a mapping with a name.
    """

    def __init__(self, registry: Registry[Any]) -> None:
        self.registry = registry

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler.generate_schema(self.registry.type_of(name)) for name in self.registry.names()}
        union = core_schema.tagged_union_schema(choices, discriminator="name")
        return core_schema.with_info_wrap_validator_function(
            self._validate,
            union,
            serialization=core_schema.wrap_serializer_function_ser_schema(_serialize, info_arg=True, schema=union),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        names = self.registry.names()
        alone = [name for name in names if not _needs_options(self.registry.type_of(name))]
        reference = {"type": "string", "pattern": REFERENCE}
        outside = {"type": "object", "properties": {"name": reference}, "required": ["name"]}
        written = [{"type": "string", "enum": alone}] if alone else []
        return {"anyOf": [*written, handler(schema), reference, {**outside, "x-outside": self.registry.noun}]}

    def _validate(self, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if isinstance(value, Named):
            return self._instance(value) or handler(value)
        name = value.get("name") if isinstance(value, dict) else None
        if not isinstance(name, str) or name in self.registry.names() or re.match(REFERENCE, name) is None:
            return handler(value)
        importer: Importer | None = (info.context or {}).get("importer")
        option = importer.resolve(self.registry, name) if importer else self.registry.type_of(name)
        return option.__pydantic_validator__.validate_python(value, context=info.context)

    def _instance(self, value: Named) -> Named | None:
        """Options that a program has made of a class from outside the package, or None for all others."""
        if type(value).source is not None and value.name not in self.registry.names():
            return value if self.registry.fits(type(value)) else None
        if type(value).__module__.partition(".")[0] in OWN_PACKAGES or type(value) in self.registry.types():
            return None
        option: type[Named] = self.registry.adopted(type(value))
        return option(**{key: each for key, each in value if key != "name" and key in value.model_fields_set})


def _serialize(value: Any, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
    if isinstance(value, Named) and type(value).source is not None:
        return value.model_dump(mode=info.mode, exclude_none=info.exclude_none, exclude_unset=info.exclude_unset)
    return handler(value)


def sources_in(value: Any) -> list[Source]:
    """Where the classes from outside the package come from that are chosen anywhere in options, each once, in order."""
    return sorted(set(_sources(value)))


def _sources(value: Any) -> Iterator[Source]:
    if isinstance(value, Named) and type(value).source is not None:
        yield typing.cast(Source, type(value).source)
    if isinstance(value, BaseModel):
        for key in type(value).model_fields:
            yield from _sources(getattr(value, key))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _sources(each)


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
