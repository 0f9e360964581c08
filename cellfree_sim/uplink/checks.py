"""Checks of single values, each with one line for an error: what, what was found, what is allowed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cellfree_sim.errors import UserError
from cellfree_sim.scenario.suggest import did_you_mean, listed, on_one_line

if TYPE_CHECKING:
    from collections.abc import Iterable


def one_of(what: str, value: object, names: Iterable[str]) -> None:
    """Raise `UserError` where `value` is none of `names`."""
    allowed = list(names)
    if not isinstance(value, str) or value not in allowed:
        raise _error(what, value, listed(allowed) + did_you_mean(str(value), allowed))


def whole(what: str, value: object, least: int, most: int) -> int:
    """`value`, a whole number from `least` to `most`, or `UserError`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _error(what, value, f"a whole number from {least} to {most}")
    return value


def real(what: str, value: object, least: float, most: float) -> float:
    """`value`, a number from `least` to `most`, or `UserError`."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not least <= value <= most:  # type: ignore[arg-type, operator]
        raise _error(what, value, f"a number from {least:g} to {most:g}")
    return float(value)  # type: ignore[arg-type]


def _error(what: str, value: object, allowed: str) -> UserError:
    return UserError(f"{what}: found {on_one_line(repr(value))}; allowed: {allowed}")
