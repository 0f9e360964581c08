"""The SBS side of DMTSSL: forward, upload, and backward from what the MBS returns (Algorithm 2, lines 13-19).

The MBS's answer holds dL/d(w^b, v^b, beta^b), so that the station can go on with its own backward pass; or the
outputs of all other stations, from which it computes the same joint loss and differentiates for itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from cellfree_sim import seeds
from cellfree_sim.backhaul.bundle import Bundle
from cellfree_sim.backhaul.link import Delivery
from cellfree_sim.backhaul.messages import (
    Admit,
    ChannelReport,
    Join,
    LossFeedback,
    Message,
    ModelTransfer,
    Phase,
    PolicyOutput,
)
from cellfree_sim.downlink.batching import draw_batch, take_batch
from cellfree_sim.downlink.descent import Descent
from cellfree_sim.downlink.flops import flops_per_realisation
from cellfree_sim.downlink.objective import Objective, stack_stations
from cellfree_sim.downlink.policy import PolicyOutputs, PolicyShape, policy_shape
from cellfree_sim.downlink.refit import refit, refit_state, station_parameters
from cellfree_sim.downlink.roles import Context, Progress, Round
from cellfree_sim.downlink.sharing import Model, parts_of
from cellfree_sim.downlink.station import Station
from cellfree_sim.downlink.trained import load_trained
from cellfree_sim.errors import RunFailedError, ScenarioError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from cellfree_sim.network import Network

BACKWARD_OVER_FORWARD = 2  # a backward pass costs two forward passes: gradients of inputs and of weights


class DmtsslStation(Station):
    """One SBS with its channels H^b, its policy pi_b, its optimiser and its backhaul port."""

    def __init__(self, context: Context, name: str) -> None:
        super().__init__(context, name)
        downlink = self._scenario.downlink
        self._objective = Objective(downlink.loss_scheme, self._scenario.network.users.min_rate_bps_hz)
        self._roster: tuple[str, ...] = ()
        self._next_seed = 0
        self._shared = 0  # the step at which the models of all were last averaged
        self._pending: tuple[PolicyOutputs, Tensor] | None = None
        self._unstarted: ScenarioError | None = None  # why the policy is not the trained one; a checkpoint may say

    def prepare(self, progress: Progress | None = None) -> None:
        """See `Station.prepare`; then the policy and its optimiser.

        Raises:
            ScenarioError: a tensor of it is too long to be shared.
        """
        super().prepare(progress)
        if self._scenario.downlink.policy.trained is None:
            self._build(self._network.stations)
        else:
            self._build(self._scenario.station_names)
            self._start()
            if self._network.stations:
                self._fit(self._network.stations)
        if self._scenario.downlink.sharing is not None and self._mbs in self._port.paths:
            self._check_frames()
        if self.name not in self._scenario.station_names and _batch_norms(self.policy):
            self._split("train")  # for the statistics of a copied model, also where nothing is learned

    def join(self) -> bytes:
        """Announce the station; with cached channels, upload all training realisations, once."""
        if not self._scenario.downlink.policy.settled:
            self._check_started()
        parameters = sum(parameter.numel() for parameter in self.policy.parameters())
        exchange = Round("setup", self.step)
        bundle = Bundle()
        bundle.add(self._send(Join(parameters=parameters, flops_per_realisation=self._flops), exchange))
        if self._scenario.backhaul.cache_channels:
            self._add_training_channels(bundle)
        return bundle.pack()

    def send_model(self, receiver: str) -> bytes:
        """Parameters and batch statistics of the policy, always at float32, in as many frames as their limit asks for.

        Raises:
            RunFailedError: one tensor alone is longer than a frame may be.
        """
        return self._model(receiver, Round("setup", self.step))

    def upload(self, exchange: Round) -> bytes:
        """Forward pass on the batch that the last seed names; channels (unless cached) and outputs go to the MBS."""
        if exchange.phase == "sharing":
            self._shared = self.step
            return self._model(self._mbs, exchange) if self._learns else Bundle().pack()
        if exchange.phase != "training":
            self._validated = self.step
            return self.measure(exchange.phase)
        batch = self._scenario.downlink.batch
        train = self._split("train")
        index = draw_batch(
            self._next_seed, len(train), self.shape.users, batch, resample_users=self._scenario.channel.resample_users
        )
        channel = take_batch(train, index)
        if self._learns:
            self.policy.train()
            outputs = self.policy(channel.to(self._device))
        else:
            outputs = self.decide(channel)
        self._pending = (outputs, channel)
        self.now_s += batch * self._flops / self._scenario.flop_per_s_left(self.name)
        bundle = Bundle()
        if not self._scenario.backhaul.cache_channels:
            bundle.add(self._send(ChannelReport(channel=channel.numpy()), exchange))
        bundle.add(self._send(_message(outputs), exchange))
        return bundle.pack()

    def absorb(self, bundle: bytes) -> None:
        """Learn from the MBS's answer: one optimiser step, and the seed of the next batch; or take over a model."""
        model: Model = {}
        sender = self._mbs
        for frame, arrival_s in Bundle.unpack(bundle):
            header, message = self._port.receive(frame)
            self.now_s = max(self.now_s, arrival_s)
            if isinstance(message, Admit):
                self._next_seed = message.next_seed
            elif isinstance(message, LossFeedback):
                self._learn(message)
            elif isinstance(message, ModelTransfer):
                self._port.annotate(header, Delivery(arrival_s, math.nan, math.nan))
                model |= message.state
                sender = header.sender
            else:
                raise RunFailedError(f"{self.name}: no use for a {message.KIND} from {header.sender}")
        if model:
            self._take_over(model, copied=sender != self._mbs)

    def unfinished(self) -> Round | None:
        """See `StationRole.unfinished`: the models are averaged every few steps, and after the last."""
        sharing = self._scenario.downlink.sharing
        if sharing is None or self._shared == self.step:
            return None
        due = self.step % sharing.every_steps == 0 or self.step == self._scenario.steps
        return Round("sharing", self.step) if due else None

    def measure(self, phase: Phase) -> bytes:
        """Report channels and hard decisions of the validation or test split, at full precision.

        Measuring is not part of the algorithm: its frames take no simulated time and are counted apart (by phase).
        """
        channels = self._split("validation" if phase == "validation" else "test")
        bundle = Bundle()
        exchange = Round(phase, self.step)
        for first, part in self._parts(channels):
            if phase == "test" or not self._reported:
                bundle.add(self._send(ChannelReport(channel=part.numpy(), first=first), exchange, precision="float32"))
            bundle.add(self._send(_message(self.decide(part)), exchange, precision="float32"))
        self._reported = self._reported or phase == "validation"
        return bundle.pack()

    def decide(self, channel_SNTIR: Tensor) -> PolicyOutputs:
        """Execute the policy (19) on the station's own channels: hard allocation and beams, no backhaul at all."""
        self.policy.eval()
        with torch.no_grad():
            outputs: PolicyOutputs = self.policy(channel_SNTIR.to(self._device))
        return outputs

    def state(self) -> dict[str, Any]:
        """Place in the run, model, optimiser, schedule, port.

        Raises:
            ScenarioError: the trained policy from which the run starts cannot be read here.
        """
        self._check_started()
        return {
            **super().state(),
            "next_seed": self._next_seed,
            "roster": list(self._roster),
            "policy": self.policy.state_dict(),
            **self._descent.state(),
        }

    def load_state(self, state: Mapping[str, Any], network: Network) -> None:
        """See `state`."""
        super().load_state(state, network)
        self._unstarted = None
        self._next_seed = int(state["next_seed"])
        self._shared = self.step
        if tuple(state["roster"]) != self._roster:
            self._build(state["roster"])
        self.policy.load_state_dict(state["policy"])
        self._descent.load_state(state)
        self._pending = None

    @property
    def _learns(self) -> bool:
        """Whether the station trains; one that was injected to execute a copied model does not."""
        return self._network.learns(self.name)

    @property
    def _loss_weights(self) -> int:
        return self.shape.loss_weights

    def _lose_upload(self) -> None:
        """The station has not noticed that it is cut off: what it sends for the next round reaches nobody."""
        channel = self._split("train")[: self._scenario.downlink.batch]
        messages: list[Message] = [_message(self.decide(channel))]
        if not self._scenario.backhaul.cache_channels:
            messages.insert(0, ChannelReport(channel=channel.numpy()))
        for message in messages:
            self._port.lose(message, self._mbs, phase="training", step=self.step + 1, now_s=self.now_s)

    def _go_on(self, step: int) -> None:
        """Where the roster has changed, the head of the loss weights follows it."""
        self._check_started()
        if self.step != step:
            self.step = self._shared = step
            self._descent.go_to(step)
        if self._network.stations:
            self._fit(self._network.stations)

    def _model(self, receiver: str, exchange: Round) -> bytes:
        """Bundle with the policy for `receiver`."""
        model = {name: tensor.detach().cpu().numpy() for name, tensor in self.policy.state_dict().items()}
        bundle = Bundle()
        for part in parts_of(model, self._room(receiver), self.name, self._scenario.backhaul.max_frame_bytes):
            bundle.add(self._send(ModelTransfer(state=part), exchange, precision="float32", receiver=receiver))
        return bundle.pack()

    def _build(self, roster: Sequence[str]) -> None:
        """Policy, optimiser and schedule for a roster, before anything is learned."""
        self._roster = tuple(roster)
        self.shape = policy_shape(self._scenario, len(self._roster))
        self.policy = self._new_policy(len(self._roster))
        self.policy.to(self._device)
        self._flops = flops_per_realisation(self.policy, self.shape)
        self._descent = Descent(self.policy, self._scenario)

    def _start(self) -> None:
        """Let the policy be the trained one that the scenario names. Its file may be gone where a checkpoint or another
        station's model follows.
        """
        try:
            load_trained(self.policy, self._network_for, self.shape, self._scenario, self.name)
        except ScenarioError as error:
            self._unstarted = error

    def _check_started(self) -> None:
        if self._unstarted:
            raise self._unstarted

    def _check_frames(self) -> None:
        """`ScenarioError` where a tensor of the policy is longer than a frame that shares it."""
        limit = self._scenario.backhaul.max_frame_bytes
        model = {name: tensor.cpu().numpy() for name, tensor in self.policy.state_dict().items()}
        try:
            list(parts_of(model, self._room(self._mbs), self.name, limit))
        except RunFailedError as error:
            raise ScenarioError(f"downlink.sharing: {error}") from None

    def _new_policy(self, stations: int) -> nn.Module:
        return self._network_for(policy_shape(self._scenario, stations))

    def _network_for(self, shape: PolicyShape) -> nn.Module:
        """A policy network as it is before anything is learned: the station's own, or that of all."""
        downlink = self._scenario.downlink
        whose = ["policy", self.name] if downlink.sharing is None else ["shared-policy"]
        policy: nn.Module = downlink.policy.build(shape, seeds.integer(self._scenario.seed, *whose))
        return policy

    def _fit(self, roster: Sequence[str]) -> None:
        """Go on with policy and optimiser in another roster: the rows of the loss weights follow the stations."""
        old, new = self._roster, tuple(roster)
        if old == new:
            return
        names = station_parameters(self._new_policy, len(old)) if self.shape.loss_weights else frozenset()
        parameters = [name for name, _ in self.policy.named_parameters()]
        policy, descent = self.policy.state_dict(), self._descent.state()
        self._build(new)
        self.policy.load_state_dict(refit_state(policy, names, old, new))
        for index, moments in descent["optimiser"]["state"].items():
            if parameters[index] in names:
                for key in ("exp_avg", "exp_avg_sq"):
                    moments[key] = refit(moments[key], old, new, fresh="zero")
        self._descent.load_state(descent)

    def _take_over(self, model: Model, *, copied: bool) -> None:
        """Go on with another policy: the average of all, or one `copied` from another station (Algorithm 3).

        Batch statistics of a copy are those of the other site's channels; they are taken anew from the channels here.
        """
        self._unstarted = None
        self.policy.load_state_dict({name: self._tensor(array) for name, array in model.items()})
        if not copied or not _batch_norms(self.policy):
            return
        passes = estimate_batch_statistics(self.policy, self._split("train"), self._scenario.downlink.batch)
        self.now_s += passes * self._flops / self._scenario.flop_per_s_left(self.name)

    def _learn(self, feedback: LossFeedback) -> None:
        if self._pending is None:
            raise RunFailedError(f"{self.name}: feedback for a batch that was never uploaded")
        if not math.isfinite(feedback.joint_loss):
            raise RunFailedError(
                f"{self.name}: training diverged at step {self.step + 1}: joint loss {feedback.joint_loss}"
            )
        outputs, channel = self._pending
        self._pending = None
        if self._learns:
            self._descend(outputs, channel, feedback)
        self._next_seed, self._held = feedback.next_seed, feedback.hold
        self.step += 1

    def _descend(self, outputs: PolicyOutputs, channel: Tensor, feedback: LossFeedback) -> None:
        """One backward pass and one step of the optimiser."""
        self._descent.begin()
        if self._scenario.downlink.feedback == "cut_gradient":
            self._backward_from_cut(outputs, feedback)
        else:
            self._backward_from_outputs(outputs, channel, feedback)
        self._descent.descend(self.step + 1)
        backward_flops = BACKWARD_OVER_FORWARD * self._scenario.downlink.batch * self._flops
        self.now_s += backward_flops / self._scenario.flop_per_s_left(self.name)

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


def estimate_batch_statistics(policy: nn.Module, channels: Tensor, batch: int) -> int:
    """Take the running statistics of all batch normalisation anew from `channels` [S, N, T, I, R], in one pass.

    Means and variances are averages over batches with equal weights, not the moving averages of training. Returns how
    many realisations were passed; a policy without batch normalisation is left alone, and 0 returned, as where no batch
    has a variance.
    """
    layers = _batch_norms(policy)
    parts = [part for part in torch.split(channels, batch) if len(part) > 1]
    if not layers or not parts:
        return 0
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    policy.train()
    with torch.no_grad():
        for part in parts:
            policy(part.to(next(policy.parameters()).device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return sum(len(part) for part in parts)


def _batch_norms(policy: nn.Module) -> list[torch.nn.modules.batchnorm._BatchNorm]:
    return [layer for layer in policy.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]


def _message(outputs: PolicyOutputs) -> PolicyOutput:
    return PolicyOutput(*(tensor.detach().cpu().numpy() for tensor in outputs))
