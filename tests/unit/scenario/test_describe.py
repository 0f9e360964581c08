"""The JSON Schema and the words made from it, checked by another library and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import Field
from ruamel.yaml import YAML

from cellfree_sim.registry import Choice, Named, Options, Registry
from cellfree_sim.scenario import extensions, scenario_schema
from cellfree_sim.scenario.describe import Shape, keys_called, shape_at

SHIPPED = sorted((Path(__file__).parents[3] / "scenarios").rglob("*.yaml"))
REGISTRIES = [value for value in vars(extensions).values() if isinstance(value, Registry)]


def accepts(data: Any) -> bool:
    return jsonschema.Draft202012Validator(scenario_schema()).is_valid(data)


def test_it_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(scenario_schema())
    assert scenario_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_an_editor_accepts_the_shipped_scenarios(path: Path) -> None:
    assert accepts(YAML(typ="safe", pure=True).load(path.read_text()))


@pytest.mark.parametrize(
    "data",
    [
        {"network": {"sbs": {"count": 0}}},
        {"network": {"sbs": {"cuont": 1}}},
        {"channel": {"model": "raleigh"}},
        {"channel": {"model": "trace"}},
        {"channel": {"model": {"name": "rayleigh", "path": "x"}}},
        {"downlink": {"references": ["no-zf"]}},
        {"seed": "1"},
        {"network": {"area_m": [1]}},
    ],
)
def test_an_editor_refuses(data: Any) -> None:
    assert not accepts(data)


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.noun)
def test_every_registered_option_is_in_the_schema(registry: Registry[Any]) -> None:
    definitions = scenario_schema()["$defs"]
    assert registry.names()
    for option in registry.types():
        whole = f"{option.__module__}.{option.__name__}".replace(".", "__")  # where another class is called the same
        properties = definitions.get(option.__name__, definitions.get(whole))["properties"]
        assert set(properties) == set(option.model_fields)


def test_a_new_extension_appears_by_itself() -> None:
    registry: Registry[Any] = Registry("codec", "cellfree_sim.channel.models")

    @registry.register
    class Zip(Named):
        name: Literal["zip"] = "zip"
        level: int = Field(3, ge=1, le=9)

    @registry.register
    class File(Named):
        name: Literal["file", "path"] = "file"
        place: str

    class Part(Options):
        codec: Annotated[Any, Choice(registry)] = "zip"

    registry._discovered = True
    schema = Part.model_json_schema()
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid({"codec": "zip"})
    assert validator.is_valid({"codec": {"name": "zip", "level": 9}})
    assert validator.is_valid({"codec": {"name": "path", "place": "x"}})
    assert not validator.is_valid({"codec": "file"})  # its option is missing
    assert not validator.is_valid({"codec": {"name": "zip", "level": 10}})
    assert Part(codec="zip").codec == Zip()
    assert Part().codec == Zip()
    assert Part.model_validate({"codec": {"name": "path", "place": "x"}}).codec.name == "path"


def test_a_name_is_registered_once() -> None:
    registry: Registry[Any] = Registry("codec", "cellfree_sim.channel.models")

    class Zip(Named):
        name: Literal["zip"] = "zip"

    registry.register(Zip)
    with pytest.raises(ValueError, match="codec 'zip' is registered twice"):
        registry.register(Zip)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("seed",), "a whole number from 0 to 9223372036854775807"),
        (("network", "sbs", "count"), "a whole number from 1 to 1000"),
        (("radio", "bandwidth_hz"), "a number above 0, at most 1e10"),
        (("radio", "carrier_frequency_hz"), "a number from 5e8 to 1e11"),
        (("network", "mbs", "mec_flop_per_s"), "a number above 0"),
        (("channel", "cache"), "true or false"),
        (("backhaul", "precision"), "float32, float16, bfloat16, int8"),
        (("network", "area_m"), "a list of 2, each a number"),
        (("network", "area_m", 1), "a number"),
        (("network", "sbs", "positions_m"), "a list, each a list of 2, each a number or null"),
        (("downlink", "gradient_clip"), "a number above 0 or null"),
        (("placement", "sbs", "gpus"), "a number or auto"),
        (("on_failure",), "restart, drop, abort"),
        (("restart_timeout_s",), "a number above 0, at most 86400"),
        (("backhaul", "resend_after_s"), "a number above 0, at most 3600"),
        (("events", 0, "fail_sbs"), "text or a mapping with keys of station, barrier or null"),
        (("events", 0, "inject_sbs", "transfer"), "nearest, farthest, random, none"),
        (("events", 0, "cut_link"), "a list of 2, each text or null"),
        (("placement",), "a mapping with keys of strategy, mbs, sbs"),
        (("channel", "model", "name"), "rayleigh"),
    ],
)
def test_allowed_in_words(path: tuple[str | int, ...], words: str) -> None:
    shape = shape_at(path)
    assert shape is not None
    assert words in shape.allowed()


def test_shapes_follow_the_chosen_extension() -> None:
    shape = shape_at(("channel", "model"))
    assert shape is not None
    assert "path_loss_exponent" in shape.key_names("rayleigh")
    assert "path_loss_exponent" not in shape.key_names("trace")
    assert shape.below("path", "rayleigh") is None
    assert shape.below("path", "trace") is not None
    assert set(shape.names) == set(extensions.CHANNEL_MODELS.names())
    assert shape.default == "tr38901-uma"


def test_no_shape_where_nothing_can_stand() -> None:
    assert shape_at(("network", "nothing")) is None
    assert shape_at(("network", "nothing", "more")) is None
    assert Shape.root().below(0) is None


def test_keys_are_found_by_name() -> None:
    assert keys_called("precision") == ["backhaul.precision"]
    assert keys_called("count") == ["network.sbs.count", "network.users.count"]
    assert keys_called("width") == []
