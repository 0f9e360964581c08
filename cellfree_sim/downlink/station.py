"""The SBS side of every algorithm: the station's channels, its port, and its place in the run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from cellfree_sim.backhaul.bundle import Bundle
from cellfree_sim.backhaul.messages import ChannelReport, Leave, Message
from cellfree_sim.backhaul.port import Port
from cellfree_sim.channel import station_channels
from cellfree_sim.downlink.roles import Context, Progress, Round, StationRole, down_links
from cellfree_sim.downlink.sharing import room_on

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.backhaul.precision import Precision
    from cellfree_sim.network import Network
    from cellfree_sim.network.users import Split

CHUNK = 1000  # realisations in one measurement or channel-upload frame


class Station(StationRole):
    """One SBS with its channels H^b and its backhaul port; what it learns, if anything, is for subclasses to say."""

    def __init__(self, context: Context, name: str) -> None:
        self.name = name
        self.step = 0
        self.now_s = 0.0
        self._scenario = context.scenario
        self._network = context.network
        self._device = torch.device(context.device)
        self._mbs = context.network.mbs
        self._port = Port(
            name,
            run=self._scenario.name,
            paths=self._paths(),
            precision=self._scenario.backhaul.precision,
            max_bytes=self._scenario.backhaul.max_frame_bytes,
        )
        self._channels: dict[str, Tensor] = {}
        self._held = False
        self._validated = -1
        self._reported = False  # the channels of the validation split; those of the test split are sent in each test
        self._uploaded = False  # the training channels, where the MBS keeps them

    def prepare(self, progress: Progress | None = None) -> None:
        """Make the channels of all splits that are needed, scaled by sqrt(P_max / sigma^2)."""
        for split in self._scenario.realisations:
            self._split(split, None if progress is None else partial(progress, split))

    def reconfigure(self, network: Network, step: int, now_s: float) -> None:
        """See `StationRole.reconfigure`."""
        if self.name not in network.sites:
            return
        cut_off = network.status(self.name) == "isolated"
        lost = cut_off and self._network.status(self.name) == "active"
        self._network = network
        self._port.reroute(self._paths(), down_links(network), self._scenario.backhaul.resend_after_s)
        if lost and step < self._scenario.steps:
            self._lose_upload()
        if not cut_off:
            self.now_s = max(self.now_s, now_s)
            self._go_on(step)

    @abstractmethod
    def _lose_upload(self) -> None:
        """The station has not noticed that it is cut off: what it sends for the next round reaches nobody."""

    @abstractmethod
    def _go_on(self, step: int) -> None:
        """Take part in the network as it is now, from round `step` + 1 on."""

    def leave(self, reason: str) -> bytes:
        """See `StationRole.leave`."""
        bundle = Bundle()
        bundle.add(self._send(Leave(reason=reason), Round("control", self.step)))
        return bundle.pack()

    def next_round(self, until: int) -> Round | None:
        """Validate at step 0, every `validate_every_steps` and at the end; train otherwise."""
        unfinished = self.unfinished()
        if unfinished is not None:
            return unfinished
        if self._held:
            self._held = False
            return None
        due = self.step % self._scenario.downlink.validate_every_steps == 0 or self.step == self._scenario.steps
        if due and self._validated != self.step:
            return Round("validation", self.step)
        return Round("training", self.step + 1) if self.step < until else None

    def state(self) -> dict[str, Any]:
        """Place in the run, port."""
        return {
            "step": self.step,
            "validated": self._validated,
            "reported": self._reported,
            "uploaded": self._uploaded,
            "now_s": self.now_s,
            "port": self._port.state(),
        }

    def load_state(self, state: Mapping[str, Any], network: Network) -> None:
        """See `state`."""
        self._port.ledger.drain()  # what is undone was never sent
        self._network = network
        self._port.paths = self._paths()
        self.step, self._validated = int(state["step"]), int(state["validated"])
        self._reported, self._uploaded = bool(state["reported"]), bool(state["uploaded"])
        self.now_s = float(state["now_s"])
        self._port.restore(state["port"])
        self._held = False

    def drain_ledger(self) -> bytes:
        """The station's book since the last call."""
        return self._port.ledger.drain_bytes()

    def _split(self, split: Split, progress: Callable[[int, int], None] | None = None) -> Tensor:
        """Scaled channels of a split [Rz, N, T, I, R], made where they are first asked for."""
        if split not in self._channels:
            scenario = self._scenario
            scale = 10 ** ((scenario.network.sbs.power_dbm - scenario.radio.noise_dbm) / 20)
            raw = station_channels(scenario, self._network, self.name, split, progress=progress)
            self._channels[split] = torch.from_numpy(raw * raw.dtype.type(scale))
        return self._channels[split]

    def _paths(self) -> dict[str, tuple[str, ...]]:
        others = [self._mbs, *self._network.sites]
        reached = [other for other in others if other != self.name and self._network.reaches(self.name, other)]
        return {other: self._network.path(self.name, other) for other in reached}

    def _send(
        self, message: Message, exchange: Round, *, precision: Precision | None = None, receiver: str | None = None
    ) -> bytes:
        to = receiver or self._mbs
        return self._port.send(
            message, to, phase=exchange.phase, step=exchange.step, now_s=self.now_s, precision=precision
        )

    def _add_training_channels(self, bundle: Bundle) -> None:
        """All training realisations, once, where there is something to learn."""
        if not self._uploaded and self._scenario.steps:
            self._uploaded = True
            self._add_reports(bundle, "train", Round("training", self.step))

    def _add_reports(
        self, bundle: Bundle, split: Split, exchange: Round, *, precision: Precision | None = None
    ) -> None:
        """The channels of a split, in as many frames as their limit asks for."""
        for first, part in self._parts(self._split(split)):
            bundle.add(self._send(ChannelReport(channel=part.numpy(), first=first), exchange, precision=precision))

    def _parts(self, channels: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Realisations in parts that fit a frame, as they are and as a decision, each with the index of its first."""
        _, subcarriers, tx_antennas, users, _ = channels.shape
        outputs = subcarriers * users * (8 * tx_antennas + 4) + 4 * self._loss_weights
        longest = max(channels[0].numel() * channels.element_size(), outputs)
        size = max(1, min(CHUNK, self._room(self._mbs) // longest))
        for first in range(0, len(channels), size):
            yield first, channels[first : first + size]

    @property
    def _loss_weights(self) -> int:
        """K, how many loss weights the station sends for each realisation."""
        return 0

    def _room(self, receiver: str) -> int:
        """See `room_on`."""
        return room_on(self._port.paths[receiver], self._scenario.backhaul.max_frame_bytes)
