"""Whatever is read, a scenario comes out or a `ScenarioError` with clear lines, and nothing else ever does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cellfree_sim.cli import main
from cellfree_sim.errors import ScenarioError
from cellfree_sim.scenario import Scenario, dump_scenario, load_scenario, parse_assignments
from cellfree_sim.scenario.describe import Shape
from cellfree_sim.scenario.document import parse_yaml

EXAMPLES = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FEWER = settings(EXAMPLES, max_examples=30)

WORDS = st.sampled_from(
    ["rayleigh", "trace", "tr38901-uma", "grid", "edges", "mesh", "name", "gsa-zf", "auto", "inline", ""]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 12),
    st.floats(),
    st.text(max_size=6),
    WORDS,
)


def values(shape: Shape | None, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values for a place in a scenario: often of the right kind, often with the right keys, never surely right."""
    junk = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3))
    if shape is None or depth > 5:
        return junk
    right: list[st.SearchStrategy[Any]] = [st.sampled_from(shape.words())] if shape.words() else []
    right += [st.just(shape.default)] if shape.default is not None else []
    if shape.key_names():
        some = st.fixed_dictionaries({}, optional={key: below(shape, key, depth) for key in shape.key_names()})
        odd = st.dictionaries(WORDS | st.text(max_size=4), junk, max_size=1)
        right.append(st.builds(lambda extra, mapping: {**extra, **mapping}, st.just({}) | odd, some))
    if shape.below(0) is not None:
        right.append(st.lists(below(shape, 0, depth), max_size=3))
    return st.one_of(*right, *right, *right, junk) if right else SCALARS


def below(shape: Shape, key: str | int, depth: int) -> st.SearchStrategy[Any]:
    """Values for a key or index of a place."""
    return st.deferred(lambda: values(shape.below(key), depth + 1))


def as_yaml(data: Any) -> str:
    """JSON is YAML, but for numbers that are not finite."""
    text = json.dumps(data)
    return text.replace("-Infinity", "-.inf").replace("Infinity", ".inf").replace("NaN", ".nan")


def loads_or_explains(path: Path, overrides: dict[str, Any] | None = None) -> Scenario | None:
    scenario, refusal = attempt(lambda: load_scenario(path, overrides))
    lines = refusal.splitlines()
    assert len(lines) <= 10
    for line in lines:
        assert line.isprintable()
        assert line.startswith((str(path), "--set ", "and "))
        assert len(line) < 1200
    return scenario


def attempt(load: Callable[[], Any]) -> tuple[Any, str]:
    """What `load` gives, and the text of its refusal."""
    try:
        return load(), ""
    except ScenarioError as error:
        return None, str(error)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenario") / "s.yaml"


@EXAMPLES
@given(data=values(Shape.root()))
def test_any_mapping(file: Path, data: Any) -> None:
    file.write_text(as_yaml(data))
    scenario = loads_or_explains(file)
    if scenario is not None:
        assert Scenario.model_validate(json.loads(scenario.model_dump_json())) == scenario


@EXAMPLES
@given(
    text=st.text(alphabet=st.sampled_from(list("ab:-[]{},&*!|>'\"%@`#?<=~\\ \n\t01.e\x00é\ufeff\u2028")), max_size=60)
)
def test_any_text(file: Path, text: str) -> None:
    node, refusal = attempt(lambda: parse_yaml(text, "s.yaml"))
    assert refusal.startswith("s.yaml") or not refusal
    assert refusal.isprintable()
    assert node is None or node.place.startswith("s.yaml:")
    file.write_text(text, encoding="utf-8")
    loads_or_explains(file)


@EXAMPLES
@given(raw=st.binary(max_size=40))
def test_any_bytes(file: Path, raw: bytes) -> None:
    file.write_bytes(raw)
    loads_or_explains(file)


@EXAMPLES
@given(
    key=st.lists(
        st.sampled_from(["network", "sbs", "count", "downlink", "policy", "0", "positions_m[0]", "x", ""]), max_size=4
    ),
    value=SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(WORDS, SCALARS, max_size=2),
)
def test_any_override(file: Path, key: list[str], value: Any) -> None:
    file.write_text("network: {sbs: {positions_m: [[1, 2]]}}\n")
    loads_or_explains(file, {".".join(key): value})


@EXAMPLES
@given(text=st.text(max_size=30))
def test_any_assignment(file: Path, text: str) -> None:
    file.write_text("{}")
    overrides, refusal = attempt(lambda: parse_assignments([text]))
    assert refusal.startswith("--set ") or not refusal
    assert refusal.isprintable()
    loads_or_explains(file, overrides)


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
POSITIVE = st.floats(min_value=1e-12, max_value=1e15, allow_subnormal=False)


@FEWER
@given(
    name=NAMES | st.sampled_from(["null", "true", "1e5", "0x1F", "1.5", "2001-01-01", "no", "0o7"]),
    seed=st.integers(0, 2**63 - 1),
    count=st.integers(1, 5),
    capacity=POSITIVE,
    flops=POSITIVE,
    latency=st.floats(0, 3600),
    places=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), unique=True, min_size=1, max_size=4) | st.none(),
    gpus=st.sampled_from([0, 1, 2, 0.5, 0.25, "auto"]),
    references=st.lists(st.sampled_from(["gsa-zf", {"name": "rsa-zf"}]), max_size=3),
)
def test_dump_and_load_give_the_same(
    file: Path,
    name: str,
    seed: int,
    count: int,
    capacity: float,
    flops: float,
    latency: float,
    places: list[tuple[float, float]] | None,
    gpus: Any,
    references: list[Any],
) -> None:
    sbs: dict[str, Any] = {"mec_flop_per_s": flops}
    sbs |= (
        {"count": count} if places is None else {"positions_m": places, "names": [f"s{i}" for i in range(len(places))]}
    )
    scenario = Scenario.model_validate(
        {
            "name": name,
            "seed": seed,
            "network": {"sbs": sbs},
            "backhaul": {"capacity_bps": capacity, "latency_s": latency},
            "downlink": {"references": references},
            "placement": {"sbs": {"gpus": gpus}},
        }
    )
    file.write_text(dump_scenario(scenario))
    assert load_scenario(file) == scenario
    assert dump_scenario(load_scenario(file)) == dump_scenario(scenario)


WORDS_OF_THE_COMMAND = [
    "scenarios",
    "show",
    "check",
    "run",
    "report",
    "-h",
    "--set",
    "--out",
    "--seed",
    "-1",
    "--",
    "a=b",
    "s.yaml",
]


@EXAMPLES
@given(argv=st.lists(st.sampled_from(WORDS_OF_THE_COMMAND) | st.text(max_size=5), max_size=5))
def test_any_command_line(file: Path, capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    assume("bench" not in argv)
    status = main(argv)
    captured = capsys.readouterr()
    assert status in (0, 2)
    assert (status == 2) == bool(captured.err)
    assert all(line.startswith("cellfree: error: ") for line in captured.err.splitlines())
    assert "Traceback" not in captured.err
