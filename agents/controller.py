"""The control plane of a run: a light named actor that spawns, supervises and stops the stations.

    driver ──► start ──► reserve seats ─► create MBS and SBSs at once ─► prepare and join, side by side
           ──► advance(until) ─► every SBS.advance(until)       the rounds themselves never pass through here
           ──► progress, rows ◄── channel progress from the SBSs, metrics from the MBS
           ──► hold ─► MBS ─► every SBS stops at the same round boundary

It computes nothing and never imports torch, so it answers while the stations work. When a station dies, it tells the
MBS, which fails everybody who waits at the barrier for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.placement_group import remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from agents.mbs import Mbs
from agents.placement import Seat, reserve
from agents.sbs import Sbs
from cellfree_sim.errors import RunFailedError

NAME = "controller"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
PROGRESS_WAIT_S = 0.5


class Controller:
    """Actor that holds the handles of all stations of one run; their order is the scenario's."""

    def __init__(self, scenario_json: str, strategy: str, namespace: str) -> None:
        self._scenario_json = scenario_json
        self._strategy = strategy
        self._namespace = namespace
        self._groups: list[Any] = []
        self._mbs: Any = None
        self._mbs_name = ""
        self._stations: dict[str, Any] = {}
        self._progress: dict[str, tuple[int, int]] = {}
        self._changed = asyncio.Event()

    async def start(self, seats: list[Seat]) -> dict[str, str]:
        """Bring up one MBS (the first seat) and its SBSs; returns "pid device" of each once all have joined."""
        loop = asyncio.get_running_loop()
        groups = await asyncio.gather(
            *(loop.run_in_executor(None, reserve, seat, self._strategy, self._namespace) for seat in seats),
            return_exceptions=True,
        )
        self._groups = [group for group in groups if not isinstance(group, BaseException)]
        for group in groups:
            if isinstance(group, BaseException):
                raise group
        me = ray.get_runtime_context().current_actor
        mbs_seat, *sbs_seats = seats
        self._mbs_name = mbs_seat.station
        self._mbs = self._actor(Mbs, mbs_seat, groups[0], max_concurrency=1000).remote(
            self._scenario_json, mbs_seat.gpus
        )
        for seat, group in zip(sbs_seats, groups[1:], strict=True):
            self._stations[seat.station] = self._actor(Sbs, seat, group).remote(
                self._scenario_json, seat.station, seat.gpus, self._mbs, me
            )
        calls = {name: actor.prepare.remote() for name, actor in self._stations.items()}
        where = await self._all({self._mbs_name: self._mbs.ready.remote(), **calls})
        return {name: str(place) for name, place in where.items()}

    async def channels(self, station: str, done: int, total: int) -> None:
        """An SBS has made `done` of its `total` channel realisations."""
        self._progress[station] = (done, total)
        self._changed.set()

    async def progress(self) -> dict[str, tuple[int, int]]:
        """Channel progress of the SBSs since the last call; waits a moment for it."""
        try:
            await asyncio.wait_for(self._changed.wait(), PROGRESS_WAIT_S)
        except TimeoutError:
            return {}
        self._changed.clear()
        told, self._progress = self._progress, {}
        return told

    async def advance(self, until: int) -> int:
        """Train until step `until`, or until held; returns the step that all stations reached."""
        steps = await self._all({name: actor.advance.remote(until) for name, actor in self._stations.items()})
        return min(int(step) for step in steps.values())

    async def rows(self, wait_s: float) -> bytes:
        """Metrics of the rounds closed since the last call, from the MBS; waits `wait_s` at most for the first."""
        packed: bytes = await self._mbs.rows.remote(wait_s)
        return packed

    async def hold(self) -> None:
        """Let all stations stop at the next round boundary."""
        await self._mbs.hold.remote()

    async def measure(self) -> None:
        """Measure the test split."""
        await self._all({name: actor.measure.remote() for name, actor in self._stations.items()})

    async def measure_references(self) -> None:
        """Run the reference algorithms at the MBS."""
        await self._mbs.measure_references.remote()

    async def test_rates(self) -> bytes:
        """Packed rates, see `Mbs.test_rates`."""
        packed: bytes = await self._mbs.test_rates.remote()
        return packed

    async def facts(self) -> bytes:
        """Packed facts, see `Mbs.facts`."""
        packed: bytes = await self._mbs.facts.remote()
        return packed

    async def drain_ledgers(self) -> dict[str, bytes]:
        """The books of all stations since the last call."""
        return await self._ask_everybody("drain_ledger")

    async def states(self) -> dict[str, bytes]:
        """Packed states of all stations."""
        return await self._ask_everybody("state")

    async def load_states(self, states: Mapping[str, bytes]) -> None:
        """Hand every station its state."""
        actors = {self._mbs_name: self._mbs, **self._stations}
        await self._all({name: actor.load_state.remote(states[name]) for name, actor in actors.items()})

    async def stop(self) -> None:
        """End all stations and give their seats back."""
        for actor in (*self._stations.values(), self._mbs):
            if actor is not None:
                ray.kill(actor)
        for group in self._groups:
            remove_placement_group(group)
        self._groups, self._stations, self._mbs = [], {}, None

    async def _ask_everybody(self, method: str) -> dict[str, bytes]:
        actors = {self._mbs_name: self._mbs, **self._stations}
        return await self._all({name: getattr(actor, method).remote() for name, actor in actors.items()})

    async def _all(self, calls: Mapping[str, Awaitable[Any]]) -> dict[str, Any]:
        """Results of one call to each station. The first failure fails the barrier, and then this call."""
        tasks = {name: asyncio.ensure_future(_result(call)) for name, call in calls.items()}
        done, _ = await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
        failed = next(((name, task) for name, task in tasks.items() if task in done and task.exception()), None)
        if failed is None:
            return {name: task.result() for name, task in tasks.items()}
        name, task = failed
        error = task.exception()
        reason = f"{name} died" if isinstance(error, RayActorError) else f"{name} failed"
        if self._mbs is not None and name != self._mbs_name:
            await asyncio.wait({asyncio.ensure_future(_result(self._mbs.abort.remote(reason)))})
        await asyncio.wait(tasks.values())
        for other in tasks.values():
            other.exception()  # those who waited for the dead one; looked at, so that nobody reports them
        if isinstance(error, RayTaskError):
            raise error.cause
        raise RunFailedError(f"{reason}: {_account(error)}") from error

    def _actor(self, kind: type, seat: Seat, group: Any, **options: Any) -> Any:
        strategy = PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=0)
        return ray.remote(kind).options(
            name=seat.station,
            namespace=self._namespace,
            num_cpus=seat.cpus,
            num_gpus=seat.gpus,
            scheduling_strategy=strategy,
            **options,
        )


def _account(error: BaseException | None) -> str:
    """One line of what Ray says of a death: of an error in a constructor the last, which names it, else the first."""
    lines = [_COLOURS.sub("", line).strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    return lines[-1] if "creation task" in lines[0] else lines[0]


async def _result(call: Awaitable[Any]) -> Any:
    return await call
