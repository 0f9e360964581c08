"""Many scenarios in one file: what is varied, by which values, in how many repetitions.

    sweep:
      cases:                                     # named variants; {} is the scenario as it stands
        dense: {downlink.policy: dense}
        set: {downlink.policy: set}
      grid: {network.sbs.count: [2, 3, 4]}       # every combination of these values
      seeds: [1, 2, 3]
      quick: {set: {downlink.epochs: 5}, grid: {network.sbs.count: [2, 4]}, seeds: [1]}

Every case is run at every combination of the grid with every seed. Values may have names, which stand for them in
tables and figures: ``network: {corner: {…}, sectors: {…}}``. Keys are dotted paths, as for ``--set``. Later ones
replace what earlier ones have set: the scenario, `quick.set`, the case, `quick.cases`, the grid, the seed. None of them
says what a sweep says itself (`seed`, `sweep`), or what every point has as it is (`name`, `engine`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from cellfree_sim.errors import ScenarioError
from cellfree_sim.registry import MisfitError
from cellfree_sim.scenario.parts import Name, Section
from cellfree_sim.scenario.suggest import on_one_line

if TYPE_CHECKING:
    from cellfree_sim.scenario.document import Node
    from cellfree_sim.scenario.loader import ScenarioSource
    from cellfree_sim.scenario.schema import Scenario

MAX_POINTS = 10_000
MAX_SEEDS = 1000
NOT_VARIED = {
    "seed": "sweep.seeds, or --seeds",
    "sweep": "keys of what is run",
    "name": "any other key; points have no name",
    "engine": "any other key; points run in one process each",
}
_STEP = re.compile(r"[^.\[\]]+")
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Values = Annotated[list[Any], Field(min_length=1, max_length=1000)]
NamedValues = Annotated[dict[Name, Any], Field(min_length=1, max_length=1000)]


class _Varied(Section):
    """What is varied, checked: cases, a grid, seeds."""

    cases: dict[Name, dict[str, Any]] = {}
    grid: dict[str, Values | NamedValues] = {}
    seeds: list[Seed] | None = None

    @field_validator("grid", mode="before")
    @classmethod
    def _grid_holds_values(cls, grid: Any) -> Any:
        return _several(grid)

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int] | None) -> list[int] | None:
        return _differing(seeds)

    @model_validator(mode="after")
    def _keys_can_be_set(self) -> Self:
        for name, case in self.cases.items():
            _check_keys(case, ("cases", name))
        _check_grid(self.grid)
        return self


class Quick(_Varied):
    """What is different at ``--scale quick``."""

    set: dict[str, Any] = Field({}, description="keys of the scenario, by dotted path")
    cases: dict[Name, dict[str, Any]] = Field({}, description="what is added to the cases of these names")
    leave_out: list[Name] = Field([], description="cases that are not run")
    grid: dict[str, Values | NamedValues] = Field({}, description="other values of keys of the grid")
    seeds: list[Seed] | None = Field(None, min_length=1, max_length=MAX_SEEDS, description="instead of sweep.seeds")

    @model_validator(mode="after")
    def _set_keys_can_be_set(self) -> Quick:
        _check_keys(self.set, ("set",))
        return self


class Sweep(_Varied):
    """A family of scenarios: cases x combinations of the grid x seeds."""

    cases: dict[Name, dict[str, Any]] = Field({}, description="named variants, each a mapping of dotted keys to values")
    grid: dict[str, Values | NamedValues] = Field(
        {}, description="values by dotted key, in a list or each with a name; every combination is run"
    )
    seeds: list[Seed] | None = Field(
        None, min_length=1, max_length=MAX_SEEDS, description="the scenario's own by default"
    )
    quick: Quick = Field(default_factory=Quick)

    @model_validator(mode="after")
    def _quick_speaks_of_what_there_is(self) -> Sweep:
        for place, names, known in (
            ("cases", self.quick.cases, self.cases),
            ("leave_out", self.quick.leave_out, self.cases),
            ("grid", self.quick.grid, self.grid),
        ):
            for index, name in enumerate(names):
                if name not in known:
                    key = ("quick", place, name if place != "leave_out" else index)
                    allowed = ", ".join(known) or "none, there are none"
                    raise MisfitError(key, f"found '{name}'; allowed: {allowed}")
        if self.cases and set(self.quick.leave_out) >= set(self.cases):
            raise MisfitError(("quick", "leave_out"), "found every case; allowed: at least one stays")
        return self


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes:
        case: name of the case; empty where the sweep has none.
        seed: the seed of the run.
        at: the value of each key of the grid, or its name.
        scenario: what is run; it has no sweep.
    """

    case: str
    seed: int
    scenario: Scenario = field(repr=False)
    at: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """For people: ``dense, sbs 3, seed 1``."""
        values = [f"{short_name(key)} {value}" for key, value in self.at.items()]
        return ", ".join([*([self.case] if self.case else []), *values, f"seed {self.seed}"])


