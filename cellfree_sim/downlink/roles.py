"""What an engine asks of an algorithm: one role for each station, one for the coordinator at the MBS.

A role is a plain object: no process, no Ray, no clock of its own but the simulated one. Engines move bytes between
roles:

    engine                    station role                     coordinator role
    prepare()           ──►   channels, model, optimiser
    join()              ──►   bundle ───────────────────────►  close("setup", 0, …)  ──► bundle per station ──► absorb()
    next_round(until)   ──►   ("training", k), … or None
    upload(round)       ──►   bundle ───────────────────────►  close("training", k, …) ► bundle per station ──► absorb()
    measure("test")     ──►   bundle ───────────────────────►  close("test", k, …)

The network changes only between two rounds. Every role is handed the new one; where the roster has changed, a setup
round follows in which all stations of the new roster join once more:

    reconfigure(network, k)  ──►  paths, clock, loss weights       reconfigure(network)  ──►  links, roster
    send_model(new)     ──►   bundle ──► relay(bundle) ──► bundle ──► absorb() of the new station
    leave(reason)       ──►   bundle ──► take_leave(bundle)

A *bundle* is what crosses the process boundary: frames and the simulated times at which they arrived. `close` is called
once per round, when the uploads of the whole roster are there (the barrier), and takes them in any order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from cellfree_sim.registry import Named

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cellfree_sim.backhaul.messages import Phase
    from cellfree_sim.network import Network
    from cellfree_sim.scenario.schema import Scenario

Progress = Callable[[str, int, int], None]


class Round(NamedTuple):
    """One exchange between all stations and the MBS: what it is for, and the training step it belongs to.

    A round of "sharing" belongs to the training step before it: the models of all stations are averaged.
    """

    phase: Phase
    step: int


@dataclass(frozen=True)
class Context:
    """What every role is made from: the scenario, its network, and the torch device to compute on."""

    scenario: Scenario
    network: Network
    device: str = "cpu"


def down_links(network: Network) -> frozenset[frozenset[str]]:
    """The links of a network that are cut, each as the pair of its ends."""
    return frozenset(frozenset(link) for link in network.links() if not network.is_up(*link))


class StationRole(ABC):
    """One SBS: its channels, its policy, its book."""

    name: str
    step: int
    now_s: float

    @abstractmethod
    def prepare(self, progress: Progress | None = None) -> None:
        """Make the station's channels (from its own seed) and its policy. `progress(split, done, total)` is told."""

    @abstractmethod
    def join(self) -> bytes:
        """Bundle that announces the station, at the start and whenever the roster has changed."""

    @abstractmethod
    def reconfigure(self, network: Network, step: int, now_s: float) -> None:
        """Live in `network` from round `step` + 1 on. The station's simulated clock is at least `now_s` then.

        A station that takes part again (or for the first time) goes on at `step` with the others; one that `network`
        has cut off loses what it sends, and stays as it is. One that
        is being prepared, and that `network` does not know yet, does nothing.
        """

    @abstractmethod
    def leave(self, reason: str) -> bytes:
        """Bundle that says good-bye."""

    @abstractmethod
    def send_model(self, receiver: str) -> bytes:
        """Bundle with the station's trained model, for the station `receiver` (Algorithm 3)."""

    @abstractmethod
    def next_round(self, until: int) -> Round | None:
        """The next round before training step `until` is completed, or None at `until` or where the MBS said hold."""

    def unfinished(self) -> Round | None:
        """A round that belongs to the training step just done, so that the run cannot stop before it; by default none.

        `next_round` gives it first.
        """
        return None

    @abstractmethod
    def upload(self, exchange: Round) -> bytes:
        """Compute the station's part of a round; returns the bundle for the MBS."""

    @abstractmethod
    def absorb(self, bundle: bytes) -> None:
        """Take the MBS's answer to the last upload and learn from it."""

    @abstractmethod
    def measure(self, phase: Phase) -> bytes:
        """Bundle with the channels and decisions of a held-out split, so that rates can be measured."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything that a resumed station needs, as nested maps of tensors and plain values."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Any], network: Network) -> None:
        """Become the station that `state` was taken from in `network` (after `prepare`)."""

    @abstractmethod
    def drain_ledger(self) -> bytes:
        """The station's book since the last call."""


class CoordinatorRole(ABC):
    """The MBS: closes rounds, measures, keeps the simulated clock of the backhaul and its own book."""

    roster: tuple[str, ...]
    now_s: float

    @abstractmethod
    def close(self, exchange: Round, uploads: Mapping[str, bytes]) -> dict[str, bytes]:
        """Close a round with the upload of every station in the roster; returns each station's answer."""

    @abstractmethod
    def reconfigure(self, network: Network) -> None:
        """Coordinate `network` from the next round on: its links, its roster."""

    @abstractmethod
    def relay(self, bundle: bytes) -> bytes:
        """Carry frames from one station to another over the simulated backhaul; the bundle as it arrives."""

    @abstractmethod
    def take_leave(self, bundle: bytes) -> None:
        """Take in what a station says that leaves."""

    @abstractmethod
    def hold(self) -> None:
        """Let the stations stop at the next training round boundary."""

    @abstractmethod
    def measure_references(self, progress: Progress | None = None) -> None:
        """Run the reference algorithms on the test realisations that the stations reported."""

    @abstractmethod
    def test_rates(self) -> dict[str, NDArray[np.float64]]:
        """Per-user rates [realisation, user] on the test split, bit/s/Hz, of the algorithm and of each reference."""

    @abstractmethod
    def drain_metrics(self) -> list[dict[str, Any]]:
        """Rows of the rounds closed since the last call.

        Beside what is recorded of them (`metrics.parquet`), for who watches: the last row has `activity`, see
        `Meter.read`, and rows of held-out splits `served_rates`, bit/s/Hz by station.
        """

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the summary says: parameters and FLOPs per station, power violation, simulated time; and
        `execution_bytes_per_realisation`, of all stations together, where it is known, and `objective`, the loss scheme
        as it is now, where it adapts in training.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything that a resumed coordinator needs."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Any], network: Network) -> None:
        """Become the coordinator that `state` was taken from in `network`."""

    @abstractmethod
    def drain_ledger(self) -> bytes:
        """The MBS's book since the last call."""


class Algorithm(Named):
    """A downlink algorithm: makes the roles that carry it out.

    Attributes:
        learns: whether there are channels, training steps and a test at all.
        transfers_models: whether a station that joins can take over another's model (`StationRole.send_model`).
    """

    learns: ClassVar[bool] = True
    transfers_models: ClassVar[bool] = True

    @abstractmethod
    def station(self, context: Context, name: str) -> StationRole:
        """The role of the SBS called `name`."""

    @abstractmethod
    def coordinator(self, context: Context) -> CoordinatorRole:
        """The role of the MBS."""

    def check(self, scenario: Scenario) -> None:
        """`MisfitError` where the rest of a scenario does not fit the algorithm; by default all fits."""

    def check_roster(self, scenario: Scenario, network: Network, changed: Network) -> None:
        """`UserError` where what learns in `network` cannot go on in `changed`; by default it can in any network."""
