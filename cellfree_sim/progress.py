"""Progress of a job that is done in parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellfree_sim.scenario.schema import Scenario


def progress_over_splits(scenario: Scenario, report: Callable[[int, int], None]) -> Callable[[str, int, int], None]:
    """Turn progress within one split of the realisations into `report(done, total)` over all splits.

    Splits are made in the order in which the scenario lists them.

    >>> from cellfree_sim.scenario.schema import Scenario
    >>> told = []
    >>> progress_over_splits(Scenario(), lambda done, total: told.append((done, total)))("validation", 50, 100)
    >>> told
    [(350, 600)]
    """
    offsets: dict[str, int] = {}
    total = 0
    for split, count in scenario.realisations.items():
        offsets[split] = total
        total += count
    return lambda split, done, _: report(offsets[split] + done, total)