def expand(
    source: ScenarioSource,
    *,
    quick: bool = False,
    seeds: Sequence[int] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Point]:
    """The points of a scenario with a sweep, case by case; the scenario itself where it has none.

    Args:
        source: the scenario as written.
        quick: at the smaller scale that the sweep describes under `quick`.
        seeds: instead of the sweep's.
        overrides: set last, in every point; not what the sweep varies.

    Raises:
        ScenarioError: the scenario, or a point of the sweep, is not valid; the text names the place in the file.
            Or an override would make points equal that bear different values.

    >>> import pathlib, tempfile
    >>> from cellfree_sim.scenario import read_scenario
    >>> file = pathlib.Path(tempfile.mkdtemp(), "sweep.yaml")
    >>> _ = file.write_text("sweep: {grid: {network.sbs.count: [2, 4]}, seeds: [1, 2]}")
    >>> [point.label for point in expand(read_scenario(file))]
    ['sbs 2, seed 1', 'sbs 2, seed 2', 'sbs 4, seed 1', 'sbs 4, seed 2']
    """
    from cellfree_sim.scenario.overrides import apply_overrides

    whole = source.validated()
    sweep = whole.sweep or Sweep()
    _check_overrides(sweep, overrides or {})
    root = replace(source.root, value={key: node for key, node in source.root.value.items() if key != "sweep"})
    written = _Written(source.root.value.get("sweep"))
    base = apply_overrides(root, written.at("quick", "set", of=sweep.quick.set) if quick else {})
    grid = {**sweep.grid, **(sweep.quick.grid if quick else {})}
    lists = {key: _entries(values) for key, values in grid.items()}
    kept = [name for name in sweep.cases if not (quick and name in sweep.quick.leave_out)]
    chosen = seeds or own_seeds(source, quick=quick)
    combinations = list(itertools.product(*(range(len(values)) for values in lists.values())))
    if (count := max(len(kept), 1) * len(combinations) * len(chosen)) > MAX_POINTS:
        raise ScenarioError(f"{written.place or source.path}: sweep: found {count} points; allowed: {MAX_POINTS}")
    points = []
    for case in kept or [""]:
        settled = apply_overrides(base, written.at("cases", case, of=sweep.cases[case])) if case else base
        if quick and case in sweep.quick.cases:
            settled = apply_overrides(settled, written.at("quick", "cases", case, of=sweep.quick.cases[case]))
        for combination in combinations:
            values: dict[str, Any] = {}
            at: dict[str, Any] = {}
            for (key, entries), index in zip(lists.items(), combination, strict=True):
                found = ("quick", "grid") if quick and key in sweep.quick.grid else ("grid",)
                step, at[key], value = entries[index]
                values |= written.one(*found, key, step, of=key, value=value)
            placed = apply_overrides(settled, values)
            for seed in chosen:
                final = apply_overrides(placed, {"seed": seed, **(overrides or {})})
                scenario = replace(source, root=final).validated()
                points.append(Point(case, scenario.seed, scenario, at))
    return points


def own_seeds(source: ScenarioSource, *, quick: bool = False) -> list[int]:
    """The seeds of a sweep where nobody gives others."""
    whole = source.validated()
    sweep = whole.sweep or Sweep()
    return (sweep.quick.seeds if quick else None) or sweep.seeds or [whole.seed]


