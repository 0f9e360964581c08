"""A small base station as an actor: it drives its role, and moves bundles between the role and the MBS."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from ray.actor import ActorHandle

from agents.mbs import Mbs
from agents.station import gpu_ids, make_context, read_network
from cellfree_sim.downlink.roles import Round, StationRole
from cellfree_sim.progress import progress_over_splits
from cellfree_sim.results.state import pack_state, unpack_state

PROGRESS_EVERY_S = 0.5


class Sbs:
    """Actor of one SBS. Its methods run one at a time; a round waits in `exchange` at the MBS."""

    def __init__(
        self, scenario_json: str, network_json: str, name: str, gpus: float, mbs: Any, controller: Any
    ) -> None:
        context = make_context(scenario_json, network_json, gpus)
        self._device = context.device
        self._scenario = context.scenario
        self._role: StationRole = context.scenario.downlink.algorithm.station(context, name)
        self._name = name
        self._mbs = mbs
        self._controller = controller
        self._doom: str | None = None

    def prepare(self) -> str:
        """Make channels and policy; returns where this station runs: process id and device."""
        self._role.prepare(progress_over_splits(self._scenario, self._report()))
        return self.ready()

    def join(self) -> None:
        """Announce the station to the MBS, and wait until all are admitted."""
        self._exchange(Round("setup", self._role.step), self._role.join())

    def ready(self) -> str:
        """Where this station runs: process id and device."""
        return f"{os.getpid()} {self._device}"

    def gpus(self) -> list[str]:
        """Ids of the GPUs that this station has a share of."""
        return gpu_ids()

    def connect(self, mbs: ActorHandle[Mbs]) -> None:
        """The MBS was restarted, and has a new process."""
        self._mbs = mbs

    def advance(self, until: int) -> int:
        """Train until step `until` is done, or until the MBS says hold; returns the step reached."""
        while (exchange := self._role.next_round(until)) is not None:
            self._exchange(exchange, self._role.upload(exchange))
        return self._role.step

    def validate(self) -> None:
        """Report the validation split, out of turn."""
        exchange = Round("validation", self._role.step)
        self._exchange(exchange, self._role.upload(exchange))

    def measure(self) -> None:
        """Report the test split."""
        self._exchange(Round("test", self._role.step), self._role.measure("test"))

    def reconfigure(self, network_json: str, step: int, now_s: float) -> None:
        """See `StationRole.reconfigure`."""
        self._role.reconfigure(read_network(network_json), step, now_s)

    def send_model(self, receiver: str) -> bytes:
        """See `StationRole.send_model`."""
        return self._role.send_model(receiver)

    def absorb(self, bundle: bytes) -> None:
        """Take in what arrived outside of a round."""
        self._role.absorb(bundle)

    def leave(self, reason: str) -> bytes:
        """See `StationRole.leave`."""
        return self._role.leave(reason)

    def clock(self) -> float:
        """Simulated time here, seconds."""
        return self._role.now_s

    def fail(self, barrier: str) -> None:
        """Let this process be killed in the next round."""
        self._doom = barrier

    def drain_ledger(self) -> bytes:
        """The station's book since the last call."""
        return self._role.drain_ledger()

    def state(self) -> bytes:
        """Packed state of the role."""
        return pack_state(self._role.state())

    def load_state(self, state: bytes, network_json: str) -> None:
        """Become the station that `state` was taken from."""
        self._role.load_state(unpack_state(state), read_network(network_json))

    def _exchange(self, exchange: Round, bundle: bytes) -> None:
        import ray

        self._die_if("before")
        answer = self._mbs.exchange.remote(self._name, exchange.phase, exchange.step, bundle)
        if self._doom == "during":
            ray.get(self._mbs.has_arrived.remote(self._name, exchange.phase, exchange.step))
            self._die_if("during")
        bundle = ray.get(answer)
        self._die_if("after")
        self._role.absorb(bundle)

    def _die_if(self, barrier: str) -> None:
        if self._doom == barrier:
            os.kill(os.getpid(), signal.SIGKILL)

    def _report(self) -> Callable[[int, int], None]:
        told_at = 0.0

        def report(done: int, total: int) -> None:
            nonlocal told_at
            now = time.monotonic()
            if done == total or now - told_at >= PROGRESS_EVERY_S:
                told_at = now
                self._controller.channels.remote(self._name, done, total)

        return report
