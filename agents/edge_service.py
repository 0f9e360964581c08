"""Detectors at a station as an actor: a queue that makes batches by size and age, and one thread that computes.

    requests ──► lots, one for each model and shape ──► a full or old one ──► detector, on one thread ──► answers

Requests of one shape are detected as one batch. What the actor holds is bounded: more is refused by `BusyError`, at
once, so that the caller decides how to wait. One bad request is one error, also in a batch with good ones. A detector
can be replaced while it serves.

The queue goes by the wall clock. In a run, whose stations make their batches by the simulated clock (see
`cellfree_sim.detection.serving`), it joins nothing: `batch` is 1.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from cellfree_sim.errors import CellfreeError, DetectorError
from cellfree_sim.scenario.outside import import_classes
from cellfree_sim.scenario.suggest import listed, on_one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.detection.detector import DetectorOptions
    from cellfree_sim.detection.serving.service import DetectionService

KEPT_LATENCIES = 10_000  # of the last requests of a model, for percentiles
MAX_HELD_BYTES = 256 * 2**20  # of the arrays of all requests that wait


class BusyError(CellfreeError):
    """A service holds as many requests as it may; try again later, or let fewer wait at a time."""


Arrays: TypeAlias = "tuple[NDArray[np.complex64], NDArray[np.complex64], NDArray[np.float32] | float]"
"""y, h and noise variance of a request."""


@dataclass(eq=False)
class _Request:
    y: NDArray[np.complex64]
    h: NDArray[np.complex64]
    noise_variance: NDArray[np.float32] | float
    answer: asyncio.Future[NDArray[np.float32]]
    arrived_s: float = field(default_factory=time.monotonic)


@dataclass(eq=False)
class _Model:
    """A detector of this actor, and what it has done."""

    service: DetectionService
    family: str
    requests: int = 0
    slots: int = 0
    batches: int = 0
    failed: int = 0
    compute_s: float = 0.0
    latencies: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=KEPT_LATENCIES))


class EdgeService:
    """Actor with one or several detectors of a station, on its device.

    Args:
        models: the detectors, by name of the service: options of the detector, and the problem that it is for,
            as `cellfree_sim.uplink.families` describes it.
        gpus: ids of the station's GPUs, one of which it uses if torch can; empty: the CPU.
        batch: most requests in a batch.
        deadline_s: longest time that a request waits for others, wall seconds; longer only if the thread is busy.
        capacity: most requests that it holds, waiting or in work.
        extensions: modules from outside the package that detectors are of (`loaded_classes` of who starts it).
    """

    def __init__(
        self,
        models: Mapping[str, tuple[dict[str, Any], dict[str, Any]]],
        gpus: Sequence[str] = (),
        *,
        batch: int = 8,
        deadline_s: float = 1e-3,
        capacity: int = 256,
        extensions: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self._device = _device(gpus)
        self._models: dict[str, _Model] = {}
        self._broken: CellfreeError | None = None
        try:
            import_classes(extensions)
            self._models = {name: self._made(name, *model) for name, model in models.items()}
        except CellfreeError as error:  # told to who asks: Ray would only say that the process died
            self._broken = error
        self._batch, self._deadline_s, self._capacity = batch, deadline_s, capacity
        self._lots: dict[Hashable, deque[_Request]] = {}
        self._held = self._held_bytes = self._refused = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="detector")
        self._news = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    async def ready(self) -> str:
        """Where it runs: process id and device; DetectorError where a detector cannot serve its problem."""
        if self._broken is not None:
            raise self._broken
        return f"{os.getpid()} {self._device}"

    async def detect(
        self,
        service: str,
        y: NDArray[np.complex64],
        h: NDArray[np.complex64],
        noise_variance: NDArray[np.float32] | float,
    ) -> NDArray[np.float32]:
        """See `Services.detect`; the answer comes when the batch of the request is done.

        Raises:
            DetectorError: the request cannot be served; all others are.
            BusyError: too many requests are waiting; this one was not taken.
        """
        model = self._named(service)
        size = sum(each.nbytes for each in (y, h) if isinstance(each, np.ndarray))
        if self._held >= self._capacity or (self._held and self._held_bytes + size > MAX_HELD_BYTES):
            self._refused += 1
            raise BusyError(
                f"service '{service}': holds {self._held} requests of {self._held_bytes / 2**20:.1f} MiB; allowed: "
                f"{self._capacity} requests and {MAX_HELD_BYTES >> 20} MiB"
            )
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        request = _Request(y, h, noise_variance, asyncio.get_running_loop().create_future())
        self._held += 1
        self._held_bytes += size
        lot = self._lots.setdefault(_key(model, request), deque())
        lot.append(request)
        if len(lot) in (1, self._batch):
            self._news.set()
        try:
            return await request.answer
        finally:
            self._held -= 1
            self._held_bytes -= size

    async def detect_many(self, service: str, requests: Sequence[Arrays]) -> list[NDArray[np.float32] | CellfreeError]:
        """`detect` for several requests in one call, which takes less time; what each would have raised is returned."""
        return list(await asyncio.gather(*(self._answered(service, arrays) for arrays in requests)))

    async def flops(self, service: str, slots: int, antennas: int, users: int) -> float:
        """See `Services.flops`."""
        count: float = await self._apart(self._named(service).service.flops, slots, antennas, users)
        return count

    async def swap(self, service: str, detector: dict[str, Any]) -> None:
        """See `Services.swap`: other requests are served by the old detector until the new one is ready."""
        model = self._named(service)
        await self._apart(lambda: model.service.swap(make_options(model.family, detector)))

    async def add(self, name: str, detector: dict[str, Any], problem: dict[str, Any]) -> None:
        """One more model beside those that it has, as the constructor takes them."""
        self._models[name] = await self._apart(self._made, name, detector, problem)

    async def stats(self) -> dict[str, dict[str, Any]]:
        """What each service did since this process was started; latencies are wall milliseconds of the last requests.

        requests, slots, batches, failed (requests that had an error), compute_s, detector, queue_ms and compute_ms
        (each with p50 and p99, and absent before the first request); of all services together: held, refused.
        """
        return {name: self._stats(model) for name, model in self._models.items()}

    async def _answered(self, service: str, arrays: Arrays) -> NDArray[np.float32] | CellfreeError:
        try:
            return await self.detect(service, *arrays)
        except CellfreeError as error:
            return error

    def _stats(self, model: _Model) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "detector": model.service.options.name,
            "requests": model.requests,
            "slots": model.slots,
            "batches": model.batches,
            "failed": model.failed,
            "compute_s": model.compute_s,
            "held": self._held,
            "refused": self._refused,
        }
        if model.latencies:
            p50, p99 = 1e3 * np.percentile(np.array(model.latencies), [50, 99], axis=0)
            for index, key in enumerate(("queue_ms", "compute_ms")):
                facts[key] = {"p50": float(p50[index]), "p99": float(p99[index])}
        return facts

    def _made(self, name: str, options: dict[str, Any], problem: dict[str, Any]) -> _Model:
        from cellfree_sim.detection.serving.service import DetectionService
        from cellfree_sim.uplink.families import problem_of

        family = problem["family"]
        service = DetectionService(name, make_options(family, options), problem_of(problem), device=self._device)
        return _Model(service, family)

    def _named(self, service: str) -> _Model:
        if self._broken is not None:
            raise self._broken
        try:
            return self._models[service]
        except KeyError:
            raise DetectorError(f"service: found '{service}'; allowed: {listed(list(self._models))}") from None

    async def _apart(self, work: Any, *arguments: Any) -> Any:
        """Beside the thread that detects."""
        return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)

    async def _work(self) -> None:
        """Serve one batch after the other, for ever."""
        while True:
            self._news.clear()
            key, wait_s = self._next()
            if key is None or wait_s > 0:
                await _either(self._news, wait_s)
                continue
            lot = self._lots[key]
            requests = [lot.popleft() for _ in range(min(self._batch, len(lot)))]
            if not lot:
                del self._lots[key]
            requests = [request for request in requests if not request.answer.done()]  # a caller may have given up
            if requests:
                await self._serve(key[0], requests)

    def _next(self) -> tuple[Any, float]:
        """Which lot is next, a full one or that of the oldest request, and how long it may still wait for others."""
        if not self._lots:
            return None, float("inf")
        full = [key for key, lot in self._lots.items() if len(lot) >= self._batch]
        key = min(full or self._lots, key=lambda each: self._lots[each][0].arrived_s)
        return key, 0.0 if full else self._lots[key][0].arrived_s + self._deadline_s - time.monotonic()

    async def _serve(self, model: _Model, requests: list[_Request]) -> None:
        begun_s = time.monotonic()
        found: list[Any]
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, _detected, model.service, requests)
        except Exception as error:  # whoever waits has an answer, and the next batch its turn
            found = [_failed(model.service, error)] * len(requests)
        compute_s = time.monotonic() - begun_s
        model.batches += 1
        model.compute_s += compute_s
        for request, answer in zip(requests, found, strict=True):
            model.requests += 1
            model.latencies.append((begun_s - request.arrived_s, compute_s))
            if isinstance(answer, DetectorError):
                model.failed += 1
            else:
                model.slots += len(answer)
            if request.answer.done():
                continue
            if isinstance(answer, DetectorError):
                request.answer.set_exception(answer)
            else:
                request.answer.set_result(answer)


def make_options(family: str, detector: dict[str, Any]) -> DetectorOptions:
    """Options of a detector of a family from what `model_dump` made of them."""
    from cellfree_sim.scenario.extensions import detectors_of

    options: DetectorOptions = detectors_of(family).create(**detector)
    return options


def _detected(service: DetectionService, requests: Sequence[_Request]) -> list[Any]:
    """The answer to each request: log-probabilities, or a DetectorError."""
    if len(requests) == 1:
        return [_answer(service, requests[0])]
    lengths = [len(request.y) for request in requests]
    try:
        logits = service.detect(
            np.concatenate([request.y for request in requests]),
            np.concatenate([request.h for request in requests]),
            np.concatenate([_each_slot(request) for request in requests]),
        )
    except Exception:  # one of them is bad, in whatever way: each by itself
        return [_answer(service, request) for request in requests]
    return np.split(logits, np.cumsum(lengths)[:-1])


def _answer(service: DetectionService, request: _Request) -> Any:
    try:
        return service.detect(request.y, request.h, request.noise_variance)
    except DetectorError as error:
        return error
    except Exception as error:  # such as numbers that no array can hold
        return _failed(service, error)


def _failed(service: DetectionService, error: Exception) -> DetectorError:
    return DetectorError(f"service '{service.name}': {type(error).__name__}: {on_one_line(str(error), 200)}")


def _each_slot(request: _Request) -> NDArray[np.float32]:
    noise = request.noise_variance
    return np.full(len(request.y), noise, np.float32) if isinstance(noise, (int, float)) else noise


def _key(model: _Model, request: _Request) -> Hashable:
    """What requests have in common that can be in one batch; one that is malformed is alone."""
    y, h, noise = request.y, request.h, request.noise_variance
    number = isinstance(noise, (int, float))
    arrays = (y, h) if number else (y, h, noise)
    fits = (
        all(isinstance(each, np.ndarray) for each in arrays)
        and y.dtype == np.complex64
        and 0 not in (y.ndim, h.ndim)
        and h.shape[:1] == y.shape[:1]
        and (number or (noise.dtype == np.float32 and noise.shape == y.shape[:1]))  # type: ignore[union-attr]
    )
    return (model, y.shape[1:], h.shape[1:], str(h.dtype)) if fits else (model, request)


def _device(gpus: Sequence[str]) -> str:
    """The torch device of this process; torch is imported by this, after it was told which GPUs there are."""
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    import torch

    from cellfree_sim.devices import choose_device
    from cellfree_sim.memory import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    return choose_device("auto" if gpus else 0)


async def _either(news: asyncio.Event, wait_s: float) -> None:
    """Return on news, or after a time."""
    try:
        await asyncio.wait_for(news.wait(), None if wait_s == float("inf") else wait_s)
    except TimeoutError:
        return