class _Written:
    """The nodes of a sweep as they were written, so that errors name their places."""

    def __init__(self, root: Node | None) -> None:
        self._root = root

    @property
    def place(self) -> str:
        return self._root.place if self._root is not None else ""

    def at(self, *path: str | int, of: Mapping[str, Any]) -> dict[str, Any]:
        """The overrides `of` that stand at `path`, as nodes where they are found."""
        node = self._node(path)
        return dict(of) if node is None else {key: node.child(key) or value for key, value in of.items()}

    def one(self, *path: str | int, of: str, value: Any) -> dict[str, Any]:
        """The `value` of key `of` that stands at `path`, as a node where it is found."""
        node = self._node(path)
        return {of: value if node is None else replace(node, key_place=node.place)}

    def _node(self, path: Sequence[str | int]) -> Node | None:
        node = self._root
        for step in path:
            node = node.child(step) if node is not None else None
        return node


def _entries(values: list[Any] | dict[str, Any]) -> list[tuple[str | int, Any, Any]]:
    """Where each value of the grid stands below its key, what it is called, and the value."""
    if isinstance(values, dict):
        return [(name, name, value) for name, value in values.items()]
    return [(index, value, value) for index, value in enumerate(values)]


def short_name(key: str) -> str:
    """What is varied, in a word.

    >>> short_name("network.users.count"), short_name("downlink.loss_scheme")
    ('users', 'loss_scheme')
    """
    parts = key.split(".")
    return parts[-2] if parts[-1] == "count" and len(parts) > 1 else parts[-1]


def _differing(seeds: list[int] | None) -> list[int] | None:
    if seeds is not None and len(set(seeds)) < len(seeds):
        raise ValueError(f"found {seeds}; allowed: seeds that differ")
    return seeds


def _steps(key: str) -> tuple[str, ...]:
    return tuple(_STEP.findall(key))


def _meet(first: str, second: str) -> bool:
    """Whether two dotted keys speak of the same place, or one of something inside the other.

    >>> _meet("network.sbs", "network.sbs.count"), _meet("network.sbs", "network.sbs_count")
    (True, False)
    """
    return all(a == b for a, b in zip(_steps(first), _steps(second), strict=False))


def _check_keys(keys: Iterable[str], place: tuple[str | int, ...]) -> None:
    for key in keys:
        step = (_steps(key) or ("",))[0]
        if step in NOT_VARIED:
            raise MisfitError((*place, key), f"found '{step}'; allowed: {NOT_VARIED[step]}")


def _check_grid(grid: Mapping[str, list[Any] | dict[str, Any]]) -> None:
    _check_keys(grid, ("grid",))
    for first, second in itertools.combinations(grid, 2):
        if _meet(first, second):
            raise MisfitError(("grid", second), f"is set by '{first}' of the grid, too; allowed: keys that do not meet")
    for key, values in grid.items():
        if isinstance(values, list):
            for index, value in enumerate(values):
                if value in values[:index]:
                    raise MisfitError(("grid", key, index), f"found {value} twice; allowed: values that differ")


def _several(grid: Any) -> Any:
    """A grid as it was written, once it is clear that each key has several values."""
    if isinstance(grid, Mapping):
        for key, values in grid.items():
            if not isinstance(values, list | tuple | Mapping):
                allowed = "a list of values, or a mapping of names to values"
                raise MisfitError((key,), f"found {on_one_line(str(values), 80)}; allowed: {allowed}")
    return grid


def _check_overrides(sweep: Sweep, overrides: Mapping[str, Any]) -> None:
    for key in overrides:
        step = (_steps(key) or ("",))[0]
        if step in NOT_VARIED:
            raise ScenarioError(f"--set {on_one_line(key, 80)}: found '{step}'; allowed: {NOT_VARIED[step]}")
        for varied in sweep.grid:
            if _meet(key, varied):
                allowed = "keys that the sweep does not vary"
                raise ScenarioError(f"--set {on_one_line(key, 80)}: the sweep varies {varied}; allowed: {allowed}")
