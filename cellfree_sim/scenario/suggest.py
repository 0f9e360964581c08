"""Words for error lines: what was meant, what is allowed, what was found; always on one line, never long."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def near_miss(found: str, allowed: Iterable[str]) -> str | None:
    """The one of `allowed` that was probably meant, or None.

    >>> near_miss("epohcs", ["batch", "epochs"])
    'epochs'
    >>> near_miss("uma", ["tr38901-uma", "rayleigh"])
    'tr38901-uma'
    >>> near_miss("zebra", ["batch", "epochs"]) is None
    True
    """
    by_lower = {name.lower(): name for name in allowed}
    lower = found.lower()
    close = difflib.get_close_matches(lower, by_lower, n=1, cutoff=0.6)
    if close:
        return by_lower[close[0]]
    inside = [name for key, name in by_lower.items() if len(lower) >= 3 and lower in key]
    return inside[0] if len(inside) == 1 else None


def did_you_mean(found: str, allowed: Iterable[str]) -> str:
    """A clause to append to an error line; empty where nothing is near.

    >>> did_you_mean("bacth", ["batch", "epochs"])
    "; did you mean 'batch'?"
    """
    meant = near_miss(found, allowed)
    return f"; did you mean '{meant}'?" if meant else ""


def listed(names: Sequence[str], limit: int = 16) -> str:
    """Names for one line, the first `limit` of them.

    >>> listed(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def on_one_line(text: str, limit: int = 60) -> str:
    r"""`text` with control characters escaped, cut to `limit` characters.

    >>> on_one_line("a\nb")
    'a\\nb'
    >>> on_one_line("abcdef", limit=4)
    'abc…'
    """
    flat = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
