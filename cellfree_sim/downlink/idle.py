"""Roles of stations without a downlink: they are in the network, and have nothing to say to each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cellfree_sim.backhaul.bundle import Bundle
from cellfree_sim.backhaul.ledger import Ledger
from cellfree_sim.downlink.roles import Context, CoordinatorRole, Progress, Round, StationRole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cellfree_sim.backhaul.messages import Phase
    from cellfree_sim.network import Network


class IdleStation(StationRole):
    """An SBS that sends empty bundles when it is asked, and never asks for a round."""

    def __init__(self, context: Context, name: str) -> None:
        self.name = name
        self.step = 0
        self.now_s = 0.0
        self._ledger = Ledger(name)

    def prepare(self, progress: Progress | None = None) -> None:
        """Nothing to make."""

    def join(self) -> bytes:
        """Nothing to announce."""
        return Bundle().pack()

    def reconfigure(self, network: Network, step: int, now_s: float) -> None:
        """Nothing depends on the network."""

    def leave(self, reason: str) -> bytes:
        """Nothing to say."""
        return Bundle().pack()

    def send_model(self, receiver: str) -> bytes:
        """There is no model."""
        return Bundle().pack()

    def next_round(self, until: int) -> Round | None:
        """There are no rounds."""
        return None

    def upload(self, exchange: Round) -> bytes:
        """Nothing to tell."""
        return Bundle().pack()

    def absorb(self, bundle: bytes) -> None:
        """Nothing to learn."""

    def measure(self, phase: Phase) -> bytes:
        """Nothing to measure."""
        return Bundle().pack()

    def state(self) -> dict[str, Any]:
        """There is none."""
        return {}

    def load_state(self, state: Mapping[str, Any], network: Network) -> None:
        """There is none."""

    def drain_ledger(self) -> bytes:
        """An empty book."""
        return self._ledger.drain_bytes()


class IdleCoordinator(CoordinatorRole):
    """An MBS that answers every round with empty bundles, and measures nothing."""

    def __init__(self, context: Context) -> None:
        self.roster = tuple(context.network.stations)
        self.now_s = 0.0
        self._ledger = Ledger(context.network.mbs)

    def close(self, exchange: Round, uploads: Mapping[str, bytes]) -> dict[str, bytes]:
        """Empty answers."""
        return {name: Bundle().pack() for name in self.roster}

    def reconfigure(self, network: Network) -> None:
        """Another roster."""
        self.roster = tuple(network.stations)

    def relay(self, bundle: bytes) -> bytes:
        """There is nothing in it."""
        return bundle

    def take_leave(self, bundle: bytes) -> None:
        """There is nothing in it."""

    def hold(self) -> None:
        """There are no rounds to stop."""

    def measure_references(self, progress: Progress | None = None) -> None:
        """There are no channels."""

    def test_rates(self) -> dict[str, NDArray[np.float64]]:
        """There are none."""
        return {}

    def drain_metrics(self) -> list[dict[str, Any]]:
        """No rounds."""
        return []

    def facts(self) -> dict[str, Any]:
        """Nothing was computed."""
        return {"parameters": {}, "flops_per_realisation": {}, "power_violation": 0.0, "simulated_seconds": 0.0}

    def state(self) -> dict[str, Any]:
        """There is none."""
        return {}

    def load_state(self, state: Mapping[str, Any], network: Network) -> None:
        """The roster of that network."""
        self.roster = tuple(network.stations)

    def drain_ledger(self) -> bytes:
        """An empty book."""
        return self._ledger.drain_bytes()
