"""Keys set from outside: dotted paths, list indexes, names that become mappings, and what errors say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellfree_sim.errors import ScenarioError
from cellfree_sim.scenario import load_scenario, parse_assignments
from cellfree_sim.scenario.document import parse_yaml
from cellfree_sim.scenario.overrides import apply_overrides

TEXT = """\
name: a
network: {sbs: {positions_m: [[10, 20], [30, 40]]}}
channel: {model: rayleigh}
downlink: {references: [gsa-zf, {name: ascent}]}
"""


def applied(overrides: dict[str, Any]) -> Any:
    root = parse_yaml(TEXT, "f.yaml")
    assert root is not None
    return apply_overrides(root, overrides).plain()


@pytest.mark.parametrize(
    ("overrides", "at", "value"),
    [
        ({"name": "b"}, ("name",), "b"),
        ({"downlink.epochs": 5}, ("downlink",), {"references": ["gsa-zf", {"name": "ascent"}], "epochs": 5}),
        ({"radio.subcarriers": 8}, ("radio",), {"subcarriers": 8}),
        ({"network.sbs.positions_m[1]": [5, 6]}, ("network", "sbs", "positions_m"), [[10, 20], [5, 6]]),
        ({"network.sbs.positions_m.1.0": 5}, ("network", "sbs", "positions_m"), [[10, 20], [5, 40]]),
        ({"network.sbs.positions_m[0][1]": 5}, ("network", "sbs", "positions_m"), [[10, 5], [30, 40]]),
        ({"channel.model": "trace"}, ("channel", "model"), "trace"),
        ({"channel.model.shadowing_db": 3}, ("channel", "model"), {"name": "rayleigh", "shadowing_db": 3}),
        ({"downlink.policy.width": 8}, ("downlink", "policy"), {"name": "set", "width": 8}),
        ({"downlink.policy.name": "dense"}, ("downlink", "policy"), {"name": "dense"}),
        ({"downlink.references[0].x": 1}, ("downlink", "references"), [{"name": "gsa-zf", "x": 1}, {"name": "ascent"}]),
        ({"downlink.references[1].x": 1}, ("downlink", "references"), ["gsa-zf", {"name": "ascent", "x": 1}]),
        ({"network.area_m[0]": 200}, ("network", "area_m"), [200, 100.0]),
        ({"channel.model": "trace", "channel.model.path": "x"}, ("channel", "model"), {"name": "trace", "path": "x"}),
        ({"channel.model.x": 1, "channel.model": "trace"}, ("channel", "model"), "trace"),
        ({"name": Path("b")}, ("name",), "b"),
        ({"network.area_m": np.array([1.0, 2.0])}, ("network", "area_m"), [1.0, 2.0]),
        ({"seed": np.int64(3)}, ("seed",), 3),
        ({"network.area_m": (1, 2)}, ("network", "area_m"), [1, 2]),
        ({"network.users": {"count": 2}}, ("network", "users"), {"count": 2}),
    ],
)
def test_sets_a_key(overrides: dict[str, Any], at: tuple[str, ...], value: Any) -> None:
    data = applied(overrides)
    for key in at:
        data = data[key]
    assert data == value


def test_other_keys_stay() -> None:
    before = parse_yaml(TEXT, "f.yaml")
    assert before is not None
    after = apply_overrides(before, {"downlink.epochs": 5})
    assert before.plain() == {key: value for key, value in after.plain().items() if key != "downlink"} | {
        "downlink": {"references": ["gsa-zf", {"name": "ascent"}]}
    }
    model = after.child("channel")
    assert model is not None
    assert model.place == "f.yaml:3:10"


def test_does_not_change_another_use_of_an_alias() -> None:
    root = parse_yaml("a: &x {b: 1}\nc: *x\n", "f.yaml")
    assert root is not None
    assert apply_overrides(root, {"c.b": 2}).plain() == {"a": {"b": 1}, "c": {"b": 2}}


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("downlink.epochs=5", "downlink.epochs", 5),
        ("radio.carrier_frequency_hz=3.5e9", "radio.carrier_frequency_hz", 3.5e9),
        ("name=3.5", "name", 3.5),
        ("name='3.5'", "name", "3.5"),
        ("a=b=c", "a", "b=c"),
        ("a=[1, {b: 2}]", "a", [1, {"b": 2}]),
        ("a=true", "a", True),
        ("a=", "a", None),
        ("a={name: trace, path: x y}", "a", {"name": "trace", "path": "x y"}),
        (" a =1", "a", 1),
    ],
)
def test_values_are_yaml(text: str, key: str, value: Any) -> None:
    overrides = parse_assignments([text])
    assert {name: node.plain() for name, node in overrides.items()} == {key: value}


def test_the_last_of_two_wins() -> None:
    overrides = parse_assignments(["a=1", "b.c=1", "a=2"])
    assert [(key, node.plain()) for key, node in overrides.items()] == [("b.c", 1), ("a", 2)]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"downlink.epochs": "5"}, "--set downlink.epochs=5: downlink.epochs: found '5'; allowed: a whole number"),
        ({"downlink.epochs": 5.0}, "--set downlink.epochs=5.0: downlink.epochs: found 5.0; allowed: a whole number"),
        ({"downlink.epohcs": 5}, "--set downlink.epohcs=5: downlink.epohcs: unknown key; allowed: "),
        ({"downlink.epochs": object}, "--set downlink.epochs=<class 'object'>: found a value of type type; allowed: "),
        ({"network.users": {1: 2}}, "--set network.users={1: 2}: found key 1; allowed: keys are text"),
        ({"a b": 1}, "--set a b=1: found key 'a b'; allowed: a dotted path"),
        ({"a[x]": 1}, "--set a[x]=1: found key 'a[x]'; allowed: a dotted path"),
        ({"[0]": 1}, "--set [0]=1: found key '[0]'; allowed: a dotted path"),
        ({"name.first": 1}, "--set name.first=1: name is 'a', which has no key 'first'"),
        ({"channel.model.name": "trace"}, "--set channel.model.name=trace: channel.model.path: is missing; allowed: "),
        (
            {"network.sbs.positions_m[0][0]": 999},
            "--set network.sbs.positions_m[0][0]=999: network.sbs.positions_m[0]: ",
        ),
        ({"network.area_m": [15, 100]}, "--set network.area_m=[15, 100]: network.sbs.positions_m[1]: found [30, 40]"),
        ({"network.sbs.count": 3}, "--set network.sbs.count=3: network.sbs.positions_m: found a list of 2; allowed: "),
        ({"channel.realisations.train": 5}, "--set channel.realisations.train=5: downlink.batch: found 100; allowed: "),
    ],
)
def test_errors_name_the_override(tmp_path: Path, overrides: dict[str, Any], says: str) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(TEXT)
    with pytest.raises(ScenarioError) as caught:
        load_scenario(file, overrides)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)
