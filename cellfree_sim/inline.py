"""The in-process engine: the same roles, frames and ledger as the distributed run, without Ray.

It is the reference that the distributed run must equal bit for bit, and the engine for notebooks, debugging and
machines without Ray. Stations take their turns in roster order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from cellfree_sim.devices import choose_device
from cellfree_sim.downlink.roles import Context, CoordinatorRole, Round, StationRole
from cellfree_sim.engine import ChannelProgress, Rows
from cellfree_sim.errors import StationLostError
from cellfree_sim.interrupts import deferred_interrupts
from cellfree_sim.network import build_network
from cellfree_sim.progress import progress_over_splits
from cellfree_sim.results.state import pack_state, unpack_state

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cellfree_sim.scenario.schema import Scenario


class InlineEngine:
    """All stations in this process, one after another, on one torch thread."""

    name = "inline"

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._network = build_network(scenario)
        self._algorithm = scenario.downlink.algorithm
        self._dead: set[str] = set()
        self._device = choose_device(scenario.placement.sbs.gpus)
        self.coordinator: CoordinatorRole = self._algorithm.coordinator(self._context())
        self.stations: dict[str, StationRole] = {
            name: self._algorithm.station(self._context(), name) for name in self._network.stations
        }

    def start(self, on_channels: ChannelProgress) -> None:
        """See `Engine.start`."""
        with _one_torch_thread():
            for name, station in self.stations.items():
                station.prepare(progress_over_splits(self._scenario, partial(on_channels, name)))
            self._exchange(Round("setup", 0), {name: station.join() for name, station in self.stations.items()})

    def advance(self, until: int, on_rows: Callable[[Rows], None]) -> int:
        """See `Engine.advance`."""
        with _one_torch_thread(), deferred_interrupts() as interrupted:
            while not interrupted():
                if self._dead:
                    raise StationLostError(tuple(sorted(self._dead)), "died")
                rounds = {station.next_round(until) for station in self.stations.values()}
                exchange = rounds.pop()
                if exchange is None:
                    break
                self._exchange(exchange, {name: station.upload(exchange) for name, station in self.stations.items()})
                on_rows(self.coordinator.drain_metrics())
            else:
                raise KeyboardInterrupt
        return min(station.step for station in self.stations.values())

    def measure(self) -> Rows:
        """See `Engine.measure`."""
        with _one_torch_thread():
            step = min(station.step for station in self.stations.values())
            uploads = {name: station.measure("test") for name, station in self.stations.items()}
            self.coordinator.close(Round("test", step), uploads)
        return self.coordinator.drain_metrics()

    def measure_references(self, on_progress: Callable[[str, int, int], None]) -> None:
        """See `Engine.measure_references`."""
        with _one_torch_thread():
            self.coordinator.measure_references(on_progress)

    def test_rates(self) -> dict[str, NDArray[np.float64]]:
        """See `Engine.test_rates`."""
        return self.coordinator.test_rates()

    def facts(self) -> dict[str, Any]:
        """See `Engine.facts`."""
        return self.coordinator.facts()

    def drain_ledgers(self) -> list[bytes]:
        """See `Engine.drain_ledgers`."""
        return [role.drain_ledger() for name, role in self._roles().items() if name not in self._dead]

    def states(self) -> dict[str, bytes]:
        """See `Engine.states`."""
        return {name: pack_state(role.state()) for name, role in self._roles().items()}

    def load_states(self, states: Mapping[str, bytes]) -> None:
        """See `Engine.load_states`."""
        self.coordinator.load_state(unpack_state(states[self._network.mbs]))
        for name, station in self.stations.items():
            station.load_state(unpack_state(states[name]))

    def kill(self, name: str) -> None:
        """Let a station die, with all it knows since the last checkpoint; `advance` finds out."""
        self._dead.add(name)

    def recover(self, stations: Sequence[str], states: Mapping[str, bytes]) -> None:
        """See `Engine.recover`."""
        self._dead.clear()
        for name in stations:
            if name == self._network.mbs:
                self.coordinator = self._algorithm.coordinator(self._context())
            else:
                self.stations[name] = self._algorithm.station(self._context(), name)
                with _one_torch_thread():
                    self.stations[name].prepare()
        self.load_states(states)

    def describe(self) -> dict[str, Any]:
        """See `Engine.describe`."""
        names = [self._network.mbs, *self.stations]
        return {
            "engine": self.name,
            "stations": [{"name": n, "pid": os.getpid(), "device": self._device} for n in names],
        }

    def reachable_at(self) -> dict[str, str]:
        """See `Engine.reachable_at`: nobody reaches into this process."""
        return {}

    def close(self) -> None:
        """Nothing to end: the roles go with this object."""

    def _roles(self) -> dict[str, CoordinatorRole | StationRole]:
        return {self._network.mbs: self.coordinator, **self.stations}

    def _context(self) -> Context:
        return Context(self._scenario, self._network, self._device)

    def _exchange(self, exchange: Round, uploads: Mapping[str, bytes]) -> None:
        for name, answer in self.coordinator.close(exchange, uploads).items():
            self.stations[name].absorb(answer)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """The thread count decides the order of sums, and so the bits."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
