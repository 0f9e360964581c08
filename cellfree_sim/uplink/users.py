"""A group of users: one process hosts many, and sends a frame for each burst and station. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.backhaul.bundle import Bundle
from cellfree_sim.backhaul.link import Delivery
from cellfree_sim.backhaul.messages import CodebookAssignment, UplinkBurst
from cellfree_sim.backhaul.port import Port
from cellfree_sim.uplink.population import (
    drop_of,
    group_members,
    group_names,
    heard_at_s,
    section,
    sent_at_s,
    snr_db_of,
    transmissions,
)
from cellfree_sim.uplink.power import amplitudes
from cellfree_sim.uplink.senders import Assigned, Sender, sender_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.network import Network
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.uplink.population import Transmissions


class UserGroup:
    """The users of one group (`group_names`): activity, messages, power control, codewords, frames.

    The order of calls: `tune` once, then `bursts` with windows that follow each other. A group of which nobody is
    active sends nothing.

    Args:
        scenario: has an `uplink`.
        network: whose stations hear them.
        index: which group, from 0.
    """

    def __init__(self, scenario: Scenario, network: Network, index: int) -> None:
        self._scenario = scenario
        self._uplink = section(scenario)
        self._members = group_members(scenario, index)
        self._name = group_names(scenario)[index]
        self._stations = network.stations
        self._codewords_of: Sender = sender_of(scenario)
        self._best_gains: NDArray[np.float32] | None = None
        paths = {station: (self._name, station) for station in self._stations}
        self._port = Port(self._name, scenario.name, paths, max_bytes=scenario.backhaul.max_frame_bytes)

    @property
    def name(self) -> str:
        """``users-<index>``: in frames and books."""
        return self._name

    def tune(self, gains: NDArray[np.float32]) -> None:
        """Learn the path gains [stations, drops, users of all] (what `Receiver.prepare` gave, in roster order).

        Users know them from the stations' reference signals; no message is counted for that.
        """
        self._best_gains = gains[:, :, self._members.start : self._members.stop].max(axis=0)

    def assign(self, bundles: Sequence[bytes]) -> None:
        """Take in codebooks, in bundles of the stations: what the users send from now on."""
        for bundle in bundles:
            for frame, arrival_s in Bundle.unpack(bundle):
                header, message = self._port.receive(frame)
                self._port.annotate(header, Delivery(arrival_s, 0.0, arrival_s - header.sent_s))
                assert isinstance(message, CodebookAssignment)
                if not isinstance(self._codewords_of, Assigned):
                    shape = (len(self._members), *message.codebook.shape[1:])
                    self._codewords_of = Assigned(self._members.start, np.zeros(shape, np.complex64))
                self._codewords_of.words[message.users - self._members.start] = message.codebook

    def bursts(self, first: int, last: int) -> dict[str, bytes]:
        """Bundles with the frames of the bursts `first` to `last` - 1, one for each station of the roster."""
        bundles = {station: Bundle() for station in self._stations}
        for burst in range(first, last):
            self._send(burst, bundles)
        return {station: bundle.pack() for station, bundle in bundles.items()}

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        assigned = self._codewords_of.words if isinstance(self._codewords_of, Assigned) else None
        return {"port": self._port.state(), "assigned": assigned}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave (after `tune`); the book begins anew."""
        self._port.ledger.drain()
        self._port.restore(state["port"])
        if state["assigned"] is not None:
            self._codewords_of = Assigned(self._members.start, state["assigned"].copy())

    def drain_ledger(self) -> bytes:
        """The group's book since the last call."""
        return self._port.ledger.drain_bytes()

    def _send(self, burst: int, bundles: Mapping[str, Bundle]) -> None:
        sent = transmissions(self._scenario, burst, self._members)
        if len(sent.users) == 0:
            return
        message = UplinkBurst(self._codewords(burst, sent.users, sent.messages), sent.users, self._numbers(sent))
        begins_s, heard_s = sent_at_s(self._uplink, burst), heard_at_s(self._uplink, burst)
        delivery = Delivery(heard_s, 0.0, self._uplink.slots * self._uplink.slot_s)
        for station, bundle in bundles.items():
            header, frame = self._port.post(message, station, phase="uplink", step=burst, now_s=begins_s)
            self._port.annotate(header, delivery)
            bundle.add(frame, heard_s)

    def _numbers(self, sent: Transmissions) -> NDArray[np.int32]:
        """Numbers of the codewords [S, I], where bursts name them; else none."""
        return sent.messages.astype(np.int32) if self._uplink.by_number else np.empty((0, 0), np.int32)

    def _codewords(self, burst: int, users: NDArray[np.int32], messages: NDArray[np.int64]) -> NDArray[np.complex64]:
        """sqrt(P) times the codewords, complex64 [S, I, L], sqrt(mW)."""
        assert self._best_gains is not None, "tune comes first"
        best = self._best_gains[drop_of(self._uplink, burst), users - self._members.start]
        amplitude = amplitudes(self._uplink, snr_db_of(self._uplink, burst), best)
        return self._codewords_of(users, messages) * amplitude[:, None]
