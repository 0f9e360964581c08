"""The macro base station as an actor: an async barrier in front of the coordinator role.

    SBS actors ── exchange(station, phase, step, bundle) ──►  slot (phase, step)
                                                              when the whole roster is there: close it, on one thread
    SBS actors ◄── bundle ──────────────────────────────────  one future per slot

Every call that waits, waits for the slot's future; `abort` fails all of them, so nobody waits for a dead station.
`missing` names those for whom the others have been waiting too long.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from agents.station import gpu_ids, make_context, read_network
from cellfree_sim.downlink.roles import CoordinatorRole, Round
from cellfree_sim.errors import RunFailedError
from cellfree_sim.results.state import pack_state, unpack_state

ROWS_EVERY_S = 0.2  # metrics go out at most this often
ARRIVAL_TIMEOUT_S = 1.0


@dataclass
class _Slot:
    """The uploads of one round, and the answers once it is closed."""

    answers: asyncio.Future[dict[str, bytes]]
    uploads: dict[str, bytes] = field(default_factory=dict)
    opened_s: float = field(default_factory=time.monotonic)


class Mbs:
    """Actor of the macro base station; everything it computes, it computes on one thread."""

    def __init__(self, scenario_json: str, network_json: str, gpus: float) -> None:
        context = make_context(scenario_json, network_json, gpus)
        self._device = context.device
        self._name = context.network.mbs
        self._role: CoordinatorRole = context.scenario.downlink.algorithm.coordinator(context)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="coordinator")
        self._slots: dict[Round, _Slot] = {}
        self._failure: str | None = None
        self._rows: list[dict[str, Any]] = []
        self._new_rows = asyncio.Event()
        self._arrivals: dict[tuple[str, Round], asyncio.Future[None]] = {}
        self._doom: str | None = None
        self._closing = False
        self._heard_s = time.monotonic()  # when something last arrived or left

    async def ready(self) -> str:
        """Where this station runs: process id and device."""
        return f"{os.getpid()} {self._device}"

    async def gpus(self) -> list[str]:
        """Ids of the GPUs that this station has a share of."""
        return gpu_ids()

    async def exchange(self, station: str, phase: str, step: int, bundle: bytes) -> bytes:
        """Hand in a station's part of a round; returns the MBS's answer when the round is closed."""
        if self._failure is not None:
            raise RunFailedError(self._failure)
        exchange = Round(phase, step)  # type: ignore[arg-type]
        slot = self._slots.get(exchange)
        if slot is None:
            slot = self._slots[exchange] = _Slot(asyncio.get_running_loop().create_future())
        slot.uploads[station] = bundle
        self._heard_s = time.monotonic()
        if (arrival := self._arrivals.pop((station, exchange), None)) is not None:
            arrival.set_result(None)
        self._die_if("before")
        if all(name in slot.uploads for name in self._role.roster):
            await self._close(exchange, self._slots.pop(exchange))
        return (await asyncio.shield(slot.answers))[station]

    async def has_arrived(self, station: str, phase: str, step: int) -> None:
        """Return when a station's part of a round is here."""
        exchange = Round(phase, step)  # type: ignore[arg-type]
        slot = self._slots.get(exchange)
        if slot is None or station not in slot.uploads:
            arrival = self._arrivals[station, exchange] = asyncio.get_running_loop().create_future()
            await asyncio.wait([arrival], timeout=ARRIVAL_TIMEOUT_S)  # it may have come, and the round be closed

    async def begin(self) -> None:
        """Rounds follow."""
        self._heard_s = time.monotonic()

    async def missing(self, longer_than_s: float, expected: bool) -> list[str]:
        """Stations for which others have waited longer than this; all of them where an `expected` round never came."""
        now_s = time.monotonic()
        late = [slot for slot in self._slots.values() if now_s - slot.opened_s > longer_than_s]
        silent = {name for slot in late for name in self._role.roster if name not in slot.uploads}
        if not self._slots and now_s - self._heard_s > longer_than_s:
            if self._closing:
                silent.add(self._name)
            elif expected:
                silent |= set(self._role.roster)
        return sorted(silent)

    async def reconfigure(self, network_json: str) -> None:
        """See `CoordinatorRole.reconfigure`."""
        await self._compute(lambda: self._role.reconfigure(read_network(network_json)))

    async def relay(self, bundle: bytes) -> bytes:
        """See `CoordinatorRole.relay`."""
        relayed: bytes = await self._compute(lambda: self._role.relay(bundle))
        return relayed

    async def take_leave(self, bundle: bytes) -> None:
        """See `CoordinatorRole.take_leave`."""
        await self._compute(lambda: self._role.take_leave(bundle))

    async def clock(self) -> float:
        """Simulated time here, seconds."""
        return self._role.now_s

    async def fail(self, barrier: str) -> None:
        """Let this process be killed in the next round."""
        self._doom = barrier

    async def hold(self) -> None:
        """Let the stations stop at the next round boundary."""
        self._role.hold()

    async def abort(self, reason: str) -> None:
        """Fail everybody who waits, and everybody who comes."""
        self._failure = reason
        for slot in self._slots.values():
            if not slot.answers.done():
                slot.answers.set_exception(RunFailedError(reason))
                slot.answers.exception()  # nobody may be left to look at it
        self._slots.clear()

    async def rows(self, wait_s: float) -> bytes:
        """Metrics of the rounds closed since the last call; waits for the first of them, `wait_s` at most."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._new_rows.wait(), wait_s)
            await asyncio.sleep(min(ROWS_EVERY_S, wait_s))
        self._new_rows.clear()
        rows, self._rows = self._rows, []
        return pack_state(rows)

    async def measure_references(self) -> None:
        """Run the reference algorithms on the channels of the test round."""
        await self._compute(self._role.measure_references)

    async def test_rates(self) -> bytes:
        """Packed rates of the algorithm and of each reference."""
        return pack_state(self._role.test_rates())

    async def facts(self) -> bytes:
        """Packed facts for the summary."""
        return pack_state(self._role.facts())

    async def drain_ledger(self) -> bytes:
        """The MBS's book since the last call."""
        packed: bytes = await self._compute(self._role.drain_ledger)
        return packed

    async def state(self) -> bytes:
        """Packed state of the role."""
        packed: bytes = await self._compute(lambda: pack_state(self._role.state()))
        return packed

    async def load_state(self, state: bytes, network_json: str) -> None:
        """Become the MBS that `state` was taken from."""
        await self._compute(lambda: self._role.load_state(unpack_state(state), read_network(network_json)))
        self._failure = None
        self._rows.clear()

    async def _close(self, exchange: Round, slot: _Slot) -> None:
        self._die_if("during")
        self._closing = True
        try:
            answers = await self._compute(lambda: self._role.close(exchange, slot.uploads))
        except Exception as error:
            slot.answers.set_exception(error)
            slot.answers.exception()
            return
        finally:
            self._closing = False
            self._heard_s = time.monotonic()
        self._die_if("after")
        self._rows += self._role.drain_metrics()
        if self._rows:
            self._new_rows.set()
        slot.answers.set_result(answers)

    def _die_if(self, barrier: str) -> None:
        if self._doom == barrier:
            os.kill(os.getpid(), signal.SIGKILL)

    async def _compute(self, work: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
