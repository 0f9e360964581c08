"""The caller's side of an edge service: so many requests at a time, each answered once, whatever happens to it.

A detector has no memory of its requests, so that one whose process died is sent again to the process that comes after
it, with the same result. Whoever waits for a request waits for one answer: none is lost, none is answered twice.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

from agents.edge_service import Arrays, BusyError, EdgeService, make_options
from cellfree_sim.detection.serving.changes import service_of
from cellfree_sim.errors import CellfreeError, DetectorError, RunFailedError
from cellfree_sim.scenario.outside import loaded_classes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cellfree_sim.detection.detector import DetectorOptions
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.scenario.uplink import Queue
    from cellfree_sim.uplink.problem import Problem

GONE = (RayActorError, OutOfMemoryError)
OUTSTANDING = 64
SUSPECT_DEATHS = 2  # of processes while they had a request; from then on it goes alone, so that no other dies with it
MOST_DEATHS = 8  # after which it is given up, as is any other call
MOST_STILLBORN = 3  # processes in a row that died before they were ready
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1e-3, 0.1  # between two attempts at a busy service

CALLS = 4  # under way at a time; requests that come meanwhile share the next one
MOST_JOBS, MOST_BYTES = 32, 3 * 2**20  # of one call, whose arguments travel in the call itself

Models = Mapping[str, "tuple[DetectorOptions, Problem]"]
Start = Callable[[dict[str, tuple[dict[str, Any], dict[str, Any]]]], Any]
T = TypeVar("T")


@dataclass(eq=False)
class _Job:
    """A request, and who waits for its answer."""

    service: str
    arrays: Arrays
    answer: asyncio.Future[NDArray[np.float32]]
    deaths: int = 0

    @property
    def size(self) -> int:
        return sum(getattr(each, "nbytes", 0) for each in self.arrays)

    def settle(self, answer: NDArray[np.float32] | Exception) -> None:
        """Give the answer, once."""
        if self.answer.done():
            return
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


class ServiceClient:
    """One edge service and the requests that it owes; from one event loop.

    Args:
        start: creates the actor, for its models as `EdgeService` takes them.
        models: detector and problem of each model, by name.
        outstanding: most requests that are under way at a time; others wait here.

    In a process that is connected to Ray:

        edge = ServiceClient.launch("ep", problem, queue=Queue(batch=16))
        logits = await edge.detect(y, h, noise_variance)

    Attributes:
        restarts: how many processes died, and were replaced.
        resent: how many requests were sent again for that.
        answered: how many requests had their answer, or their error.
    """

    def __init__(self, start: Start, models: Models, *, outstanding: int = OUTSTANDING) -> None:
        self._start = start
        self._models = dict(models)
        self._actor: Any = None
        self._lock = asyncio.Lock()
        self._room = asyncio.Semaphore(outstanding)
        self._jobs: deque[_Job] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._alone = False
        self.restarts = self.resent = self.answered = 0

    @classmethod
    def launch(
        cls,
        detector: str | DetectorOptions,
        problem: Problem,
        *,
        queue: Queue | None = None,
        name: str = "edge",
        outstanding: int = OUTSTANDING,
        **resources: Any,
    ) -> ServiceClient:
        """A service of one detector, beside no station, on the cluster that this process is connected to.

        Args:
            detector: its name or options.
            problem: what is sent; requests may have other numbers of antennas and users.
            queue: how it makes batches.
            name: for messages.
            outstanding: see the class.
            resources: of the actor, as Ray's `options` takes them; no CPU by default.

        Raises:
            DetectorError: there is no such detector, or it cannot serve `problem`.
        """
        from cellfree_sim.detection import create_detector
        from cellfree_sim.scenario.uplink import Queue as Default

        options = create_detector(detector, problem).options if isinstance(detector, str) else detector

        def start(models: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> Any:
            return start_service(models, (), queue or Default(), **resources)

        return cls(start, {name: (options, problem)}, outstanding=outstanding)

    async def ready(self) -> str:
        """Where it runs, once it does: process id and device."""
        return str(await self._ask(lambda actor: actor.ready.remote()))

    async def detect(
        self,
        y: NDArray[np.complex64],
        h: NDArray[np.complex64],
        noise_variance: NDArray[np.float32] | float,
        *,
        service: str | None = None,
        wait: bool = True,
    ) -> NDArray[np.float32]:
        """See `Services.detect`; without `service`, the only one, or the first.

        With `wait`, a request waits for room, first here, then at the service; without, `BusyError` says that there is
        none.

        Raises:
            DetectorError: the request cannot be served.
            BusyError: only without `wait`.
            RunFailedError: the service cannot be brought back.
        """
        name = service or next(iter(self._models))
        if not wait and self._room.locked():
            raise BusyError(f"service '{name}': as many requests are under way as may be; wait for some of them")
        async with self._room:
            pause_s = FIRST_PAUSE_S
            while True:
                try:
                    return await self._answer(name, (y, h, noise_variance))
                except BusyError:
                    if not wait:
                        raise
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def flops(self, slots: int, antennas: int, users: int, *, service: str | None = None) -> float:
        """See `Services.flops`."""
        name = service or next(iter(self._models))
        return float(await self._ask(lambda actor: actor.flops.remote(name, slots, antennas, users)))

    async def swap(self, detector: DetectorOptions, *, service: str | None = None) -> None:
        """See `Services.swap`; a process that comes after this one has the new detector, too."""
        name = service or next(iter(self._models))
        await self._ask(lambda actor: actor.swap.remote(name, detector.model_dump()))
        self._models[name] = detector, self._models[name][1]

    async def add(self, model: str, detector: DetectorOptions, problem: Problem) -> None:
        """See `Services.add`; a process that comes after this one has it, too."""
        from cellfree_sim.uplink.families import described

        await self._ask(lambda actor: actor.add.remote(model, detector.model_dump(), described(problem)))
        self._models[model] = detector, problem

    async def stats(self) -> dict[str, dict[str, Any]]:
        """See `EdgeService.stats`, with `restarts` and `resent`."""
        found = await self._ask(lambda actor: actor.stats.remote())
        return {name: {**each, "restarts": self.restarts, "resent": self.resent} for name, each in found.items()}

    async def kill(self) -> None:
        """Let the process die, as if it had failed; the next request brings up another one."""
        if self._actor is not None:
            _kill(self._actor)

    def close(self) -> None:
        """End the process."""
        if self._actor is not None:
            _kill(self._actor)
            self._actor = None

    async def _answer(self, service: str, arrays: Arrays) -> NDArray[np.float32]:
        """The answer to one request, which goes out at once, or with others while `CALLS` calls are under way."""
        job = _Job(service, arrays, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._dispatch()
        return await job.answer

    def _dispatch(self) -> None:
        while self._jobs and len(self._calls) < CALLS and not self._alone:
            self._alone = self._jobs[0].deaths >= SUSPECT_DEATHS
            if self._alone and self._calls:
                self._alone = False
                return  # when they are back
            call = asyncio.ensure_future(self._send(self._next_jobs()))
            self._calls.add(call)
            call.add_done_callback(self._sent)

    def _next_jobs(self) -> list[_Job]:
        """Requests for one call: as many of one service as may be, or one that goes alone."""
        jobs = [self._jobs.popleft()]
        size = jobs[0].size
        while self._jobs and not self._alone and len(jobs) < MOST_JOBS:
            following = self._jobs[0]
            size += following.size
            if following.service != jobs[0].service or following.deaths >= SUSPECT_DEATHS or size > MOST_BYTES:
                break
            jobs.append(self._jobs.popleft())
        return jobs

    def _sent(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._alone = False
        self._dispatch()

    async def _send(self, jobs: list[_Job]) -> None:
        """Send requests in one call; those of a process that died go back to the head of the line."""
        jobs = [job for job in jobs if not job.answer.done()]  # who asked may have given up
        if not jobs:
            return
        actor = None
        try:
            actor = await self._living()
            answers = await self._told(actor.detect_many.remote(jobs[0].service, [job.arrays for job in jobs]))
        except GONE:
            await self._bury(actor)
            self._again(jobs)
        except Exception as error:
            for job in jobs:
                job.settle(error)
        else:
            for job, answer in zip(jobs, answers, strict=True):
                self.answered += not isinstance(answer, BusyError)
                job.settle(answer)

    def _again(self, jobs: Sequence[_Job]) -> None:
        """Requests whose process died go to the head of the line, but for those that too many died of."""
        for job in jobs:
            job.deaths += 1
            if job.deaths >= MOST_DEATHS:
                self.answered += 1
                text = f"service '{job.service}': {job.deaths} processes died while they worked on this request"
                job.settle(DetectorError(text))
        waiting = [job for job in jobs if not job.answer.done()]
        self.resent += len(waiting)
        self._jobs.extendleft(reversed(waiting))

    async def _ask(self, call: Callable[[Any], Awaitable[T]]) -> T:
        """The answer to a call, made again where the process that had it died."""
        from agents.controller import account

        deaths = 0
        while True:
            actor = await self._living()
            try:
                return await self._told(call(actor))
            except GONE as error:
                await self._bury(actor)
                deaths += 1
                if deaths == MOST_DEATHS:
                    names = ", ".join(self._models)
                    raise RunFailedError(
                        f"service {names}: {deaths} processes died of one call: {account(error)}"
                    ) from error

    async def _told(self, call: Awaitable[T]) -> T:
        """What a living process says; an error that it raises comes out as itself."""
        try:
            return await call
        except RayTaskError as error:  # an error of the method itself: Ray's exception has the type of the cause, too
            cause = error.cause
            raise (cause if isinstance(cause, CellfreeError) else RunFailedError(f"service: {cause!r}")) from None

    async def _living(self) -> Any:
        """The actor, ready for requests; another one, where it died."""
        from agents.controller import account
        from cellfree_sim.uplink.families import described

        async with self._lock:
            died = 0
            while self._actor is None:
                models = {name: (o.model_dump(), described(p)) for name, (o, p) in self._models.items()}
                actor = self._start(models)
                try:
                    await self._told(actor.ready.remote())
                except GONE as error:
                    died += 1
                    self.restarts += 1
                    if died == MOST_STILLBORN:
                        names = ", ".join(self._models)
                        raise RunFailedError(
                            f"service {names}: {died} processes died at once: {account(error)}"
                        ) from error
                except BaseException:
                    _kill(actor)
                    raise
                else:
                    self._actor = actor
            return self._actor

    async def _bury(self, dead: Any) -> None:
        """Forget a process that died; whoever notices first counts it."""
        async with self._lock:
            if self._actor is dead:
                self._actor = None
                self.restarts += 1
                _kill(dead)  # Ray may only have lost sight of it


class RemoteServices:
    """The services of a station, each in a process of its own, for a role that waits: see `Services`.

    All clients live in the event loop of a thread of this object.

    Args:
        clients: makes the client of each service, by name.
    """

    def __init__(self, clients: Mapping[str, Callable[[], ServiceClient]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="services", daemon=True)
        self._thread.start()
        self._clients = {name: self._wait(_made(make)) for name, make in clients.items()}
        self._flops: dict[tuple[str, int, int], float] = {}

    def ready(self) -> dict[str, str]:
        """Where each service runs, once all do."""
        names = list(self._clients)
        return dict(zip(names, self._wait(_all([self._clients[name].ready() for name in names])), strict=True))

    def detect(
        self, service: str, y: NDArray[np.complex64], h: NDArray[np.complex64], noise_variance: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """See `Services.detect`."""
        return self._wait(self._named(service).detect(y, h, noise_variance, service=service))

    def flops(self, service: str, slots: int, antennas: int, users: int) -> float:
        """See `Services.flops`; the service is asked once for each shape."""
        shape = service, antennas, users
        if shape not in self._flops:
            self._flops[shape] = self._wait(self._named(service).flops(1, antennas, users, service=service))
        return slots * self._flops[shape]

    def swap(self, service: str, detector: DetectorOptions) -> None:
        """See `Services.swap`."""
        self._wait(self._named(service).swap(detector, service=service))
        self._flops = {shape: count for shape, count in self._flops.items() if shape[0] != service}

    def add(self, model: str, detector: DetectorOptions, problem: Problem) -> None:
        """See `Services.add`: in the process of the service."""
        client = self._named(service_of(model))
        self._wait(client.add(model, detector, problem))
        self._flops = {shape: count for shape, count in self._flops.items() if shape[0] != model}

    def fail(self, service: str) -> bool:
        """Kill the process of a service, if it has one here; the next request finds another one."""
        if service in self._clients:
            self._wait(self._clients[service].kill())
        return service in self._clients

    def stats(self) -> dict[str, dict[str, Any]]:
        """See `ServiceClient.stats`."""
        found = self._wait(_all([client.stats() for client in self._clients.values()]))
        return {name: each for stats in found for name, each in stats.items()}

    def close(self) -> None:
        """End all processes."""
        for client in self._clients.values():
            client.close()
        self._wait(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _named(self, service: str) -> ServiceClient:
        try:
            return self._clients[service_of(service)]
        except KeyError:
            allowed = ", ".join(self._clients) or "none"
            raise DetectorError(f"service: found '{service}'; allowed: {allowed}") from None

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def start_service(
    models: dict[str, tuple[dict[str, Any], dict[str, Any]]], gpus: tuple[str, ...], queue: Queue, **options: Any
) -> Any:
    """The actor of an edge service; `options` are Ray's."""
    import ray

    # as many calls as it may hold, and as many again that it refuses at once
    create: Any = ray.remote(EdgeService).options(**{"num_cpus": 0, "max_concurrency": 2 * queue.capacity, **options})
    settings = {"batch": queue.batch, "deadline_s": queue.deadline_s, "capacity": queue.capacity}
    return create.remote(models, gpus, **settings, extensions=loaded_classes())


