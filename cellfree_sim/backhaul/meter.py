"""What the MBS sees of a network at work, for those who watch it: traffic by kind and link, waiting, computing.

A meter counts beside the books, and nothing that is recorded depends on it. Books come together at commits; what a
meter has counted since its station's book was drained is what is in no book yet:

    bytes so far = books at the last commit + readings since
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Use = dict[tuple[str, str], tuple[float, float]]
"""Of each direction of a link: seconds in which it was occupied, and the longest wait in front of it, simulated."""


class Meter:
    """Counts since the last reading.

    >>> meter = Meter()
    >>> meter.count("join", ("sbs-0", "mbs"), 120)
    >>> meter.carry({("sbs-0", "mbs"): (0.25, 0.5)}, share=0.5)
    >>> meter.compute("sbs-0", 2.0)
    >>> meter.read(now_s=4.0) == {
    ...     "now_s": 4.0,
    ...     "kinds": {"join": 120},
    ...     "links": {"sbs-0>mbs": [120, 0.125, 0.5]},
    ...     "computed_s": {"sbs-0": 2.0},
    ... }
    True
    >>> meter.read(now_s=4.0)["kinds"]
    {}
    """

    def __init__(self) -> None:
        self.clear()

    def count(self, kind: str, path: Sequence[str], size_bytes: int, attempt: int = 0) -> None:
        """A frame was sent over `path`; further attempts are counted apart in the books, and not at all here."""
        if attempt:
            return
        self._kinds[kind] = self._kinds.get(kind, 0) + size_bytes
        for a, b in itertools.pairwise(path):
            self._link(f"{a}>{b}")[0] += size_bytes

    def carry(self, use: Use, share: float = 1.0) -> None:
        """Links were used (`LinkSimulator.take_use`), by a slice that has this share of their capacity."""
        for (a, b), (busy_s, wait_s) in use.items():
            link = self._link(f"{a}>{b}")
            link[1] += share * busy_s
            link[2] = max(link[2], wait_s)

    def compute(self, station: str, seconds: float) -> None:
        """A station computed for so many simulated seconds of its whole server."""
        self._computed_s[station] = self._computed_s.get(station, 0.0) + seconds

    def read(self, now_s: float) -> dict[str, Any]:
        """What was counted since the last reading, and begin anew.

        Keys: `now_s`, the simulated time; `kinds`, bytes by message kind; `links`, for each direction "a>b": bytes,
        seconds occupied, longest wait in seconds; `computed_s`, seconds by station.
        """
        found = {"now_s": now_s, "kinds": self._kinds, "links": self._links, "computed_s": self._computed_s}
        self.clear()
        return found

    def clear(self) -> None:
        """Forget what was counted: it is in the books now, or undone."""
        self._kinds: dict[str, int] = {}
        self._links: dict[str, list[float]] = {}
        self._computed_s: dict[str, float] = {}

    def _link(self, name: str) -> list[float]:
        return self._links.setdefault(name, [0, 0.0, 0.0])


def merge(into: dict[str, Any], reading: Mapping[str, Any]) -> None:
    """Add a reading to an earlier one of the same meter.

    >>> first = {"now_s": 1.0, "kinds": {"join": 1}, "links": {"a>b": [1, 0.5, 0.1]}, "computed_s": {}}
    >>> merge(first, {"now_s": 2.0, "kinds": {"join": 2}, "links": {"a>b": [2, 0.5, 0.0]}, "computed_s": {"a": 1.0}})
    >>> first
    {'now_s': 2.0, 'kinds': {'join': 3}, 'links': {'a>b': [3, 1.0, 0.1]}, 'computed_s': {'a': 1.0}}
    """
    into["now_s"] = reading["now_s"]
    for table in ("kinds", "computed_s"):
        for name, value in reading[table].items():
            into[table][name] = into[table].get(name, 0) + value
    for name, (size_bytes, busy_s, wait_s) in reading["links"].items():
        before = into["links"].get(name, [0, 0.0, 0.0])
        into["links"][name] = [before[0] + size_bytes, before[1] + busy_s, max(before[2], wait_s)]
