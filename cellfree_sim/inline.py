"""The in-process engine: the same roles, frames and ledger as the distributed run, without Ray.

It is the reference that the distributed run must equal bit for bit, and the engine for notebooks, debugging and
machines without Ray. Stations take their turns in roster order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from cellfree_sim.backhaul.bundle import payload_and_frame_bytes
from cellfree_sim.devices import choose_device
from cellfree_sim.downlink.roles import Context, CoordinatorRole, Round, StationRole
from cellfree_sim.engine import Barrier, ChannelProgress, Rows, never
from cellfree_sim.errors import StationLostError
from cellfree_sim.interrupts import deferred_interrupts
from cellfree_sim.network import build_network
from cellfree_sim.progress import progress_over_splits
from cellfree_sim.results.state import pack_state, unpack_state
from cellfree_sim.threads import one_torch_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cellfree_sim.network import Network
    from cellfree_sim.scenario.schema import Scenario


class InlineEngine:
    """All stations in this process, one after another, on one torch thread.

    Args:
        scenario: what to run.
        network: where; that of the scenario by default.
    """

    name = "inline"

    def __init__(self, scenario: Scenario, network: Network | None = None) -> None:
        self._scenario = scenario
        self._network = network = network or build_network(scenario)
        self._algorithm = scenario.downlink.algorithm
        self._doomed: dict[str, Barrier] = {}
        self._dead: tuple[str, ...] = ()
        self._device = choose_device(scenario.placement.sbs.gpus)
        self.coordinator: CoordinatorRole = self._algorithm.coordinator(self._context(network))
        self.stations: dict[str, StationRole] = {
            name: self._algorithm.station(self._context(network), name) for name in network.members
        }

    def start(self, on_channels: ChannelProgress) -> None:
        """See `Engine.start`."""
        with one_torch_thread():
            for name, station in self.stations.items():
                station.prepare(progress_over_splits(self._scenario, partial(on_channels, name)))
            self._admit(0)

    def advance(self, until: int, on_rows: Callable[[Rows], None], should_hold: Callable[[], bool] = never) -> int:
        """See `Engine.advance`."""
        with one_torch_thread(), deferred_interrupts() as interrupted:
            try:
                while not interrupted() and self._play_round(until):
                    on_rows(self.coordinator.drain_metrics())
                    if should_hold():
                        break
            finally:
                if interrupted():
                    raise KeyboardInterrupt  # also where a station died in this round, which `states` will miss
        return self._step()

    def validate(self) -> Rows:
        """See `Engine.validate`."""
        exchange = Round("validation", self._step())
        with one_torch_thread():
            self._exchange(exchange, {name: station.upload(exchange) for name, station in self._roster().items()})
        return self.coordinator.drain_metrics()

    def measure(self) -> Rows:
        """See `Engine.measure`."""
        with one_torch_thread():
            uploads = {name: station.measure("test") for name, station in self._roster().items()}
            self._exchange(Round("test", self._step()), uploads)
        return self.coordinator.drain_metrics()

    def measure_references(self, on_progress: Callable[[str, int, int], None]) -> None:
        """See `Engine.measure_references`."""
        with one_torch_thread():
            self.coordinator.measure_references(on_progress)

    def test_rates(self) -> dict[str, NDArray[np.float64]]:
        """See `Engine.test_rates`."""
        return self.coordinator.test_rates()

    def facts(self) -> dict[str, Any]:
        """See `Engine.facts`."""
        return self.coordinator.facts()

    def drain_ledgers(self) -> list[bytes]:
        """See `Engine.drain_ledgers`."""
        return [role.drain_ledger() for role in self._roles().values()]

    def states(self) -> dict[str, bytes]:
        """See `Engine.states`."""
        if self._dead:
            raise StationLostError(self._dead, "died")
        members = {self._network.mbs, *self._network.members}
        return {name: pack_state(role.state()) for name, role in self._roles().items() if name in members}

    def load_states(self, states: Mapping[str, bytes]) -> None:
        """See `Engine.load_states`."""
        for name, role in self._roles().items():
            role.load_state(unpack_state(states[name]), self._network)

    def recover(self, stations: Sequence[str], states: Mapping[str, bytes], network: Network) -> None:
        """See `Engine.recover`."""
        self._network, self._dead = network, ()
        if network.mbs in stations:
            self.coordinator = self._algorithm.coordinator(self._context(network))
        for name in [name for name in self.stations if name not in states]:
            del self.stations[name]
        for name in [name for name in stations if name != network.mbs and name in states]:
            self._create(network, name)
        self.load_states(states)

    def prepare(self, network: Network, name: str) -> None:
        """See `Engine.prepare`: at once, since everything takes turns here."""
        self._create(network, name)

    def prepared(self, name: str, *, wait: bool) -> bool:
        """See `Engine.prepared`."""
        return name in self.stations

    def transfer(self, donor: str, receiver: str) -> tuple[int, int]:
        """See `Engine.transfer`."""
        with one_torch_thread():
            bundle = self.stations[donor].send_model(receiver)
            self.stations[receiver].absorb(self.coordinator.relay(bundle))
        return payload_and_frame_bytes(bundle)

    def reconfigure(self, network: Network, step: int) -> None:
        """See `Engine.reconfigure`."""
        before, self._network = self._network, network
        with one_torch_thread():
            self.coordinator.reconfigure(network)
            for station in self.stations.values():
                station.reconfigure(network, step, self.coordinator.now_s)
            if network.stations != before.stations:
                self._admit(step)

    def clock(self, station: str) -> float:
        """See `Engine.clock`."""
        return self._roles()[station].now_s

    def farewell(self, station: str) -> None:
        """See `Engine.farewell`."""
        self.coordinator.take_leave(self.stations[station].leave("removed"))

    def release(self, station: str) -> None:
        """See `Engine.release`."""
        self.stations.pop(station, None)
        self._doomed.pop(station, None)

    def fail(self, station: str, barrier: Barrier) -> None:
        """See `Engine.fail`: a station dies with all it knows since the last checkpoint."""
        self._doomed[station] = barrier

    def requests(self) -> list[tuple[int, dict[str, Any]]]:
        """See `Engine.requests`: nobody reaches into this process."""
        return []

    def answer(self, number: int, reply: Mapping[str, Any]) -> None:
        """See `Engine.answer`."""

    def refuse(self, reason: str) -> None:
        """See `Engine.refuse`."""

    def tell(self, progress: Mapping[str, Any]) -> None:
        """See `Engine.tell`: the run folder has it."""

    def describe(self) -> dict[str, Any]:
        """See `Engine.describe`."""
        names = [self._network.mbs, *self.stations]
        return {
            "engine": self.name,
            "stations": [{"name": n, "pid": str(os.getpid()), "device": self._device} for n in names],
        }

    def reachable_at(self) -> dict[str, str]:
        """See `Engine.reachable_at`: nobody reaches into this process."""
        return {}

    def close(self) -> None:
        """Nothing to end: the roles go with this object."""

    def _play_round(self, until: int) -> bool:
        """The next round before step `until` is completed, with all that belongs to it; False where there is none."""
        roster = self._roster()
        while True:
            self._die("before")
            exchange = {station.next_round(until) for station in roster.values()}.pop()
            if exchange is None:
                return False
            uploads = {name: station.upload(exchange) for name, station in roster.items()}
            self._die("during")
            answers = self.coordinator.close(exchange, uploads)
            self._die("after")
            for name, answer in answers.items():
                roster[name].absorb(answer)
            if not any(station.unfinished() for station in roster.values()):
                return True

    def _roles(self) -> dict[str, CoordinatorRole | StationRole]:
        return {self._network.mbs: self.coordinator, **self.stations}

    def _roster(self) -> dict[str, StationRole]:
        return {name: self.stations[name] for name in self._network.stations}

    def _step(self) -> int:
        return min(station.step for station in self._roster().values())

    def _context(self, network: Network) -> Context:
        return Context(self._scenario, network, self._device)

    def _create(self, network: Network, name: str) -> None:
        self.stations[name] = self._algorithm.station(self._context(network), name)
        with one_torch_thread():
            self.stations[name].prepare()

    def _admit(self, step: int) -> None:
        self._exchange(Round("setup", step), {name: station.join() for name, station in self._roster().items()})

    def _die(self, barrier: Barrier) -> None:
        dead = tuple(sorted(name for name, when in self._doomed.items() if when == barrier))
        if dead:
            self._doomed = {name: when for name, when in self._doomed.items() if name not in dead}
            self._dead = dead
            raise StationLostError(dead, "died")

    def _exchange(self, exchange: Round, uploads: Mapping[str, bytes]) -> None:
        for name, answer in self.coordinator.close(exchange, uploads).items():
            self.stations[name].absorb(answer)
