"""The control plane of a run: a light named actor that spawns, supervises and stops the stations.

    driver ──► start ──► reserve seats ─► create MBS and SBSs at once ─► prepare and join, side by side
           ──► advance(until) ─► every SBS.advance(until)       the rounds themselves never pass through here
           ──► progress, rows ◄── channel progress from the SBSs, metrics from the MBS
           ──► hold ─► MBS ─► every SBS stops at the same round boundary
           ──► prepare ─► one more SBS, while the others train ─► reconfigure, transfer: it takes part
    another process ──► command ─► the driver takes it from `requests`, and answers

It computes nothing and never imports torch, so it answers while the stations work. When a station dies, it tells the
MBS, which fails everybody who waits at the barrier for it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayTaskError
from ray.util.placement_group import remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from agents.exporter import Exporter
from agents.mbs import Mbs
from agents.placement import Seat, reserve
from agents.sbs import Sbs
from agents.station import read_network
from cellfree_sim.backhaul.bundle import payload_and_frame_bytes
from cellfree_sim.errors import NotRestartedError, ResourceShortError, RunFailedError, StationLostError
from cellfree_sim.results.state import pack_state

NAME = "controller"
_GONE = (RayActorError, OutOfMemoryError)  # a process that Ray ends because memory runs out is not "dead" to it
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ENDS = {  # what Ray's account of a death holds, and what that means
    "node has died": "its node was lost",
    "died unexpectedly": "its process ended unexpectedly",
}
PROGRESS_WAIT_S = 0.5
ROWS_LATE_S = 5.0
ABORT_TIMEOUT_S = 10.0
LAST_WORDS_S = 0.2  # for the answers of `stop` to leave before this process is ended


class _LateError(StationLostError):
    """Stations did not answer in time, and were ended."""


class Controller:
    """Actor that holds the handles of all stations of one run; their order is the scenario's."""

    def __init__(
        self, scenario_json: str, network_json: str, namespace: str, patience_s: float, exported_as: str | None
    ) -> None:
        self._scenario_json = scenario_json
        self._network_json = network_json
        self._network = read_network(network_json)
        self._namespace = namespace
        self._patience_s = patience_s  # for an answer of a station
        self._advancing = False
        self._seats: dict[str, tuple[Seat, Any]] = {}
        self._mbs: Any = None
        self._mbs_name = self._network.mbs
        self._stations: dict[str, Any] = {}
        self._joining: dict[str, Any] = {}
        self._wanted: dict[str, object] = {}  # stations whose preparation nobody has called off
        self._progress: dict[str, tuple[int, int]] = {}
        self._changed = asyncio.Event()
        self._numbers = itertools.count(time.time_ns())  # none that the controller before this one has given
        self._asked: list[tuple[int, dict[str, Any]]] = []
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._refusal = ""
        self._told: dict[str, Any] = {}
        self._tellings = asyncio.Event()
        self._followers = 0
        self._exporter = None if exported_as is None else Exporter(exported_as)

    async def start(self, seats: list[Seat], *, admit: bool) -> dict[str, str]:
        """Bring up one MBS (the first seat) and its SBSs; returns "pid device" of each once all are there.

        With `admit` they join the MBS; without, they wait for a state to go on from.
        """
        await self._reserve(seats)
        where = await self._create([seat.station for seat in seats])
        if admit:
            await self._all({name: actor.join.remote() for name, actor in self._roster().items()})
        return where

    async def recover(
        self, stations: list[str], seats: list[Seat], states: dict[str, bytes], network_json: str, within_s: float
    ) -> dict[str, str]:
        """Restart `stations` in their seats, or in the new `seats`, and hand every station its state in the network.

        Returns where the restarted ones run. ResourceShortError where there is no room in some of the new seats: none
        is taken then, and other ones may be tried. NotRestartedError where some do not come up within `within_s`.
        """
        self._adopt(network_json)
        for name in [name for name in (*self._stations, *self._joining) if name not in states]:
            await self.release(name)
        alive = {name: actor for name, actor in self._actors().items() if name not in stations and actor is not None}
        await self._ask({name: actor.ready.remote() for name, actor in alive.items()})
        for seat in seats:
            self._give_back(seat.station)
        await self._reserve(seats)
        where = await self._create([name for name in stations if name in states], within_s)
        if self._mbs_name in stations:
            await self._ask({name: actor.connect.remote(self._mbs) for name, actor in self._stations.items()})
        await self.load_states(states)
        return where

    async def prepare(self, seat: Seat, network_json: str) -> str:
        """Bring up the station of `seat`, which is joining that network; returns "pid device" once it is prepared."""
        name, wanted = seat.station, object()
        self._wanted[name] = wanted
        group = await asyncio.get_running_loop().run_in_executor(None, reserve, seat, self._namespace)
        if self._wanted.get(name) is not wanted:
            remove_placement_group(group)
            raise RunFailedError(f"{name} is not wanted any more")
        self._seats[name] = (seat, group)
        actor = self._joining[name] = self._spawn(name, network_json)
        return str((await self._all({name: actor.prepare.remote()}, alone=True))[name])

    async def transfer(self, donor: str, receiver: str) -> tuple[int, int]:
        """See `Engine.transfer`."""
        bundle = (await self._ask({donor: self._stations[donor].send_model.remote(receiver)}))[donor]
        arrived = (await self._ask({self._mbs_name: self._mbs.relay.remote(bundle)}))[self._mbs_name]
        await self._ask({receiver: self._stations[receiver].absorb.remote(arrived)})
        return payload_and_frame_bytes(bundle)

    async def reconfigure(self, network_json: str, step: int) -> None:
        """See `Engine.reconfigure`."""
        roster = self._network.stations
        self._adopt(network_json)
        for name in [name for name in self._joining if name in self._network.sites]:
            self._stations[name] = self._joining.pop(name)
        await self._ask({self._mbs_name: self._mbs.reconfigure.remote(network_json)})
        now_s = (await self._ask({self._mbs_name: self._mbs.clock.remote()}))[self._mbs_name]
        staying = {n: a for n, a in self._stations.items() if n in self._network.sites and self._is_there(n)}
        await self._ask({n: actor.reconfigure.remote(network_json, step, now_s) for n, actor in staying.items()})
        if self._network.stations != roster:
            await self._all({name: actor.join.remote() for name, actor in self._roster().items()})

    async def clock(self, station: str) -> float:
        """Simulated time at a station, seconds."""
        return float((await self._ask({station: self._actors()[station].clock.remote()}))[station])

    async def farewell(self, station: str) -> None:
        """See `Engine.farewell`."""
        bundle = (await self._ask({station: self._stations[station].leave.remote("removed")}))[station]
        await self._ask({self._mbs_name: self._mbs.take_leave.remote(bundle)})

    async def release(self, station: str) -> None:
        """End a station's process, and give its seat back."""
        self._wanted.pop(station, None)
        for actor in (self._stations.pop(station, None), self._joining.pop(station, None)):
            if actor is not None:
                ray.kill(actor)
        if station == self._mbs_name and self._mbs is not None:
            ray.kill(self._mbs)
            self._mbs = None
        self._give_back(station)

    async def homes(self) -> dict[str, Any]:
        """Placement group of each station, and the ids of its GPUs: where what belongs to a station can live, too."""
        there = {name: actor for name, actor in self._actors().items() if actor is not None}
        with_gpus = {name: actor.gpus.remote() for name, actor in there.items() if self._seats[name][0].gpus > 0}
        ids = await self._ask(with_gpus)
        return {name: (self._seats[name][1], ids.get(name, [])) for name in there}

    async def fail(self, station: str, barrier: str) -> None:
        """See `Engine.fail`."""
        await self._ask({station: self._actors()[station].fail.remote(barrier)})

    async def end_silent(self) -> list[str]:
        """End the processes of stations for which a round has waited for too long; returns their names."""
        if self._mbs is None:
            return []
        call = _result(self._mbs.missing.remote(self._patience_s, self._advancing))
        try:
            silent: list[str] = await asyncio.wait_for(call, self._patience_s)
        except _GONE:  # who waits for it will say so
            return []
        except TimeoutError:
            silent = [self._mbs_name]
        for name in silent:
            ray.kill(self._actors()[name])
        return silent

    async def pid(self) -> int:
        """Process id of this actor."""
        return os.getpid()

    async def command(self, request: dict[str, Any]) -> dict[str, Any]:
        """What another process asks of the run; returns the driver's reply: ``{"ok": …}`` or ``{"error": line}``."""
        if self._refusal:
            return {"error": self._refusal}
        number = next(self._numbers)
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        self._asked.append((number, request))
        answer: dict[str, Any] = await reply
        return answer

    async def requests(self) -> list[tuple[int, dict[str, Any]]]:
        """Number and text of the requests since the last call."""
        asked, self._asked = self._asked, []
        return asked

    async def answer(self, number: int, reply: dict[str, Any]) -> None:
        """Let a request have its reply."""
        waiting = self._replies.pop(number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    async def refuse(self, reason: str) -> None:
        """Refuse what is asked from now on, and what waits."""
        self._refusal = reason
        self._asked.clear()
        for number in list(self._replies):
            await self.answer(number, {"error": reason})

    async def info(self) -> dict[str, Any]:
        """How the run is doing, as the driver last told."""
        return self._told

    async def follow(self, known_at: float | None, wait_s: float) -> dict[str, Any]:
        """As `info`, once it is other than what was told at `known_at`, or `wait_s` have passed."""
        self._followers += 1
        try:
            if self._told.get("told_at") == known_at:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._tellings.wait(), wait_s)
            return self._told
        finally:
            self._followers -= 1

    async def tell(self, progress: dict[str, Any]) -> None:
        """The driver says how the run is doing."""
        self._told = progress
        if self._exporter is not None:
            self._exporter.tell(progress)
        waited, self._tellings = self._tellings, asyncio.Event()
        waited.set()

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
        await self._ask({self._mbs_name: self._mbs.begin.remote()})
        self._advancing = True
        try:
            steps = await self._all({name: actor.advance.remote(until) for name, actor in self._roster().items()})
        finally:
            self._advancing = False
        return min(int(step) for step in steps.values())

    async def rows(self, wait_s: float) -> bytes:
        """Metrics of the rounds closed since the last call, from the MBS; waits `wait_s` at most for the first."""
        try:
            packed: bytes = await asyncio.wait_for(_result(self._mbs.rows.remote(wait_s)), wait_s + ROWS_LATE_S)
        except TimeoutError:  # it hangs; `end_silent` will see to it
            return pack_state([])
        except _GONE:  # it is `advance` that reports the death; until then there is no news
            await asyncio.sleep(wait_s)
            return pack_state([])
        return packed

    async def hold(self) -> None:
        """Let all stations stop at the next round boundary."""
        with suppress(*_GONE):  # it is `advance` that reports the death
            await self._mbs.hold.remote()

    async def validate(self) -> None:
        """Measure the validation split out of turn."""
        await self._all({name: actor.validate.remote() for name, actor in self._roster().items()})

    async def measure(self) -> None:
        """Measure the test split."""
        await self._all({name: actor.measure.remote() for name, actor in self._roster().items()})

    async def measure_references(self) -> None:
        """Run the reference algorithms at the MBS."""
        await self._all({self._mbs_name: self._mbs.measure_references.remote()})

    async def test_rates(self) -> bytes:
        """Packed rates, see `Mbs.test_rates`."""
        packed: bytes = (await self._ask({self._mbs_name: self._mbs.test_rates.remote()}))[self._mbs_name]
        return packed

    async def facts(self) -> bytes:
        """Packed facts, see `Mbs.facts`."""
        packed: bytes = (await self._ask({self._mbs_name: self._mbs.facts.remote()}))[self._mbs_name]
        return packed

    async def drain_ledgers(self) -> dict[str, bytes]:
        """The books of all stations that live and answer, since the last call."""
        actors = {name: actor for name, actor in self._actors().items() if actor is not None}
        tasks = {name: asyncio.ensure_future(_result(actor.drain_ledger.remote())) for name, actor in actors.items()}
        await asyncio.wait(tasks.values(), timeout=self._patience_s)
        return {name: t.result() for name, t in tasks.items() if t.done() and t.exception() is None}

    async def states(self) -> dict[str, bytes]:
        """Packed states of the MBS and all members of the network."""
        members = {self._mbs_name, *self._network.members}
        return await self._ask({n: actor.state.remote() for n, actor in self._actors().items() if n in members})

    async def load_states(self, states: Mapping[str, bytes]) -> None:
        """Hand every station its state."""
        actors = self._actors().items()
        await self._ask({name: actor.load_state.remote(states[name], self._network_json) for name, actor in actors})

    async def stop(self) -> None:
        """End all stations, give their seats back, and tell those who wait for an answer."""
        self._wanted.clear()
        for name in [*self._stations, *self._joining, self._mbs_name, *self._seats]:
            await self.release(name)
        if self._replies or self._followers:
            await self.refuse("the run ended")
            await asyncio.sleep(LAST_WORDS_S)

    def _actors(self) -> dict[str, Any]:
        return {self._mbs_name: self._mbs, **self._stations}

    def _roster(self) -> dict[str, Any]:
        return {name: self._stations[name] for name in self._network.stations}

    def _is_there(self, name: str) -> bool:
        return self._network.status(name) != "removed"

    def _adopt(self, network_json: str) -> None:
        self._network_json, self._network = network_json, read_network(network_json)

    async def _reserve(self, seats: Sequence[Seat]) -> None:
        """Placement groups for `seats`, all or none."""
        loop = asyncio.get_running_loop()
        groups = await asyncio.gather(
            *(loop.run_in_executor(None, reserve, seat, self._namespace) for seat in seats), return_exceptions=True
        )
        failed = {s.station: g for s, g in zip(seats, groups, strict=True) if isinstance(g, BaseException)}
        if failed:
            for group in groups:
                if not isinstance(group, BaseException):
                    remove_placement_group(group)
            first = next(iter(failed.values()))
            if isinstance(first, ResourceShortError):
                raise ResourceShortError(str(first), tuple(failed))
            raise first
        for seat, group in zip(seats, groups, strict=True):
            self._seats[seat.station] = (seat, group)

    def _give_back(self, station: str) -> None:
        _, group = self._seats.pop(station, (None, None))
        if group is not None:
            remove_placement_group(group)

    def _spawn(self, name: str, network_json: str) -> Any:
        """A process for the SBS called `name`, in its seat."""
        seat, group = self._seats[name]
        me = ray.get_runtime_context().current_actor
        return _actor(Sbs, seat, group).remote(self._scenario_json, network_json, name, seat.gpus, self._mbs, me)

    async def _create(self, names: Iterable[str], within_s: float | None = None) -> dict[str, str]:
        """Processes for the stations called `names`, side by side; returns "pid device" of each once it is prepared.

        NotRestartedError where some take longer than `within_s`; these are ended.
        """
        calls = {}
        for name in sorted(names, key=lambda name: name != self._mbs_name):  # the MBS first: the others need its handle
            if name == self._mbs_name:
                if self._mbs is not None:  # its seat is wanted
                    ray.kill(self._mbs)
                seat, group = self._seats[name]
                made = _actor(Mbs, seat, group, max_concurrency=1000)
                self._mbs = made.remote(self._scenario_json, self._network_json, seat.gpus)
                calls[name] = self._mbs.ready.remote()
            else:
                if name in self._stations:
                    ray.kill(self._stations[name])
                self._stations[name] = self._spawn(name, self._network_json)
                calls[name] = self._stations[name].prepare.remote()
        try:
            return {name: str(place) for name, place in (await self._all(calls, within_s, alone=True)).items()}
        except _LateError as late:
            for name in late.stations:
                await self.release(name)
            raise NotRestartedError(late.stations, late.reason) from None

    async def _ask(self, calls: Mapping[str, Awaitable[Any]]) -> dict[str, Any]:
        """As `_all`, of stations that are asked one by one: nobody waits at the barrier, and none may take too long."""
        return await self._all(calls, self._patience_s, alone=True)

    async def _all(
        self, calls: Mapping[str, Awaitable[Any]], within_s: float | None = None, *, alone: bool = False
    ) -> dict[str, Any]:
        """Results of one call to each station.

        The first failure fails the barrier, so that nobody waits for the dead, and then this call: with
        StationLostError where processes died, with the station's own error otherwise. Who takes longer than `within_s`,
        or does not end with the barrier, is ended. With `alone`, nobody waits at the barrier.
        """
        if not calls:
            return {}
        tasks = {name: asyncio.ensure_future(_result(call)) for name, call in calls.items()}
        _, late = await asyncio.wait(tasks.values(), timeout=within_s, return_when=asyncio.FIRST_EXCEPTION)
        errors = {name: task.exception() for name, task in tasks.items() if task.done() and task.exception()}
        if not errors and late:
            names = tuple(name for name, task in tasks.items() if task in late)
            self._end(names)
            raise _LateError(names, f"gave no answer within {within_s:g} s")
        if not errors:
            return {name: task.result() for name, task in tasks.items()}
        first = next(iter(errors))
        if self._mbs is not None and not alone and not self._dead(errors) & {self._mbs_name}:
            reason = f"{first} {'died' if self._dead(errors) else 'failed'}"
            await asyncio.wait(
                {asyncio.ensure_future(_result(self._mbs.abort.remote(reason)))}, timeout=ABORT_TIMEOUT_S
            )
        _, late = await asyncio.wait(tasks.values(), timeout=self._patience_s)
        self._end([name for name, task in tasks.items() if task in late])
        await asyncio.wait(tasks.values())
        errors |= {name: task.exception() for name, task in tasks.items() if task.exception()}
        dead = self._dead(errors)
        if dead:
            raise StationLostError(tuple(sorted(dead)), f"died: {account(errors[first])}")
        cause = getattr(errors[first], "cause", errors[first])
        raise cause if isinstance(cause, BaseException) else RunFailedError(str(cause))

    def _end(self, names: Iterable[str]) -> None:
        """End processes that do not answer."""
        actors = {**self._actors(), **self._joining}
        for name in names:
            if actors.get(name) is not None:
                ray.kill(actors[name])

    def _dead(self, errors: Mapping[str, BaseException | None]) -> set[str]:
        """Stations whose process is gone: those that did not answer, and the MBS where an SBS had no answer from it."""
        dead = set()
        for name, error in errors.items():
            if isinstance(error, RayTaskError):  # the station lives; Ray gives its error the type of the cause as well
                if isinstance(error.cause, _GONE):
                    dead.add(self._mbs_name)
            elif isinstance(error, _GONE):
                dead.add(name)
        return dead


def _actor(kind: type, seat: Seat, group: Any, **options: Any) -> Any:
    """A class of actors in a station's seat. They have no names: who wants one, asks the controller."""
    strategy = PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=0)
    return ray.remote(kind).options(num_cpus=seat.cpus, num_gpus=seat.gpus, scheduling_strategy=strategy, **options)


def account(error: BaseException | None) -> str:
    """Why a process is gone, in one line: what its constructor raised, else what Ray knows of its end."""
    if isinstance(error, RayTaskError):
        error = error.cause
    if isinstance(error, OutOfMemoryError):
        return "its node ran out of memory"
    if isinstance(error, ActorUnavailableError):
        return "its process, or its node, does not answer any more"
    text = _COLOURS.sub("", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [repr(error)]
    if "creation task" in lines[0]:
        return lines[-1]
    return next((plain for sign, plain in _ENDS.items() if sign in text), lines[0])


async def _result(call: Awaitable[Any]) -> Any:
    return await call
