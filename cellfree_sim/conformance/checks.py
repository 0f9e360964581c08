"""What a check is, and how the checks of a kind of extension are run: each by itself, whatever the others found."""

from __future__ import annotations

import importlib
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from cellfree_sim.errors import CellfreeError
from cellfree_sim.registry import Named
from cellfree_sim.scenario.suggest import on_one_line

Status = Literal["pass", "fail", "left out"]
_MODULES = {
    "mimo_detectors": ("detectors", "learning"),
    "noma_detectors": ("detectors", "learning"),
    "mmtc_detectors": ("detectors", "learning"),
    "channel_models": ("channels",),
    "loss_schemes": ("losses",),
    "policies": ("policies",),
    "references": ("references",),
}


class NotApplicableError(Exception):
    """A check does not apply to this extension; the text says why."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What is checked.

    Attributes:
        kind: name of its registry.
        options: with which values of its options.
        quick: fewer slots and iterations: errors that are rare may be missed.
        folder: for files of checks.
        cache: what checks have made of it and others use, such as a trained network.
    """

    kind: str
    options: Any
    quick: bool = True
    folder: Path = Path()
    cache: dict[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """The family of problems of a detector."""
        return self.kind.partition("_")[0]


Run: TypeAlias = Callable[[Subject], "str | None"]
"""Raises AssertionError, with what was found and expected, where the contract is broken; may return a remark."""


@dataclass(frozen=True)
class Check:
    """One promise of a kind of extension.

    Attributes:
        name: in a few words, as it stands in tables.
        run: finds out whether it is kept.
    """

    name: str
    run: Run


@dataclass(frozen=True)
class Result:
    """How a check ended.

    Attributes:
        name: of the check.
        status: whether the promise is kept.
        reason: what was found, why it was left out, or a remark.
        seconds: that it took.
        trace: where it failed, in full.
    """

    name: str
    status: Status
    reason: str = ""
    seconds: float = 0.0
    trace: str = ""


def needs(condition: bool, why: str) -> None:
    """Leave a check out unless `condition` holds."""
    if not condition:
        raise NotApplicableError(why)


def expect(condition: Any, text: str) -> None:
    """AssertionError with a text unless `condition` holds."""
    if not bool(condition):
        raise AssertionError(text)


@cache
def checks_of(kind: str, *, learned: bool = True) -> tuple[Check, ...]:
    """The checks of a kind of extension, those of all kinds first; with those of `learned` detectors, if it is one.

    >>> [check.name for check in checks_of("topologies")]
    ['options survive JSON', 'unknown options are refused', 'it says what it is']
    """
    modules = [name for name in ("options", *_MODULES.get(kind, ())) if learned or name != "learning"]
    found = [importlib.import_module(f"cellfree_sim.conformance.{module}").CHECKS for module in modules]
    return tuple(Check(name, run) for each in found for name, run in each.items())


def checked(kind: str, options: Named, *, quick: bool = True) -> list[Result]:
    """The results of all checks of an extension with these options."""
    with tempfile.TemporaryDirectory(prefix="cellfree-check-") as folder:
        subject = Subject(kind, options, quick, Path(folder))
        learned = getattr(options, "learned", False)
        return [result_of(check, subject) for check in checks_of(kind, learned=learned)]


def result_of(check: Check, subject: Subject) -> Result:
    """How one check ends."""
    began = time.perf_counter()
    try:
        status, reason, trace = "pass", check.run(subject) or "", ""
    except NotApplicableError as error:
        status, reason, trace = "left out", str(error), ""
    except AssertionError as error:
        status, reason, trace = "fail", on_one_line(str(error).partition("\n")[0], 300), traceback.format_exc()
    except CellfreeError as error:
        status, reason, trace = "fail", on_one_line(str(error), 300), traceback.format_exc()
    except Exception as error:  # whatever code of others raises
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
        status, reason, trace = "fail", on_one_line(what, 300), traceback.format_exc()
    return Result(check.name, status, reason, time.perf_counter() - began, trace)  # type: ignore[arg-type]
