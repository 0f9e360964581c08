"""The MBS of the uplink as an actor, with the edge services for all antennas."""

from __future__ import annotations

import os
from typing import Any

from agents.service_client import read_detector, services_of
from agents.station import read_network
from agents.users import join_gains, one_or_all
from cellfree_sim.detection.serving.changes import Change
from cellfree_sim.detection.serving.deployment import central_services
from cellfree_sim.detection.serving.fusion import Fusion as Role
from cellfree_sim.detection.serving.receiver import UplinkContext
from cellfree_sim.memory import keep_freed_memory
from cellfree_sim.results.state import pack_state, unpack_state
from cellfree_sim.scenario import received_scenario
from cellfree_sim.uplink.population import section


class Fusion:
    """Actor of the MBS's part in the uplink. Its methods run one at a time, in the order of the calls.

    Args:
        scenario_json, network_json: what it is made for.
        group: the MBS's placement group.
        gpus: ids of the MBS's GPUs, which its services use.
    """

    def __init__(self, scenario_json: str, network_json: str, group: Any, gpus: list[str]) -> None:
        keep_freed_memory()
        context = self._context = UplinkContext(received_scenario(scenario_json), read_network(network_json))
        self._stations = context.network.stations
        self._services = services_of(context.scenario, central_services(context.scenario), group, gpus)
        self._role = Role(context, self._services)

    def ready(self) -> str:
        """Where this process runs: process id and device."""
        return f"{os.getpid()} cpu"

    def prepare(self) -> None:
        """Wait for the services."""
        self._services.ready()

    def tune(self, *gains: bytes) -> None:
        """Learn the path gains of each station."""
        self._role.tune(join_gains(gains))

    def close(self, first: int, last: int, *uploads: bytes) -> bytes | tuple[bytes, ...]:
        """See `Fusion.close` of the role: packed rows, and a bundle for each station."""
        answers = self._role.close(first, last, dict(zip(self._stations, uploads, strict=True)))
        return one_or_all([pack_state(self._role.drain_rows()), *(answers[name] for name in self._stations)])

    def swap(self, service: str, detector: str) -> None:
        """Let a service detect with another detector, given as JSON."""
        self._role.swap(service, read_detector(section(self._context.scenario).problem, detector))

    def change(self, change: bytes) -> None:
        """Let something else hold for a service: a packed `Change.packed`."""
        self._role.change(Change.unpacked(section(self._context.scenario).problem, unpack_state(change)))

    def fail(self, service: str) -> bool:
        """Kill the process of a service; whether there is one here."""
        return self._services.fail(service)

    def services(self) -> bytes:
        """What each service did, packed: see `RemoteServices.stats`."""
        return pack_state(self._services.stats())

    def facts(self) -> bytes:
        """Packed facts for the summary."""
        return pack_state(self._role.facts())

    def drain_ledger(self) -> bytes:
        """The book of the MBS's uplink since the last call."""
        return self._role.drain_ledger()

    def state(self) -> bytes:
        """Packed state of the role."""
        return pack_state(self._role.state())

    def load_state(self, state: bytes) -> int:
        """Become the MBS that `state` was taken from; returns how many bursts it has heard of."""
        self._role.load_state(unpack_state(state))
        return self._role.heard

    def end(self) -> None:
        """End the services."""
        self._services.close()
