"""What the network of a run is worth: on the validation split while it trains, on the test split at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cellfree_sim.results.summary import rate_summary

if TYPE_CHECKING:
    from cellfree_sim.engine import Engine, Rows
    from cellfree_sim.results.run_folder import RunFolder
    from cellfree_sim.scenario.schema import Scenario


class Measurement:
    """The last rates that were measured, as long as the network is the one in which they were.

    Args:
        scenario, engine, folder: of the run.
        on_rows: is told of what is measured.
        note: tells people how far the references are.
    """

    def __init__(
        self,
        scenario: Scenario,
        engine: Engine,
        folder: RunFolder,
        on_rows: Callable[[Rows], None],
        note: Callable[[str], None],
    ) -> None:
        self._scenario = scenario
        self._engine = engine
        self._folder = folder
        self._on_rows = on_rows
        self._note = note
        self._validated: tuple[int, float] | None = None  # step and sum rate
        self._tested: tuple[int, dict[str, Any]] | None = None  # step and what the summary says

    @property
    def last_sum_rate(self) -> float | None:
        """Of the last validation in the network as it is, bit/s/Hz."""
        return None if self._validated is None else self._validated[1]

    @property
    def tested(self) -> dict[str, Any] | None:
        """What the summary says of the test split; None where it was not measured in the network as it is."""
        return None if self._tested is None else self._tested[1]

    def validated(self, step: int, sum_rate: float) -> None:
        """A validation is over."""
        self._validated = (step, sum_rate)

    def forget(self) -> None:
        """The network is another one."""
        self._validated = self._tested = None

    def sum_rate(self, step: int) -> float:
        """Mean sum rate on the validation realisations at a step, bit/s/Hz; measured unless it is known."""
        if self._validated is None or self._validated[0] != step:
            self._on_rows(self._engine.validate())
        assert self._validated is not None
        return self._validated[1]

    def needs_test(self, step: int) -> bool:
        """Whether the test split is still to be measured at a step."""
        learns = self._scenario.downlink.algorithm.learns
        return bool(learns and (self._tested is None or self._tested[0] != step))

    def test(self, step: int) -> None:
        """Measure the algorithm and its references on the test split."""
        self._on_rows(self._engine.measure())
        self._engine.measure_references(lambda name, done, total: self._note(f"reference {name}"))
        rates = self._engine.test_rates()
        self._folder.write_rates(rates)
        min_rate = self._scenario.network.users.min_rate_bps_hz
        found = rate_summary(rates, self._scenario.downlink.algorithm.name, min_rate)
        self._tested = (step, found | {"power_violation": self._engine.facts()["power_violation"]})

    def state(self) -> dict[str, Any]:
        """For a checkpoint, in types that JSON has."""
        return {"validation": self._validated, "measured": self._tested}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        validated, tested = state["validation"], state["measured"]
        self._validated = None if validated is None else (int(validated[0]), float(validated[1]))
        self._tested = None if tested is None else (int(tested[0]), dict(tested[1]))
