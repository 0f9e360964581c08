"""YAML as nodes with places: what is read, and where it says that it stood."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from cellfree_sim.errors import ScenarioError
from cellfree_sim.scenario.document import MAX_BYTES, Node, parse_yaml, read_text


def parsed(text: str) -> Node:
    node = parse_yaml(text, "f.yaml")
    assert node is not None
    return node


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10e9", 10e9),
        ("1e-3", 1e-3),
        ("-26", -26),
        ("+.5", 0.5),
        (".5e3", 500.0),
        ("5.", 5.0),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 17),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("'3'", "3"),
        ('"true"', "true"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("0b1", "0b1"),
        ("=", "="),
        ("1e", "1e"),
        ("tr38901-uma", "tr38901-uma"),
        ("|\n  a\n  b\n", "a\nb\n"),
        (">-\n  a\n  b\n", "a b"),
    ],
)
def test_scalars_of_the_yaml_1_2_core_schema(text: str, value: object) -> None:
    node = parsed(f"key: {text}").child("key")
    assert node is not None
    assert node.plain() == value
    assert type(node.plain()) is type(value)


def test_not_finite() -> None:
    data = parsed("[.inf, -.INF, +.Inf, .nan, .NaN]").plain()
    assert data[:3] == [math.inf, -math.inf, math.inf]
    assert all(math.isnan(value) for value in data[3:])


SCENARIOS = sorted((Path(__file__).parents[3] / "scenarios").rglob("*.yaml"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_agrees_with_the_yaml_library(path: Path) -> None:
    assert parsed(path.read_text()).plain() == YAML(typ="safe", pure=True).load(path.read_text())


def test_every_node_knows_its_place() -> None:
    root = parsed("# title\na: 1\nb:\n  - x\n  - {c: true}\n'd e':\n")
    b, d = root.child("b"), root.child("d e")
    assert b is not None
    assert d is not None
    item = b.child(1)
    assert item is not None
    c = item.child("c")
    assert c is not None
    assert (root.place, b.key_place, b.place, item.place) == ("f.yaml:2:1", "f.yaml:3:1", "f.yaml:4:3", "f.yaml:5:5")
    assert (c.key_place, c.place) == ("f.yaml:5:6", "f.yaml:5:9")
    assert d.place == d.key_place == "f.yaml:6:1"


def test_an_alias_stands_where_it_is_used() -> None:
    root = parsed("a: &x [1, 2]\nb: *x\n")
    b = root.child("b")
    assert b is not None
    assert b.plain() == [1, 2]
    assert b.place == "f.yaml:2:4"


def test_no_document() -> None:
    assert parse_yaml("", "f") is None
    assert parse_yaml("# only a comment\n", "f") is None


def test_children_that_do_not_exist() -> None:
    root = parsed("a: [1]")
    a = root.child("a")
    assert a is not None
    assert [root.child("b"), root.child(0), a.child(1), a.child(-1), a.child("0")] == [None] * 5


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{a: 1}", "a mapping"),
        ("[1, 2]", "a list of 2"),
        ("~", "nothing"),
        ("a\u0007b", "'a\\x07b'"),
        ("1e3", "1e3"),
        ("0x10", "0x10"),
        ("TRUE", "TRUE"),
        ("'" + "x" * 100 + "'", "'" + "x" * 59 + "…'"),
    ],
)
def test_what_was_found_in_words(text: str, found: str) -> None:
    if "\u0007" in text:
        text = '"a\\ab"'
    assert parsed(text).found() == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\na: 2", "f.yaml:2:1: key 'a' is given twice, first at 1:1; keep one"),
        ("{a: 1, a: 2}", "f.yaml:1:8: key 'a' is given twice, first at 1:2; keep one"),
        ("a: !foo 1", "f.yaml:1:4: tag !foo; a scenario has no tags"),
        ("a: &x [*x]", "f.yaml:1:8: alias *x has no anchor before it"),
        ("%YAML 3.0\n---\na: 1", "f.yaml:1:1: not valid YAML"),
        ('a: "\\xZZ"', "f.yaml:1:7: not valid YAML: expected escape sequence"),
        ('a: "\\Uffffffff"', "f.yaml: not valid YAML"),
        ("a: b\n...\nc", "f.yaml:3:1: a second document begins"),
        ("? {a: 1}\n: 2", "f.yaml:1:3: key a mapping; allowed: keys are text"),
        ("true: 1", "f.yaml:1:1: key true; allowed: keys are text"),
    ],
)
def test_refusals_begin_with_the_place(text: str, says: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_yaml(text, "f.yaml")
    assert str(caught.value).startswith(says)
    assert str(caught.value).isprintable()


def test_without_positions_only_the_origin_is_named() -> None:
    with pytest.raises(ScenarioError, match=r"^--set a=\[1: not valid YAML"):
        parse_yaml("[1", "--set a=[1", positions=False)


def test_aliases_are_counted_as_often_as_they_are_used() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 5):
        bomb += f"a{level}: &a{level} [{', '.join(['*a' + (str(level - 1) if level > 1 else '')] * 10)}]\n"
    with pytest.raises(ScenarioError, match="more than 50000 values"):
        parse_yaml(bomb, "f.yaml")


def test_reads_utf_8_with_and_without_mark(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes("name: é".encode("utf-8-sig"))
    assert read_text(path) == "name: é"
    path.write_bytes(b"x" * MAX_BYTES)
    assert len(read_text(path)) == MAX_BYTES


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.yaml", "missing.yaml: cannot be read: No such file"),
        (".", ": is a folder"),
        ("a\0b", "a\\x00b: cannot be read"),
        ("x" * 300, "cannot be read: File name too long"),
    ],
)
def test_unreadable(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        read_text(tmp_path / name)
    assert says in str(caught.value)


def test_a_device_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(ScenarioError, match="is longer than"):
        read_text(Path("/dev/zero"))