def services_of(
    scenario: Scenario, detectors: Mapping[str, DetectorOptions], group: Any, gpus: Sequence[str]
) -> RemoteServices:
    """The services that `detectors` names, each a process of its own in a station's placement group.

    A station makes batches by the simulated clock, and waits for each: the processes join nothing.
    """
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    from cellfree_sim.detection.serving.deployment import service_problem
    from cellfree_sim.scenario.uplink import Queue

    strategy = PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=0)

    def start(models: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> Any:
        return start_service(models, tuple(gpus), Queue(batch=1), scheduling_strategy=strategy)

    def client(name: str) -> ServiceClient:
        return ServiceClient(start, {name: (detectors[name], service_problem(scenario, name))})

    return RemoteServices({name: partial(client, name) for name in detectors})


def read_detector(family: str, detector: str) -> DetectorOptions:
    """Options of a detector of a family from their JSON."""
    return make_options(family, json.loads(detector))


def _kill(actor: Any) -> None:
    import ray

    if not ray.is_initialized():  # Ray would start a cluster to end a process that went with its own
        return
    with suppress(Exception):  # Ray has many names for what is gone
        ray.kill(actor)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _made(make: Callable[[], ServiceClient]) -> ServiceClient:
    return make()


async def _all(calls: list[Coroutine[Any, Any, T]]) -> list[T]:
    return list(await asyncio.gather(*calls))
