"""What a study is, and which there are."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.studies.results import Ended, Results
    from cellfree_sim.studies.verdicts import Verdict

Row = dict[str, Any]
DEFAULT_OUT = "studies"
SCALES = ("quick", "full")


def _no_claims(results: Results) -> Sequence[Verdict]:
    return ()


@dataclass(frozen=True)
class Study:
    """A scenario with a sweep, and what to make of its runs.

    Attributes:
        name: for example ``cmtssl/fig6a``.
        title: one line.
        draw: makes the figure.
        judge: gives a verdict on each claim.
        scenario: name of the shipped scenario; ``papers/<name>`` where it is empty.
        evaluate: where a point needs no training: rows of the table for its scenario, each with an `algorithm`, in
            place of a run.
        columns: further columns of the table, for the learned algorithm of a run that is done.
    """

    name: str
    title: str
    draw: Callable[[Results], Figure]
    judge: Callable[[Results], Sequence[Verdict]] = _no_claims
    scenario: str = ""
    evaluate: Callable[[Scenario], list[Row]] | None = None
    columns: Callable[[Ended], Row] | None = None

    @property
    def scenario_name(self) -> str:
        """Name of its scenario among those that are shipped."""
        return self.scenario or f"papers/{self.name}"


_STUDIES: dict[str, Study] = {}


def register(study: Study) -> Study:
    """Make a study known by its name."""
    if study.name in _STUDIES:
        raise ValueError(f"study '{study.name}' is registered twice")
    _STUDIES[study.name] = study
    return study


def list_studies() -> list[Study]:
    """All studies, in the order of their names.

    >>> "cmtssl/fig6a" in [study.name for study in list_studies()]
    True
    """
    _discover()
    return [_STUDIES[name] for name in sorted(_STUDIES)]


def find_study(name: str) -> Study:
    """The study called `name`.

    Raises:
        UserError: there is none; its text lists those that there are.
    """
    from cellfree_sim.scenario.suggest import did_you_mean, on_one_line

    _discover()
    if name not in _STUDIES:
        names = sorted(_STUDIES)
        unknown = f"study '{on_one_line(name, 80)}' is unknown"
        raise UserError(f"{unknown}; allowed: all, {', '.join(names)}{did_you_mean(name, names)}")
    return _STUDIES[name]


@cache
def _discover() -> None:
    package = importlib.import_module("cellfree_sim.studies")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
