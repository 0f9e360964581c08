"""Scenarios from files, and back. Errors name file, line, column, key, what was found and what is allowed."""

from __future__ import annotations

import io
import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML

from cellfree_sim.errors import ScenarioError, UserError
from cellfree_sim.registry import sources_in
from cellfree_sim.scenario.describe import Shape
from cellfree_sim.scenario.document import Node, parse_yaml, read_text
from cellfree_sim.scenario.explain import explained, locate
from cellfree_sim.scenario.outside import Importer
from cellfree_sim.scenario.overrides import apply_overrides
from cellfree_sim.scenario.parts import ExtensionFile
from cellfree_sim.scenario.schema import Scenario
from cellfree_sim.scenario.shipped import find_scenario
from cellfree_sim.scenario.suggest import on_one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

_KEY_PATH = re.compile(r"[a-z_][a-z0-9_]*(\[[0-9]+\]|\.[a-z_][a-z0-9_]*)+(?=[: ])")


UserErrorT = TypeVar("UserErrorT", bound=UserError)


@dataclass(frozen=True)
class ScenarioSource:
    """A scenario as written: the file's tree with overrides applied, not yet validated.

    Attributes:
        path: the file.
        folder: where relative paths inside it start, absolute.
        root: its nodes, each with its place.
        begun: see `load_scenario`.
        announce: told of each module from outside Python's packages that is imported because the scenario names it.
        allowed: modules that may be imported for it; None: any, as a person has given the scenario.
    """

    path: Path
    folder: Path
    root: Node
    begun: bool = False
    announce: Callable[[str], None] | None = None
    allowed: Collection[str] | None = None

    def validated(self) -> Scenario:
        """The scenario; `ScenarioError` with one line for each wrong key.

        Modules that it names are imported, and what they are is kept in `Scenario.extensions`.
        """
        plain = self.root.plain()
        importer = Importer(self.folder, _recorded(plain), only=self.allowed, announce=self.announce)
        context = {"folder": self.folder, "begun": self.begun, "importer": importer}
        try:
            scenario = Scenario.model_validate(plain, context=context)
        except ValidationError as error:
            lines = explained(error.errors(include_url=False), self.root)
            raise ScenarioError("\n".join(lines)) from None
        importer.check()
        return with_sources(scenario)

    def located(self, error: UserErrorT) -> UserErrorT:
        """`error` of a later check, with the place of the key that its text begins with (``network.sbs.layout: …``)."""
        match = _KEY_PATH.match(str(error))
        if match is None:
            return error
        steps = [int(step) if step.isdigit() else step for step in re.findall(r"[a-z0-9_]+", match[0])]
        place = locate((), self.root, below=steps).node.place
        return type(error)(f"{place}: {error}")


def read_scenario(path: str | Path, overrides: Mapping[str, Any] | None = None) -> ScenarioSource:
    """The tree of a scenario file with `overrides` applied; see `load_scenario`."""
    path = Path(path)
    name = on_one_line(str(path), 300)
    root = parse_yaml(read_text(path), name)
    if root is None:
        raise ScenarioError(f"{name}:1:1: scenario: the file is empty; allowed: {Shape.root().allowed()}")
    if not isinstance(root.value, dict):
        raise ScenarioError(f"{root.place}: scenario: found {root.found()}; allowed: {Shape.root().allowed()}")
    return ScenarioSource(path, path.parent.absolute(), apply_overrides(root, overrides or {}))


def with_sources(scenario: Scenario) -> Scenario:
    """The scenario with what its classes from outside the package are now under `extensions`."""
    found = [ExtensionFile(**asdict(source)) for source in sources_in(scenario)]
    return scenario if found == scenario.extensions else scenario.model_copy(update={"extensions": found})


def received_scenario(scenario_json: str) -> Scenario:
    """A scenario that a process of a run was sent, as JSON; the modules that it names are imported here as well.

    Raises:
        ScenarioError: one of them is missing here, or another than where the run was started.
    """
    importer = Importer(None, _recorded(json.loads(scenario_json)))
    importer.check()
    try:
        return Scenario.model_validate_json(scenario_json, context={"importer": importer})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise ScenarioError(f"{where}: {on_one_line(str(first['msg']), 300)}") from None


def _recorded(plain: Any) -> list[ExtensionFile]:
    """What a scenario says of its modules; nothing where that is not valid, which is told when all of it is checked."""
    try:
        return [ExtensionFile.model_validate(each) for each in plain.get("extensions") or []]
    except (ValidationError, TypeError):
        return []


def load_scenario(
    path: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    begun: bool = False,
    announce: Callable[[str], None] | None = None,
) -> Scenario:
    """Read and validate a scenario file.

    Args:
        path: a YAML 1.2 file; as text also the name of a scenario that comes with the package, such as "quickstart".
            Relative paths inside it are relative to its folder.
        overrides: values of single keys, by dotted path: ``{"downlink.epochs": 5, "channel.model": "rayleigh"}``. An
            option of an extension that stands as a bare name can be set directly: ``"downlink.policy.width"``.
        begun: the file is that of a run that has begun: what it started from (`downlink.policy.trained`) is in its
            checkpoints, and not looked for any more.
        announce: told of each file that is imported because the scenario names it; the log by default.

    Returns:
        The scenario, with a value for every key.

    Raises:
        ScenarioError: the file cannot be read, is not YAML, or a key or value is not allowed. The text has a line for
            each error, at most ten, of the form ``file:line:column: key.path: found …; allowed: …``; an override is
            named ``--set key=value`` instead of a place.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp(), "example.yaml")
    >>> _ = file.write_text("name: example\\nnetwork: {sbs: {count: 2}}\\n")
    >>> load_scenario(file, {"downlink.epochs": 5}).downlink.epochs
    5
    >>> load_scenario("quickstart").network.sbs.count
    3
    """
    file = find_scenario(path) if isinstance(path, str) else path
    return replace(read_scenario(file, overrides), begun=begun, announce=announce).validated()


def dump_scenario(scenario: Scenario) -> str:
    """The scenario as YAML with every default visible; loading it gives an equal scenario.

    >>> print(dump_scenario(Scenario(name="example"))[:21])
    name: example
    seed: 1
    """
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None  # lists of plain values on one line
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 120
    stream = io.StringIO()
    yaml.dump(scenario.model_dump(mode="json"), stream)
    return stream.getvalue()


def scenario_title(path: str | Path) -> str:
    """What a scenario file says it shows: the text of its first line, if that is a comment."""
    first = read_text(Path(path)).partition("\n")[0].strip()
    return first.lstrip("# ").strip() if first.startswith("#") else ""
