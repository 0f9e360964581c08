"""A group of users as an actor: it sends bursts to all stations. It never imports torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from agents.station import read_network
from cellfree_sim.memory import keep_freed_memory
from cellfree_sim.results.state import pack_state, unpack_state
from cellfree_sim.scenario import received_scenario
from cellfree_sim.uplink.users import UserGroup

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Users:
    """Actor of one group of users (`UserGroup`). Its methods run one at a time, in the order of the calls."""

    def __init__(self, scenario_json: str, network_json: str, index: int) -> None:
        keep_freed_memory()
        network = read_network(network_json)
        self._stations = network.stations
        self._role = UserGroup(received_scenario(scenario_json), network, index)

    def ready(self) -> str:
        """Where this process runs: process id and device."""
        return f"{os.getpid()} cpu"

    def tune(self, *gains: bytes) -> None:
        """Learn the path gains of each station (`Receiver.prepare`)."""
        self._role.tune(join_gains(gains))

    def assign(self, *bundles: bytes) -> None:
        """Take in codebooks: a bundle of each station."""
        self._role.assign(bundles)

    def bursts(self, first: int, last: int) -> bytes | tuple[bytes, ...]:
        """A bundle for each station; of a single station, the bundle itself."""
        bundles = self._role.bursts(first, last)
        return one_or_all([bundles[name] for name in self._stations])

    def drain_ledger(self) -> bytes:
        """The group's book since the last call."""
        return self._role.drain_ledger()

    def state(self) -> bytes:
        """Packed state of the role."""
        return pack_state(self._role.state())

    def load_state(self, state: bytes) -> None:
        """Become the group that `state` was taken from."""
        self._role.load_state(unpack_state(state))


def join_gains(gains: tuple[bytes, ...]) -> NDArray[np.float32]:
    """Path gains [stations, drops, users] from those that the stations gave, packed."""
    return np.stack([unpack_state(each) for each in gains])


def one_or_all(values: list[bytes]) -> bytes | tuple[bytes, ...]:
    """What an actor returns where Ray expects so many values."""
    return values[0] if len(values) == 1 else tuple(values)
