"""What a run asks of an engine, whichever it is: `cellfree_sim.inline` in one process, `agents.engine` on Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cellfree_sim.network import Network

Rows = list[dict[str, Any]]
ChannelProgress = Callable[[str, int, int], None]
CONTROLLER = "the controller"  # among the stations that died: all of them did; a station cannot have this name
Barrier = Literal["before", "during", "after"]


def never() -> bool:
    """Nothing waits for a round boundary."""
    return False


class Engine(Protocol):
    """Runs the roles of a scenario in a network that may change between two rounds.

    A station process that is gone shows as `StationLostError` from whichever method needed it; the run then calls
    `recover`.
    """

    name: str

    def start(self, on_channels: ChannelProgress) -> None:
        """Bring up MBS and stations: channels, policies, admission. `on_channels(station, done, total)` is told."""
        ...

    def advance(self, until: int, on_rows: Callable[[Rows], None], should_hold: Callable[[], bool] = never) -> int:
        """Train until step `until` is done, or until a round boundary soon after `should_hold()`; returns the step.

        `on_rows` gets the rounds as they close. KeyboardInterrupt leaves this method at a round boundary, so that what
        was reached can be saved.
        """
        ...

    def validate(self) -> Rows:
        """Measure the validation split out of turn, because the network has changed; returns its rows."""
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
        """Packed state of the MBS and of every member of the network, by name."""
        ...

    def load_states(self, states: Mapping[str, bytes]) -> None:
        """Become the network that `states` was taken from (after `start` in that network)."""
        ...

    def recover(self, stations: Sequence[str], states: Mapping[str, bytes], network: Network) -> None:
        """Restart `stations`, which died, and let all become the `network` that `states` was taken from.

        Stations that are not in `states` are ended.

        Raises:
            NotRestartedError: some of `stations` did not come back.
        """
        ...

    def prepare(self, network: Network, name: str) -> None:
        """Begin to bring up the station `name`, which is joining `network`, while the others go on.

        Raises:
            UserError: there is no room for it.
        """
        ...

    def prepared(self, name: str, *, wait: bool) -> bool:
        """Whether the preparation that `prepare` began has ended, well or not; with `wait`, when the station is ready.

        Raises:
            UserError: only with `wait`: there is no room for it after all.
            RunFailedError: only with `wait`: it failed, died, or takes too long; nobody else noticed.
        """
        ...

    def transfer(self, donor: str, receiver: str) -> tuple[int, int]:
        """Send the model of station `donor` to `receiver` over the backhaul; bytes of the model, and of its frames."""
        ...

    def reconfigure(self, network: Network, step: int) -> None:
        """Hand the network, as it is from round `step` + 1 on, to all stations; admit the roster where it changed."""
        ...

    def clock(self, station: str) -> float:
        """Simulated time at a station, seconds."""
        ...

    def farewell(self, station: str) -> None:
        """Let a station say good-bye to the MBS; its process stays until `release`."""
        ...

    def release(self, station: str) -> None:
        """End a station's process, and give back what it took."""
        ...

    def fail(self, station: str, barrier: Barrier) -> None:
        """Let a station's process die in the next round: before it takes part, while all wait, or after the answers."""
        ...

    def requests(self) -> list[tuple[int, dict[str, Any]]]:
        """What other processes asked of this run since the last call: number and request."""
        ...

    def answer(self, number: int, reply: Mapping[str, Any]) -> None:
        """Tell the other process what became of its request."""
        ...

    def refuse(self, reason: str) -> None:
        """From now on, whatever other processes ask is refused."""
        ...

    def tell(self, progress: Mapping[str, Any]) -> None:
        """Leave the state of the run where other processes can ask for it."""
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
