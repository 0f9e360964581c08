"""The SBS side of DMTSSL: forward, upload, and backward from what the MBS returns (Algorithm 2, lines 13-19).

The MBS's answer holds dL/d(w^b, v^b, beta^b), so that the station can go on with its own backward pass; or the
outputs of all other stations, from which it computes the same joint loss and differentiates for itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from cellfree_sim import seeds
from cellfree_sim.backhaul.bundle import Bundle
from cellfree_sim.backhaul.messages import Admit, ChannelReport, Join, LossFeedback, Phase, PolicyOutput
from cellfree_sim.backhaul.port import Port
from cellfree_sim.channel import station_channels
from cellfree_sim.downlink.batching import draw_batch, take_batch
from cellfree_sim.downlink.dmtssl.objective import Objective, stack_stations
from cellfree_sim.downlink.flops import flops_per_realisation
from cellfree_sim.downlink.policy import PolicyOutputs, PolicyShape
from cellfree_sim.downlink.roles import Context, Progress, Round, StationRole
from cellfree_sim.errors import RunFailedError
from cellfree_sim.network.users import Split
from cellfree_sim.scenario.schema import FRAME_OVERHEAD_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from cellfree_sim.backhaul.precision import Precision

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
CHUNK = 1000  # realisations in one measurement or channel-upload frame
BACKWARD_OVER_FORWARD = 2  # a backward pass costs two forward passes: gradients of inputs and of weights


class DmtsslStation(StationRole):
    """One SBS with its channels H^b, its policy pi_b, its optimiser and its backhaul port."""

    def __init__(self, context: Context, name: str) -> None:
        self.name = name
        self.step = 0
        self._context = context
        self._scenario = context.scenario
        self._device = torch.device(context.device)
        network = context.network
        self._mbs = network.mbs
        self._port = Port(
            name,
            run=self._scenario.name,
            paths={network.mbs: network.path(name, network.mbs)},
            precision=self._scenario.backhaul.precision,
            max_bytes=self._scenario.backhaul.max_frame_bytes,
        )
        downlink = self._scenario.downlink
        self._objective = Objective(downlink.loss_scheme, self._scenario.network.users.min_rate_bps_hz)
        self._channels: dict[str, Tensor] = {}
        self._roster: tuple[str, ...] = ()
        self._next_seed = 0
        self._held = False
        self._validated = -1
        self._now_s = 0.0
        self._pending: tuple[PolicyOutputs, Tensor] | None = None

    def prepare(self, progress: Progress | None = None) -> None:
        """Make the channels of all splits, scaled by sqrt(P_max / sigma^2), then the policy and its optimiser."""
        scenario = self._scenario
        scale = 10 ** ((scenario.network.sbs.power_dbm - scenario.radio.noise_dbm) / 20)
        for split in SPLITS:
            report = None if progress is None else (lambda done, total, split=split: progress(split, done, total))
            raw = station_channels(scenario, self._context.network, self.name, split, progress=report)
            self._channels[split] = torch.from_numpy(raw * raw.dtype.type(scale))
        self.shape = self._policy_shape()
        policy_seed = seeds.integer(scenario.seed, "policy", self.name)
        self.policy = scenario.downlink.policy.build(self.shape, policy_seed).to(self._device)
        self._flops = flops_per_realisation(self.policy, self.shape)
        self._optimiser = torch.optim.Adam(self.policy.parameters(), lr=scenario.downlink.learning_rate)
        self._schedule = None
        if scenario.downlink.schedule == "one_cycle":
            self._schedule = torch.optim.lr_scheduler.OneCycleLR(
                self._optimiser, max_lr=scenario.downlink.learning_rate, total_steps=scenario.steps
            )

    def join(self) -> bytes:
        """Announce the station; with cached channels, upload all training realisations, once."""
        parameters = sum(parameter.numel() for parameter in self.policy.parameters())
        message = Join(parameters=parameters, flops_per_realisation=self._flops)
        bundle = Bundle()
        bundle.add(self._port.send(message, self._mbs, phase="setup", step=0, now_s=self._now_s))
        if self._scenario.backhaul.cache_channels:
            train = self._channels["train"]
            for first, part in self._parts(train):
                report = ChannelReport(channel=part.numpy(), first=first)
                bundle.add(self._port.send(report, self._mbs, phase="training", step=0, now_s=self._now_s))
        return bundle.pack()

    def next_round(self, until: int) -> Round | None:
        """Validate at step 0, every `validate_every_steps` and at the end; train otherwise."""
        if self._held:
            self._held = False
            return None
        due = self.step % self._scenario.downlink.validate_every_steps == 0 or self.step == self._scenario.steps
        if due and self._validated != self.step:
            return Round("validation", self.step)
        return Round("training", self.step + 1) if self.step < until else None

    def upload(self, exchange: Round) -> bytes:
        """Forward pass on the batch that the last seed names; channels (unless cached) and outputs go to the MBS."""
        if exchange.phase != "training":
            self._validated = self.step
            return self.measure(exchange.phase)
        batch = self._scenario.downlink.batch
        train = self._channels["train"]
        index = draw_batch(
            self._next_seed, len(train), self.shape.users, batch, resample_users=self._scenario.channel.resample_users
        )
        channel = take_batch(train, index)
        self.policy.train()
        outputs = self.policy(channel.to(self._device))
        self._pending = (outputs, channel)
        self._now_s += batch * self._flops / self._scenario.network.sbs.mec_flop_per_s
        bundle = Bundle()
        if not self._scenario.backhaul.cache_channels:
            bundle.add(self._send(ChannelReport(channel=channel.numpy()), exchange))
        bundle.add(self._send(_message(outputs), exchange))
        return bundle.pack()

    def absorb(self, bundle: bytes) -> None:
        """Learn from the MBS's answer: one optimiser step, and the seed of the next batch."""
        for frame, arrival_s in Bundle.unpack(bundle):
            _, message = self._port.receive(frame)
            self._now_s = max(self._now_s, arrival_s)
            if isinstance(message, Admit):
                self._roster, self._next_seed = message.roster, message.next_seed
            elif isinstance(message, LossFeedback):
                self._learn(message)
            else:
                raise RunFailedError(f"{self.name}: no use for a {message.KIND} from {self._mbs}")

    def measure(self, phase: Phase) -> bytes:
        """Report channels and hard decisions of the validation or test split, at full precision.

        Measuring is not part of the algorithm: its frames take no simulated time and are counted apart (by phase).
        """
        channels = self._channels["validation" if phase == "validation" else "test"]
        bundle = Bundle()
        exchange = Round(phase, self.step)
        for first, part in self._parts(channels):
            if phase == "test" or self.step == 0:
                bundle.add(self._send(ChannelReport(channel=part.numpy(), first=first), exchange, precision="float32"))
            bundle.add(self._send(_message(self.decide(part)), exchange, precision="float32"))
        return bundle.pack()

    def decide(self, channel_SNTIR: Tensor) -> PolicyOutputs:
        """Execute the policy (19) on the station's own channels: hard allocation and beams, no backhaul at all."""
        self.policy.eval()
        with torch.no_grad():
            outputs: PolicyOutputs = self.policy(channel_SNTIR.to(self._device))
        return outputs

    def state(self) -> dict[str, Any]:
        """Model, optimiser, schedule, place in the run, port."""
        return {
            "step": self.step,
            "validated": self._validated,
            "next_seed": self._next_seed,
            "now_s": self._now_s,
            "roster": list(self._roster),
            "policy": self.policy.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict() if self._schedule else None,
            "port": self._port.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """See `state`."""
        self.step, self._validated = int(state["step"]), int(state["validated"])
        self._next_seed, self._now_s = int(state["next_seed"]), float(state["now_s"])
        self._roster = tuple(state["roster"])
        self.policy.load_state_dict(state["policy"])
        self._optimiser.load_state_dict(state["optimiser"])
        if self._schedule:
            self._schedule.load_state_dict(state["schedule"])
        self._port.restore(state["port"])
        self._pending, self._held = None, False

    def drain_ledger(self) -> bytes:
        """The station's book since the last call."""
        return self._port.ledger.drain_bytes()

    def _send(
        self, message: ChannelReport | PolicyOutput, exchange: Round, precision: Precision | None = None
    ) -> bytes:
        return self._port.send(
            message, self._mbs, phase=exchange.phase, step=exchange.step, now_s=self._now_s, precision=precision
        )

    def _parts(self, channels: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Realisations in parts that fit a frame, each with the index of its first."""
        room = self._scenario.backhaul.max_frame_bytes - FRAME_OVERHEAD_BYTES
        outputs = (
            self.shape.subcarriers * self.shape.users * (8 * self.shape.tx_antennas + 4) + 4 * self.shape.loss_weights
        )
        longest = max(channels[0].numel() * channels.element_size(), outputs)
        size = max(1, min(CHUNK, room // longest))
        for first in range(0, len(channels), size):
            yield first, channels[first : first + size]

    def _policy_shape(self) -> PolicyShape:
        scenario = self._scenario
        _, subcarriers, tx_antennas, users, rx_antennas = self._channels["train"].shape
        stations = scenario.network.sbs.count
        return PolicyShape(
            subcarriers=subcarriers,
            tx_antennas=tx_antennas,
            users=users,
            rx_antennas=rx_antennas,
            stations=stations,
            loss_weights=1 + users + stations if scenario.downlink.loss_scheme.uses_beta else 0,
        )

    def _learn(self, feedback: LossFeedback) -> None:
        if self._pending is None:
            raise RunFailedError(f"{self.name}: feedback for a batch that was never uploaded")
        if not math.isfinite(feedback.joint_loss):
            raise RunFailedError(
                f"{self.name}: training diverged at step {self.step + 1}: joint loss {feedback.joint_loss}"
            )
        outputs, channel = self._pending
        self._pending = None
        self._optimiser.zero_grad(set_to_none=True)
        if self._scenario.downlink.feedback == "cut_gradient":
            self._backward_from_cut(outputs, feedback)
        else:
            self._backward_from_outputs(outputs, channel, feedback)
        if self._scenario.downlink.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self._scenario.downlink.gradient_clip)
        self._optimiser.step()
        if self._schedule and self.step + 1 < self._scenario.steps:
            self._schedule.step()
        backward_flops = BACKWARD_OVER_FORWARD * self._scenario.downlink.batch * self._flops
        self._now_s += backward_flops / self._scenario.network.sbs.mec_flop_per_s
        self._next_seed, self._held = feedback.next_seed, feedback.hold
        self.step += 1

    def _backward_from_cut(self, outputs: PolicyOutputs, feedback: LossFeedback) -> None:
        pairs = [
            (outputs.beams, feedback.gradient_beams),
            (outputs.allocation, feedback.gradient_allocation),
            (outputs.beta, feedback.gradient_beta),
        ]
        used = [(tensor, self._tensor(gradient)) for tensor, gradient in pairs if tensor.requires_grad]
        torch.autograd.backward([tensor for tensor, _ in used], [gradient for _, gradient in used])

    def _backward_from_outputs(self, outputs: PolicyOutputs, channel: Tensor, feedback: LossFeedback) -> None:
        own = self._roster.index(self.name)

        def with_own(others: NDArray[Any], mine: Tensor) -> list[Tensor]:
            parts = [self._tensor(other) for other in others]
            return [*parts[:own], mine, *parts[own:]]

        loss = self._objective(
            stack_stations(with_own(feedback.other_beams, outputs.beams)),
            stack_stations(with_own(feedback.other_allocations, outputs.allocation)),
            torch.stack(with_own(feedback.other_beta, outputs.beta)).mean(0),
            stack_stations(with_own(feedback.other_channels, channel.to(self._device))),
        )
        loss.joint.backward()  # type: ignore[no-untyped-call]

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array.copy()).to(self._device)


def _message(outputs: PolicyOutputs) -> PolicyOutput:
    return PolicyOutput(*(tensor.detach().cpu().numpy() for tensor in outputs))
