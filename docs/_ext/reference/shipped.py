"""What comes with the package: scenarios, trained detectors and policies, studies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from reference.markdown import code, prose, table

ROOT = Path(__file__).parents[3]


def scenarios() -> str:
    """Every scenario below scenarios/ with its title, by folder."""
    from cellfree_sim.scenario import scenario_title

    files = sorted((ROOT / "scenarios").rglob("*.yaml"))
    named = {path.relative_to(ROOT / "scenarios").with_suffix("").as_posix(): path for path in files}
    parts = []
    ordered = sorted(named, key=lambda name: (name.count("/"), name))
    for folder, names in groupby(ordered, key=lambda name: name.rpartition("/")[0]):
        rows = [(code(name), prose(scenario_title(named[name]))) for name in names]
        parts.append(
            f"## {code(folder + '/') if folder else 'To start from'}\n\n" + table(("Name", "What it is"), rows)
        )
    return "\n\n".join(parts)


def trained_detectors() -> str:
    """The trained detectors that ship."""
    from cellfree_sim.cli.detectors import _about
    from cellfree_sim.detection.learned.trained import read_trained, shipped_detectors

    found = {name: _about(read_trained(path), path) for name, path in shipped_detectors().items()}
    return _facts(found, ("family", "detector", "problem", "sizes", "channel", "seed", "parameters", "bytes"))


def trained_policies() -> str:
    """The trained policies that ship."""
    from cellfree_sim.cli.policies import _about
    from cellfree_sim.downlink.trained import read_trained, shipped_policies

    found = {name: _about(read_trained(path), path) for name, path in shipped_policies().items()}
    return _facts(found, ("algorithm", "serves", "policy", "trained for", "seed", "steps", "parameters", "bytes"))


def studies() -> str:
    """Every study that `cellfree reproduce` knows."""
    from cellfree_sim.studies.study import list_studies

    return table(("Study", "What it draws"), [(code(study.name), prose(study.title)) for study in list_studies()])


def _facts(found: Mapping[str, Mapping[str, Any]], keys: tuple[str, ...]) -> str:
    def show(value: Any) -> str:
        return prose(re.sub(r"\s+", " ", str(value)))

    rows = [(code(name), *(show(about[key]) for key in keys)) for name, about in found.items()]
    return table(("Name", *(key.capitalize() for key in keys)), rows)
