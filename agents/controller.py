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
from cellfree_sim.errors import RunFailedError, StationLostError
from cellfree_sim.results.state import pack_state

NAME = "controller"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
PROGRESS_WAIT_S = 0.5


class Controller:
    """Actor that holds the handles of all stations of one run; their order is the scenario's."""

    def __init__(self, scenario_json: str, strategy: str, namespace: str) -> None:
        self._scenario_json = scenario_json
        self._strategy = strategy
        self._namespace = namespace
        self._seats: dict[str, tuple[Seat, Any]] = {}
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
        failed = next((group for group in groups if isinstance(group, BaseException)), None)
        if failed is not None:
            for group in groups:
                if not isinstance(group, BaseException):
                    remove_placement_group(group)
            raise failed
        self._mbs_name = seats[0].station
        for seat, group in zip(seats, groups, strict=True):
            self._seats[seat.station] = (seat, group)
        where = await self._create([seat.station for seat in seats])
        await self._all({name: actor.join.remote() for name, actor in self._stations.items()})
        return where

    async def recover(self, stations: list[str], states: dict[str, bytes]) -> dict[str, str]:
        """Restart `stations` in their seats, and hand every station its state; returns where the restarted ones run."""
        await self._all({name: actor.ready.remote() for name, actor in self._actors().items() if name not in stations})
        where = await self._create(stations)
        if self._mbs_name in stations:
            await self._all({name: actor.connect.remote(self._mbs) for name, actor in self._stations.items()})
        await self.load_states(states)
        return where

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
        try:
            packed: bytes = await self._mbs.rows.remote(wait_s)
        except RayActorError:  # it is `advance` that reports the death; until then there is no news
            await asyncio.sleep(wait_s)
            return pack_state([])
        return packed

    async def hold(self) -> None:
        """Let all stations stop at the next round boundary."""
        await self._mbs.hold.remote()

    async def measure(self) -> None:
        """Measure the test split."""
        await self._all({name: actor.measure.remote() for name, actor in self._stations.items()})

    async def measure_references(self) -> None:
        """Run the reference algorithms at the MBS."""
        await self._all({self._mbs_name: self._mbs.measure_references.remote()})

    async def test_rates(self) -> bytes:
        """Packed rates, see `Mbs.test_rates`."""
        packed: bytes = await self._mbs.test_rates.remote()
        return packed

    async def facts(self) -> bytes:
        """Packed facts, see `Mbs.facts`."""
        packed: bytes = await self._mbs.facts.remote()
        return packed

    async def drain_ledgers(self) -> dict[str, bytes]:
        """The books of all stations that live, since the last call."""
        calls = {name: _result(actor.drain_ledger.remote()) for name, actor in self._actors().items()}
        books = await asyncio.gather(*calls.values(), return_exceptions=True)
        return {name: book for name, book in zip(calls, books, strict=True) if isinstance(book, bytes)}

    async def states(self) -> dict[str, bytes]:
        """Packed states of all stations."""
        return await self._all({name: actor.state.remote() for name, actor in self._actors().items()})

    async def load_states(self, states: Mapping[str, bytes]) -> None:
        """Hand every station its state."""
        await self._all({name: actor.load_state.remote(states[name]) for name, actor in self._actors().items()})

    async def stop(self) -> None:
        """End all stations and give their seats back."""
        for actor in (*self._stations.values(), self._mbs):
            if actor is not None:
                ray.kill(actor)
        for _, group in self._seats.values():
            remove_placement_group(group)
        self._seats, self._stations, self._mbs = {}, {}, None

    def _actors(self) -> dict[str, Any]:
        return {self._mbs_name: self._mbs, **self._stations}

    async def _create(self, names: list[str]) -> dict[str, str]:
        """Processes for the stations called `names`, side by side; returns "pid device" of each once it is prepared."""
        me = ray.get_runtime_context().current_actor
        calls = {}
        for name in sorted(names, key=lambda name: name != self._mbs_name):  # the MBS first: the others need its handle
            seat, group = self._seats[name]
            if name == self._mbs_name:
                self._mbs = _actor(Mbs, seat, group, max_concurrency=1000).remote(self._scenario_json, seat.gpus)
                calls[name] = self._mbs.ready.remote()
            else:
                arguments = (self._scenario_json, name, seat.gpus, self._mbs, me)
                self._stations[name] = _actor(Sbs, seat, group).remote(*arguments)
                calls[name] = self._stations[name].prepare.remote()
        return {name: str(place) for name, place in (await self._all(calls)).items()}

    async def _all(self, calls: Mapping[str, Awaitable[Any]]) -> dict[str, Any]:
        """Results of one call to each station.

        The first failure fails the barrier, so that nobody waits for the dead, and then this call: with
        StationLostError where processes died, with the station's own error otherwise.
        """
        if not calls:
            return {}
        tasks = {name: asyncio.ensure_future(_result(call)) for name, call in calls.items()}
        await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
        errors = {name: task.exception() for name, task in tasks.items() if task.done() and task.exception()}
        if not errors:
            return {name: task.result() for name, task in tasks.items()}
        first = next(iter(errors))
        if self._mbs is not None and not self._dead(errors) & {self._mbs_name}:
            reason = f"{first} {'died' if self._dead(errors) else 'failed'}"
            await asyncio.wait({asyncio.ensure_future(_result(self._mbs.abort.remote(reason)))})
        await asyncio.wait(tasks.values())
        errors |= {name: task.exception() for name, task in tasks.items() if task.exception()}
        dead = self._dead(errors)
        if dead:
            raise StationLostError(tuple(sorted(dead)), f"died: {_account(errors[first])}")
        cause = getattr(errors[first], "cause", errors[first])
        raise cause if isinstance(cause, BaseException) else RunFailedError(str(cause))

    def _dead(self, errors: Mapping[str, BaseException | None]) -> set[str]:
        """Stations whose process is gone: those that did not answer, and the MBS where an SBS had no answer from it."""
        dead = set()
        for name, error in errors.items():
            if isinstance(error, RayTaskError):  # the station lives; Ray gives its error the type of the cause as well
                if isinstance(error.cause, RayActorError):
                    dead.add(self._mbs_name)
            elif isinstance(error, RayActorError):
                dead.add(name)
        return dead


def _actor(kind: type, seat: Seat, group: Any, **options: Any) -> Any:
    """A class of actors in a station's seat. They have no names: who wants one, asks the controller."""
    strategy = PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=0)
    return ray.remote(kind).options(num_cpus=seat.cpus, num_gpus=seat.gpus, scheduling_strategy=strategy, **options)


def _account(error: BaseException | None) -> str:
    """One line of what Ray says of a death: of an error in a constructor the last, which names it, else the first."""
    if isinstance(error, RayTaskError):
        error = error.cause
    lines = [_COLOURS.sub("", line).strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    return lines[-1] if "creation task" in lines[0] else lines[0]


async def _result(call: Awaitable[Any]) -> Any:
    return await call
