"""The generated reference leaves nothing out: keys, options, messages, errors."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType

import pytest
from manual import ROOT

from cellfree_sim import errors
from cellfree_sim.backhaul import CATALOGUE
from cellfree_sim.scenario import scenario_schema
from cellfree_sim.scenario.extensions import REGISTRIES

Maker = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def maker() -> Iterator[Maker]:
    """Modules of the manual's extension, by name."""
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))
    yield lambda name: import_module(f"reference.{name}")
    sys.path.remove(str(ROOT / "docs" / "_ext"))


def cells(text: str) -> set[str]:
    """The first cell of each row of the tables in a text, without its code marks."""
    return {line.split("|")[1].strip().strip("`") for line in text.splitlines() if line.startswith("| `")}


def test_every_key_of_the_schema_is_there_with_a_meaning(maker: Maker) -> None:
    pages = maker("scenario_keys")
    text = "\n".join([pages.sections(), pages.network_options(), pages.uplink_options()])
    keys = {key for part in scenario_schema()["$defs"].values() for key in part.get("properties", {})}
    assert keys | set(scenario_schema()["properties"]) <= cells(text) | {"name"}
    for line in text.splitlines():
        if line.startswith("| `"):
            key, _, _, _, meaning, allowed = (cell.strip() for cell in line.replace(r"\|", "/").split("|")[1:-1])
            assert meaning, key
            assert allowed, key


def test_every_registered_name_is_there(maker: Maker) -> None:
    pages = maker("scenario_keys")
    assert {id(registry) for _, registry, _ in pages.REGISTRIES.values()} == {id(each) for each in REGISTRIES.values()}
    text = pages.network_options() + pages.uplink_options()
    headings = {name for line in text.splitlines() if line.startswith("### ") for name in line[4:].split(", ")}
    assert headings == {f"`{name}`" for registry in REGISTRIES.values() for name in registry.names()}


def test_every_command_option_and_example_is_there(maker: Maker) -> None:
    pages = maker("command_line")
    text = pages.commands().replace(r"\|", "|")
    for parser in pages.all_parsers():
        assert f"`{parser.prog}`" in text
        for action in parser._actions:
            for option in action.option_strings:
                assert f"`{option}" in text, (parser.prog, option)
            assert isinstance(action, argparse._SubParsersAction) or action.help, (parser.prog, action.dest)
        examples = [line.strip() for line in (parser.epilog or "").splitlines() if line.strip().startswith("cellfree ")]
        assert all(example in text for example in examples)


def test_every_message_is_there_with_its_fields(maker: Maker) -> None:
    pages = maker("messages")
    found = cells(pages.catalogue())
    fields = {field.name for message in CATALOGUE.values() for field in dataclasses.fields(message)}
    assert fields <= found
    assert all(f"## `{kind}`" in pages.catalogue() for kind in CATALOGUE)


def test_every_error_that_is_raised_has_a_remedy(maker: Maker) -> None:
    """`StationError` and `CellfreeError` are bases, which nobody raises."""
    pages = maker("errors")
    classes = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)}
    assert classes - {errors.CellfreeError, errors.StationError} == set(pages.KINDS)
    assert all(sample.remedy for sample in pages.KINDS.values())
