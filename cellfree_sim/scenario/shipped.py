"""The scenarios that come with the project, by name: ``quickstart`` is ``scenarios/quickstart.yaml``."""

from __future__ import annotations

from pathlib import Path

from cellfree_sim.errors import ScenarioError
from cellfree_sim.scenario.suggest import did_you_mean, listed, on_one_line

_SUFFIXES = (".yaml", ".yml")
_PACKAGE = Path(__file__).parents[1]


def scenario_folders() -> list[Path]:
    """Where named scenarios are looked for: ``./scenarios``, the source checkout's, the installed package's."""
    candidates = [Path("scenarios"), _PACKAGE.parent / "scenarios", _PACKAGE / "shipped_scenarios"]
    return [folder for folder in candidates if folder.is_dir()]


def shipped_scenarios() -> dict[str, Path]:
    """Files of all named scenarios by name; a name of an earlier folder hides the same name of a later one."""
    found: dict[str, Path] = {}
    for folder in scenario_folders():
        for path in sorted(folder.rglob("*.yaml")):
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return found


def find_scenario(text: str) -> Path:
    """The file that `text` means: a path, or the name of a shipped scenario.

    Raises `ScenarioError` where there is neither; its text names what is near.
    """
    path = Path(text)
    try:
        if path.is_file():
            return path
        named = shipped_scenarios()
        if text in named:
            return named[text]
        if path.exists():
            return path  # a folder or a device: reading it gives the reason
        beside = sorted(str(path.parent / file.name) for file in path.parent.glob("*") if file.suffix in _SUFFIXES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ScenarioError(f"{on_one_line(text)}: cannot be read: {reason}") from None
    if path.suffix in _SUFFIXES:
        raise ScenarioError(f"{on_one_line(text, 200)}: no such file{did_you_mean(text, [*beside, *named])}")
    raise ScenarioError(
        f"{on_one_line(text, 200)}: no such file or scenario; allowed: a file, or one of {listed(list(named))}"
        f"{did_you_mean(text, [*named, *beside])}"
    )
