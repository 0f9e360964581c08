"""Checks of single values, each with one line for an error: what, what was found, what is allowed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cellfree_sim.errors import UserError
from cellfree_sim.scenario.suggest import did_you_mean, listed, on_one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch


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


def tensor_misfit(name: str, value: object, kind: torch.dtype, axes: str) -> str | None:
    """Why `value` is no tensor of a type with so many axes, named in words and separated by commas; or None.

    >>> import torch
    >>> tensor_misfit("y", torch.zeros(3), torch.complex64, "slots, antennas")
    'y: found float32 [3]; expected a complex64 tensor [slots, antennas]'
    """
    import torch

    expected = f"expected a {_kind(kind)} tensor [{axes}]"
    if not isinstance(value, torch.Tensor):
        return f"{name}: found {type(value).__name__}; {expected}"
    if value.dtype != kind or value.ndim != axes.count(",") + 1:
        return f"{name}: found {_kind(value.dtype)} {list(value.shape)}; {expected}"
    return None


def _kind(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _error(what: str, value: object, allowed: str) -> UserError:
    return UserError(f"{what}: found {on_one_line(repr(value))}; allowed: {allowed}")
