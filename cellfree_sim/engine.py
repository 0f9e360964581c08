"""What a run asks of an engine, whichever it is: `cellfree_sim.inline` in one process, `agents.engine` on Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Rows = list[dict[str, Any]]
ChannelProgress = Callable[[str, int, int], None]


class Engine(Protocol):
    """Runs the roles of a scenario. Methods are called in the order in which they stand here."""

    name: str

    def start(self, on_channels: ChannelProgress) -> None:
        """Bring up MBS and stations: channels, policies, admission. `on_channels(station, done, total)` is told."""
        ...

    def advance(self, until: int, on_rows: Callable[[Rows], None]) -> int:
        """Train until step `until` is done (or held); returns the step reached. `on_rows` gets the rounds as they
        close.

        KeyboardInterrupt leaves this method at a round boundary, so that what was reached can be saved.
        """
        ...

    def measure(self) -> Rows:
        """Measure the test split; returns its rows."""
        ...

    def measure_references(self, on_progress: Callable[[str, int, int], None]) -> None:
        """Run the reference algorithms on the test split."""
        ...

    def test_rates(self) -> dict[str, NDArray[np.float64]]:
        """Per-user rates [realisation, user] of the algorithm and of each reference."""
        ...

    def facts(self) -> dict[str, Any]:
        """See `CoordinatorRole.facts`."""
        ...

    def drain_ledgers(self) -> list[bytes]:
        """The books of all stations that live, since the last call."""
        ...

    def states(self) -> dict[str, bytes]:
        """Packed state of the MBS and of every station, by name."""
        ...

    def load_states(self, states: Mapping[str, bytes]) -> None:
        """Become the network that `states` was taken from (after `start`)."""
        ...

    def recover(self, stations: Sequence[str], states: Mapping[str, bytes]) -> None:
        """Restart `stations`, which died, and let the whole network become the one that `states` was taken from."""
        ...

    def describe(self) -> dict[str, Any]:
        """Where things run: engine, processes, devices; for the summary and the log."""
        ...

    def reachable_at(self) -> dict[str, str]:
        """How another process reaches the run: `address`, `namespace` and `token_path`; empty where it cannot."""
        ...

    def close(self) -> None:
        """End everything this engine began; safe to call at any time, more than once."""
        ...
