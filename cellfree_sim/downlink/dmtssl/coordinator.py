"""The MBS side of DMTSSL: stack the uploads, joint loss, feedback (Algorithm 2, lines 5-12)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cellfree_sim.backhaul.bundle import Bundle
from cellfree_sim.backhaul.messages import ChannelReport, LossFeedback, Message, ModelTransfer, PolicyOutput
from cellfree_sim.downlink.batching import draw_batch, take_batch
from cellfree_sim.downlink.coordination import Coordinator, Uploads
from cellfree_sim.downlink.losses import divergence
from cellfree_sim.downlink.objective import stack_stations
from cellfree_sim.downlink.roles import Context, Round
from cellfree_sim.downlink.sharing import average, parts_of, room_on
from cellfree_sim.errors import RunFailedError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from cellfree_sim.network import Network

_NO_COMPLEX = np.zeros(0, np.complex64)
_NO_FLOAT = np.zeros(0, np.float32)
_NO_TIME = {"compute_s": 0.0, "queue_s": 0.0, "transfer_s": 0.0}


class DmtsslCoordinator(Coordinator):
    """Joint loss of what the stations uploaded, and the feedback with which they learn."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._seed_of_round = self._batch_seed(1)
        self._spent_s = dict(_NO_TIME)  # since the last row

    def facts(self) -> dict[str, Any]:
        """See `CoordinatorRole.facts`; the stations execute their policies alone."""
        return {
            **super().facts(),
            "parameters": {station: join.parameters for station, join in self._joined.items()},
            "flops_per_realisation": {station: join.flops_per_realisation for station, join in self._joined.items()},
            "execution_bytes_per_realisation": 0.0,
        }

    def state(self) -> dict[str, Any]:
        """See `Coordinator.state`; and the next batch, and the time that is in no row yet."""
        return {**super().state(), "seed_of_round": self._seed_of_round, "spent_s": dict(self._spent_s)}

    def load_state(self, state: Mapping[str, Any], network: Network) -> None:
        """See `state`."""
        super().load_state(state, network)
        self._seed_of_round = int(state["seed_of_round"])
        self._spent_s = dict(state["spent_s"])

    def _close_setup(self, exchange: Round, received: Uploads) -> dict[str, bytes]:
        self._arrive(received.headers)
        return self._admit(exchange, received, self._seed_of_round)

    def _close_measurement(self, exchange: Round, received: Uploads) -> dict[str, bytes]:
        """Rates of the stations' own hard decisions."""
        for station in self.roster:
            reports = [m.channel for m in received.messages[station] if isinstance(m, ChannelReport)]
            if reports:
                self._held_out[exchange.phase][station] = np.concatenate(reports)
        outputs = [[m for m in received.messages[s] if isinstance(m, PolicyOutput)] for s in self.roster]
        beams = np.stack([np.concatenate([m.beams for m in parts]) for parts in outputs], axis=1)
        allocation = np.stack([np.concatenate([m.allocation for m in parts]) for parts in outputs], axis=1)
        self._measure(exchange, torch.from_numpy(beams).to(self._device), torch.from_numpy(allocation).to(self._device))
        return dict.fromkeys(self.roster, b"")

    def _close_training(self, exchange: Round, received: Uploads) -> dict[str, bytes]:
        critical, sent_s, alone_s = self._arrive(received.headers)
        channels, outputs = self._batch(received.messages)
        cut = self._scenario.downlink.feedback == "cut_gradient"
        learning = [cut and self._network.learns(station) for station in self.roster]
        leaves = [
            tuple(self._leaf(array, learns) for array in (o.beams, o.allocation, o.beta))
            for o, learns in zip(outputs, learning, strict=True)
        ]
        channel = stack_stations([torch.from_numpy(array.copy()).to(self._device) for array in channels])
        loss = self._objective(
            stack_stations([leaf[0] for leaf in leaves]),
            stack_stations([leaf[1] for leaf in leaves]),
            torch.stack([leaf[2] for leaf in leaves]).mean(0),
            channel,
        )
        joint = float(loss.joint.detach())
        if not math.isfinite(joint):
            what = divergence(loss.tasks, loss.rates.shape[1]) or f"the joint loss is {joint}"
            raise RunFailedError(f"training diverged at step {exchange.step}: {what}")
        if any(learning):
            loss.joint.backward()  # type: ignore[no-untyped-call]
        self._objective = self._objective.after(loss)
        compute_s = self._loss_flops(channel, backward=cut) / self._scenario.flop_per_s_left(self._network.mbs)
        self._computed(compute_s, received.headers)
        self._spend(critical, sent_s, alone_s, compute_s)
        self._row(exchange, loss, **self._spent_s)
        self._spent_s = dict(_NO_TIME)
        self._seed_of_round = self._batch_seed(exchange.step + 1)
        hold = self._hold_now()
        answers: dict[str, list[Message]] = {}
        for index, station in enumerate(self.roster):
            gradients = (
                [_numpy_gradient(leaf) for leaf in leaves[index]]
                if learning[index]
                else [_NO_COMPLEX, _NO_FLOAT, _NO_FLOAT]
            )
            feedback = LossFeedback(
                joint,
                self._seed_of_round,
                hold,
                loss.tasks.cpu().numpy(),
                *gradients,
                *self._others(index, channels, outputs, relay=not cut and self._network.learns(station)),
            )
            answers[station] = [feedback]
        return self._answer(answers, exchange)

    def _close_sharing(self, exchange: Round, received: Uploads) -> dict[str, bytes]:
        """The mean of what the stations that learn have learned goes to all; at full precision, as all models do."""
        messages = {name: [m for m in sent if isinstance(m, ModelTransfer)] for name, sent in received.messages.items()}
        models = [{k: v for part in parts for k, v in part.state.items()} for parts in messages.values() if parts]
        if not models:
            return dict.fromkeys(self.roster, Bundle().pack())
        critical, sent_s, alone_s = self._arrive({name: sent for name, sent in received.headers.items() if sent})
        mean = average(models)
        additions = len(models) * sum(array.size for array in mean.values())
        compute_s = additions / self._scenario.flop_per_s_left(self._network.mbs)
        self._computed(compute_s, received.headers)
        self._spend(critical, sent_s, alone_s, compute_s)
        limit = self._scenario.backhaul.max_frame_bytes
        answers = {
            station: [
                ModelTransfer(state=part)
                for part in parts_of(mean, room_on(self._port.paths[station], limit), "the mean", limit)
            ]
            for station in self.roster
        }
        return self._answer(answers, exchange, precision="float32")

    def _spend(self, critical: str, sent_s: float, alone_s: float, compute_s: float) -> None:
        """Let the time pass in which the MBS computes, and enter what that and the wait for `critical` (see `_arrive`)
        took. The time of averaging belongs to the row of the step after.
        """
        answered, arrived_s = self._answered[critical], self.now_s
        self._spent_s["compute_s"] += sent_s - answered.arrival_s + compute_s
        self._spent_s["queue_s"] += answered.queue_s + arrived_s - sent_s - alone_s
        self._spent_s["transfer_s"] += answered.transfer_s + alone_s
        self.now_s += compute_s

    def _batch(self, received: Mapping[str, list[Message]]) -> tuple[list[NDArray[np.complex64]], list[PolicyOutput]]:
        """Channels and outputs of the round, in roster order; channels from the cache where they were uploaded once."""
        downlink = self._scenario.downlink
        outputs = [next(m for m in received[s] if isinstance(m, PolicyOutput)) for s in self.roster]
        if not self._scenario.backhaul.cache_channels:
            return [next(m for m in received[s] if isinstance(m, ChannelReport)).channel for s in self.roster], outputs
        stored = [torch.from_numpy(self._cached[station]) for station in self.roster]
        index = draw_batch(
            self._seed_of_round,
            len(stored[0]),
            stored[0].shape[3],
            downlink.batch,
            resample_users=self._scenario.channel.resample_users,
        )
        return [take_batch(channels, index).numpy() for channels in stored], outputs

    def _others(
        self, own: int, channels: list[NDArray[np.complex64]], outputs: list[PolicyOutput], *, relay: bool
    ) -> list[NDArray[Any]]:
        """What all stations but `own` uploaded, stacked in roster order; empty where gradients are returned instead."""
        if not relay or len(outputs) == 1:
            return [_NO_COMPLEX, _NO_COMPLEX, _NO_FLOAT, _NO_FLOAT]
        others = [index for index in range(len(outputs)) if index != own]
        return [
            np.stack([channels[i] for i in others]),
            np.stack([outputs[i].beams for i in others]),
            np.stack([outputs[i].allocation for i in others]),
            np.stack([outputs[i].beta for i in others]),
        ]

    def _leaf(self, array: NDArray[Any], requires_grad: bool) -> Tensor:
        return torch.from_numpy(array.copy()).to(self._device).requires_grad_(requires_grad)


def _numpy_gradient(leaf: Tensor) -> NDArray[Any]:
    gradient = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
    return np.asarray(gradient.cpu().numpy())
