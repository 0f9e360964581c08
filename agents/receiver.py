"""A station of the uplink as an actor, with its edge services: each a process of its own, in the station's bundle."""

from __future__ import annotations

import os
from typing import Any

from agents.service_client import read_detector, services_of
from agents.station import read_network
from agents.users import join_gains, one_or_all
from cellfree_sim.detection.serving.changes import Change
from cellfree_sim.detection.serving.deployment import local_services
from cellfree_sim.detection.serving.receiver import Receiver as Role
from cellfree_sim.detection.serving.receiver import UplinkContext
from cellfree_sim.memory import keep_freed_memory
from cellfree_sim.results.state import pack_state, unpack_state
from cellfree_sim.scenario import received_scenario
from cellfree_sim.uplink.population import section


class Receiver:
    """Actor of one station's receiver. Its methods run one at a time, in the order of the calls.

    Args:
        scenario_json, network_json: what it is made for.
        station: name.
        group: the station's placement group.
        gpus: ids of the station's GPUs, which its services use.
    """

    def __init__(self, scenario_json: str, network_json: str, station: str, group: Any, gpus: list[str]) -> None:
        keep_freed_memory()
        self._station = station
        self._context = UplinkContext(received_scenario(scenario_json), read_network(network_json))
        detectors = local_services(self._context.scenario, station)
        self._services = services_of(self._context.scenario, detectors, group, gpus)
        self._role: Role | None = None
        self._gains = b""

    def ready(self) -> str:
        """Where this process runs: process id and device."""
        return f"{os.getpid()} cpu"

    def prepare(self) -> bytes:
        """Make the channels, once, and wait for the services; returns packed path gains [drops, users]."""
        import torch

        torch.set_num_threads(1)
        if self._role is None:
            role = Role(self._context, self._station, self._services)
            self._gains = pack_state(role.prepare())
            self._services.ready()
            self._role = role
        return self._gains

    def tune(self, *gains: bytes) -> None:
        """Learn the path gains of each station."""
        self._prepared.tune(join_gains(gains))

    def receive(self, first: int, last: int, *bundles: bytes) -> bytes:
        """See `Receiver.receive` of the role: a bundle of each group."""
        return self._prepared.receive(first, last, bundles)

    def assign(self, burst: int) -> bytes | tuple[bytes, ...]:
        """See `Receiver.assign` of the role: a bundle for each group."""
        return one_or_all(list(self._prepared.assign(burst).values()))

    def absorb(self, bundle: bytes) -> None:
        """Take in what the MBS answered."""
        self._prepared.absorb(bundle)

    def swap(self, service: str, detector: str) -> None:
        """Let a service detect with another detector, given as JSON."""
        self._prepared.swap(service, read_detector(section(self._context.scenario).problem, detector))

    def change(self, change: bytes) -> None:
        """Let something else hold for a service: a packed `Change.packed`."""
        self._prepared.change(Change.unpacked(section(self._context.scenario).problem, unpack_state(change)))

    def fail(self, service: str) -> bool:
        """Kill the process of a service; whether there is one here."""
        return self._services.fail(service)

    def services(self) -> bytes:
        """What each service did, packed: see `RemoteServices.stats`."""
        return pack_state(self._services.stats())

    def drain_ledger(self) -> bytes:
        """The book of the station's uplink since the last call."""
        return self._prepared.drain_ledger()

    def state(self) -> bytes:
        """Packed state of the role."""
        return pack_state(self._prepared.state())

    def load_state(self, state: bytes) -> None:
        """Become the receiver that `state` was taken from."""
        self._prepared.load_state(unpack_state(state))

    def end(self) -> None:
        """End the services."""
        self._services.close()

    @property
    def _prepared(self) -> Role:
        assert self._role is not None  # `prepare` comes first
        return self._role
