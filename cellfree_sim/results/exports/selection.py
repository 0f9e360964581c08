"""Which part of a run is exported: training rounds, bursts, kinds of frames."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from cellfree_sim.backhaul.messages import CATALOGUE
from cellfree_sim.errors import UserError
from cellfree_sim.scenario.suggest import did_you_mean, on_one_line

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

LAST = 2**62


class Span(NamedTuple):
    """Numbers from `first` to `last`, both included."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str, option: str) -> Span:
        """The span that a person typed for `option`.

        >>> Span.parse("10:20", "--steps"), Span.parse("7", "--steps"), Span.parse(":5", "--steps")
        (Span(first=10, last=20), Span(first=7, last=7), Span(first=0, last=5))

        Raises:
            UserError: it is none.
        """
        found = re.fullmatch(r"(\d{0,18})(:?)(\d{0,18})", text.strip())
        if found is not None and (found[1] or found[3]):
            first = int(found[1] or 0)
            last = first if not found[2] else int(found[3]) if found[3] else LAST
            if first <= last:
                return cls(first, last)
        raise UserError(
            f"{option}: found '{on_one_line(text)}'; allowed: A:B with A up to B, both included, or A, A: and :B"
        )


@dataclass(frozen=True)
class Selection:
    """A part of a run; all of it by default.

    Attributes:
        steps: training rounds. With them alone, bursts are left out.
        bursts: of the uplink. With them alone, training is left out.
        kinds: of frames; all where there is none.
    """

    steps: Span | None = None
    bursts: Span | None = None
    kinds: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Raises UserError where a kind is unknown."""
        for kind in self.kinds:
            if kind not in CATALOGUE:
                allowed = ", ".join(CATALOGUE)
                hint = did_you_mean(kind, CATALOGUE)
                raise UserError(f"--kind: found '{on_one_line(kind)}'; allowed: {allowed}{hint}")

    def frames(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """Which rows of a frames table belong to the steps and bursts, whatever their kind."""
        uplink, step = (table["phase"] == "uplink").to_numpy(), table["step"].to_numpy()
        training = ~uplink & self._within(step, self.steps, self.bursts)
        chosen: NDArray[np.bool_] = training | (uplink & self._within(step, self.bursts, self.steps))
        return chosen

    def of_kind(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """Which rows of a frames table are of the kinds."""
        import numpy as np

        return table["kind"].isin(self.kinds).to_numpy() if self.kinds else np.ones(len(table), dtype=bool)

    def has_step(self, step: int) -> bool:
        """Whether a training round belongs to it."""
        return bool(self._within(step, self.steps, self.bursts))

    def has_burst(self, burst: int) -> bool:
        """Whether a burst belongs to it."""
        return bool(self._within(burst, self.bursts, self.steps))

    def rounds(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a metrics table that belong to the steps."""
        rows: pd.DataFrame = table.loc[self._within(table["step"].to_numpy(), self.steps, self.bursts)]
        return rows

    def of_bursts(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of an uplink table that belong to the bursts."""
        rows: pd.DataFrame = table.loc[self._within(table["burst"].to_numpy(), self.bursts, self.steps)]
        return rows

    @staticmethod
    def _within(number: Any, span: Span | None, other: Span | None) -> Any:
        """Whether numbers are in `span`; without one, all are, unless the `other` one alone is wanted."""
        if span is None:
            return (number >= 0) & (other is None)
        return (number >= span.first) & (number <= span.last)
