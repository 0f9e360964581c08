"""The MBS side of CMTSSL: one network for all stations, trained on their uploads (Algorithm 1), asked when it executes.

    setup        SBSs: channels of the training split, once ─► MBS
    training     MBS: batch, forward (17), joint loss (16), backward, optimiser; nothing crosses a link
    execution    SBSs: channels ─► MBS: decisions of the network in evaluation mode ─► SBSs

Simulated time passes for the uploads and for the MBS's own operations. The network learns from the channels as they
arrived, which the precision of the backhaul may have changed; rates are measured on the true ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from cellfree_sim import seeds
from cellfree_sim.backhaul import codec
from cellfree_sim.backhaul.bundle import Bundle
from cellfree_sim.backhaul.messages import ChannelReport, PolicyDecision
from cellfree_sim.downlink.batching import draw_batch, take_batch
from cellfree_sim.downlink.cmtssl.boundary import round_is_over
from cellfree_sim.downlink.coordination import CHUNK, MEASURED, Coordinator, Uploads
from cellfree_sim.downlink.descent import Descent
from cellfree_sim.downlink.flops import flops_per_realisation
from cellfree_sim.downlink.losses import divergence
from cellfree_sim.downlink.objective import BatchLoss, stack_stations
from cellfree_sim.downlink.policy import PolicyOutputs, PolicyShape, policy_shape
from cellfree_sim.downlink.roles import Context, Round
from cellfree_sim.downlink.trained import load_trained
from cellfree_sim.errors import RunFailedError, ScenarioError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.backhaul.messages import Phase
    from cellfree_sim.network import Network

TRAINING_OVER_FORWARD = 3  # a backward pass costs two forward passes: gradients of inputs and of weights


class CmtsslCoordinator(Coordinator):
    """The one policy network of the run, its optimiser, and the channels of all stations."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._exact = context.scenario.backhaul.precision == "float32"
        self._inexact: dict[str, dict[str, NDArray[np.complex64]]] = {phase: {} for phase in MEASURED}
        self._part_sizes: dict[str, dict[str, list[int]]] = {phase: {} for phase in MEASURED}
        self._waited_s = (0.0, 0.0)  # in queues and on links since the last round, for uploads of whole splits
        self._execution_bytes: float | None = None
        self._unstarted: ScenarioError | None = None  # why the network is not the trained one; a checkpoint may say
        self._build()
        self._start()

    def reconfigure(self, network: Network) -> None:
        """See `CoordinatorRole.reconfigure`. The network goes on as it is; with a fixed input, the roster never changes
        (`Cmtssl.check_roster`).
        """
        super().reconfigure(network)
        self._shape = policy_shape(self._scenario, len(self.roster))
        self._flops = self._count_flops()
        gone: list[dict[str, Any]] = [*self._inexact.values(), *self._part_sizes.values()]
        for table in gone:
            for name in set(table) - set(network.members):
                del table[name]

    def facts(self) -> dict[str, Any]:
        """See `CoordinatorRole.facts`; the stations have no network, and execution is known once it was measured."""
        mbs = self._network.mbs
        parameters = sum(parameter.numel() for parameter in self.policy.parameters())
        facts = {
            **super().facts(),
            "parameters": {mbs: parameters, **{name: join.parameters for name, join in self._joined.items()}},
            "flops_per_realisation": {mbs: self._flops, **dict.fromkeys(self._joined, 0)},
        }
        if self._execution_bytes is not None:
            facts["execution_bytes_per_realisation"] = self._execution_bytes
        return facts

    def state(self) -> dict[str, Any]:
        """See `Coordinator.state`; and the network, its optimiser and its schedule, and the validation split.

        Raises:
            ScenarioError: the trained policy from which the run starts cannot be read here.
        """
        if self._unstarted:
            raise self._unstarted
        return {
            **super().state(),
            "policy": self.policy.state_dict(),
            **self._descent.state(),
            "inexact": {phase: dict(channels) for phase, channels in self._inexact.items()},
            "part_sizes": {phase: dict(sizes) for phase, sizes in self._part_sizes.items()},
            "waited_s": list(self._waited_s),
        }

    def load_state(self, state: Mapping[str, Any], network: Network) -> None:
        """See `state`."""
        super().load_state(state, network)
        self._unstarted = None
        self._build()
        self.policy.load_state_dict(state["policy"])
        self._descent.load_state(state)
        self._inexact = {
            phase: {name: np.asarray(array) for name, array in channels.items()}
            for phase, channels in state["inexact"].items()
        }
        self._part_sizes = {phase: dict(sizes) for phase, sizes in state["part_sizes"].items()}
        queue_s, transfer_s = state["waited_s"]
        self._waited_s = (float(queue_s), float(transfer_s))

    def decide(self, channel_SBNTIR: Tensor) -> PolicyOutputs:
        """Execute the network (17) on the channels of all stations: hard allocations and beams."""
        self.policy.eval()
        with torch.no_grad():
            parts = [self.policy(part.to(self._device)) for part in torch.split(channel_SBNTIR, CHUNK)]
        return PolicyOutputs(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))

    def _close_setup(self, exchange: Round, received: Uploads) -> dict[str, bytes]:
        if self._unstarted and not self._scenario.downlink.policy.settled:
            raise self._unstarted
        before_s = self.now_s
        _, sent_s, alone_s = self._arrive(received.headers)
        queue_s, transfer_s = self._waited_s
        passed_s = self.now_s - max(before_s, sent_s)
        self._waited_s = (queue_s + max(0.0, passed_s - alone_s), transfer_s + min(passed_s, alone_s))
        return self._admit(exchange, received, self._batch_seed(exchange.step + 1))

    def _close_training(self, exchange: Round, received: Uploads) -> dict[str, bytes]:
        """One step of Algorithm 1, lines 5-10."""
        channel = self._batch(self._batch_seed(exchange.step))
        self.policy.train()
        outputs = self.policy(channel)
        loss = self._objective(outputs.beams, outputs.allocation, outputs.beta, channel)
        joint = float(loss.joint.detach())
        if not math.isfinite(joint):
            what = divergence(loss.tasks, loss.rates.shape[1]) or f"the joint loss is {joint}"
            raise RunFailedError(f"training diverged at step {exchange.step}: {what}")
        self._descend(loss, exchange.step)
        self._objective = self._objective.after(loss)
        training_flops = TRAINING_OVER_FORWARD * len(channel) * self._flops + self._loss_flops(channel, backward=True)
        compute_s = training_flops / self._scenario.flop_per_s_left(self._network.mbs)
        self._computed(compute_s, {})
        self.now_s += compute_s
        queue_s, transfer_s = self._waited_s
        self._waited_s = (0.0, 0.0)
        self._row(exchange, loss, compute_s=compute_s, queue_s=queue_s, transfer_s=transfer_s)
        return dict.fromkeys(self.roster, round_is_over(hold=self._hold_now()))

    def _close_measurement(self, exchange: Round, received: Uploads) -> dict[str, bytes]:
        """Decide on what the stations reported, tell them, and measure what they then send."""
        phase = exchange.phase
        uploaded = self._take_reports(phase, received)
        known = self._held_out if self._exact else self._inexact
        heard = np.stack([known[phase][station] for station in self.roster], axis=1)
        outputs = self.decide(torch.from_numpy(heard))
        sent = {station: self._send_decision(exchange, station, outputs, b) for b, station in enumerate(self.roster)}
        if phase == "test":
            down = sum(len(frame) for frames in sent.values() for frame in frames)
            self._execution_bytes = (uploaded + down) / len(heard)
        arrived = [_decisions(sent[station]) for station in self.roster]
        beams = np.stack([np.concatenate([decision.beams for decision in parts]) for parts in arrived], axis=1)
        allocation = np.stack(
            [np.concatenate([decision.allocation for decision in parts]) for parts in arrived], axis=1
        )
        self._measure(
            exchange,
            torch.from_numpy(beams).to(self._device),
            torch.from_numpy(allocation).to(self._device).round(),  # 0 or 1, whatever the precision has left of it
        )
        return {station: self._bundle(frames) for station, frames in sent.items()}

    def _take_reports(self, phase: str, received: Uploads) -> int:
        """Keep what was reported for execution, and the true channels; returns the bytes that the former took."""
        size = 0
        for station in self.roster:
            reports = [m.channel for m in received.messages[station] if isinstance(m, ChannelReport)]
            if not reports:
                continue
            count = len(reports) if self._exact else len(reports) // 2
            size += sum(length for _, length in received.headers[station][:count])
            if not self._exact:
                self._inexact[phase][station] = np.concatenate(reports[:count])
            self._held_out[phase][station] = np.concatenate(reports[-count:])
            self._part_sizes[phase][station] = [len(report) for report in reports[:count]]
        return size

    def _send_decision(self, exchange: Round, station: str, outputs: PolicyOutputs, place: int) -> list[bytes]:
        """The frames that carry a station's decisions, in the parts in which it reported its channels."""
        sizes = self._part_sizes[exchange.phase][station]
        frames = []
        for beams, allocation in zip(
            torch.split(outputs.beams[:, place], sizes), torch.split(outputs.allocation[:, place], sizes), strict=True
        ):
            message = PolicyDecision(beams.cpu().numpy(), allocation.cpu().numpy())
            phase: Phase = "execution" if exchange.phase == "test" else exchange.phase
            header, frame = self._port.post(message, station, phase=phase, step=exchange.step, now_s=self.now_s)
            self._count(header, message, len(frame))
            frames.append(frame)
        return frames

    def _bundle(self, frames: Sequence[bytes]) -> bytes:
        bundle = Bundle()
        for frame in frames:
            bundle.add(frame, self.now_s)
        return bundle.pack()

    def _batch(self, seed: int) -> Tensor:
        """The mini-batch [S, B, N, T, I, R] that `seed` names, of the channels as they were uploaded."""
        stored = [torch.from_numpy(self._cached[station]) for station in self.roster]
        index = draw_batch(
            seed,
            len(stored[0]),
            stored[0].shape[3],
            self._scenario.downlink.batch,
            resample_users=self._scenario.channel.resample_users,
        )
        return stack_stations([take_batch(channels, index) for channels in stored]).to(self._device)

    def _descend(self, loss: BatchLoss, step: int) -> None:
        """One backward pass and one step of the optimiser."""
        self._descent.begin()
        loss.joint.backward()  # type: ignore[no-untyped-call]
        self._descent.descend(step)

    def _build(self) -> None:
        """Network, optimiser and schedule, as they are at the start of a run."""
        self._shape = policy_shape(self._scenario, len(self.roster))
        self.policy = self._network_for(self._shape)
        self.policy.to(self._device)
        self._flops = self._count_flops()
        self._descent = Descent(self.policy, self._scenario)

    def _start(self) -> None:
        """Let the network be the trained one of the scenario; its file may be gone where a checkpoint follows."""
        try:
            load_trained(self.policy, self._network_for, self._shape, self._scenario, self._network.mbs)
        except ScenarioError as error:
            self._unstarted = error

    def _network_for(self, shape: PolicyShape) -> nn.Module:
        """The network as it is before anything is learned."""
        seed = seeds.integer(self._scenario.seed, "policy", self._network.mbs)
        network: nn.Module = self._scenario.downlink.policy.build_central(shape, seed)
        return network

    def _count_flops(self) -> int:
        """FLOPs of one forward pass for a single realisation of all stations."""
        return flops_per_realisation(_AllStations(self.policy, self._shape.stations), self._shape)


class _AllStations(nn.Module):
    """A central network on one station's channel, as if it were that of all stations: to count operations."""

    def __init__(self, policy: nn.Module, stations: int) -> None:
        super().__init__()
        self.policy = policy
        self.stations = stations

    def forward(self, channel_SNTIR: Tensor) -> Any:
        return self.policy(channel_SNTIR.unsqueeze(1).repeat_interleave(self.stations, 1))


def _decisions(frames: Sequence[bytes]) -> list[PolicyDecision]:
    """Decisions as they arrive, after the precision of the backhaul."""
    messages = [codec.decode(frame)[1] for frame in frames]
    return [message for message in messages if isinstance(message, PolicyDecision)]
