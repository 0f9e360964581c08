"""Edge service and its client without Ray: batches, bounds, bad requests, hot swap, and processes that die."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest
import torch
from ray.exceptions import ActorDiedError

from agents.edge_service import BusyError, EdgeService
from agents.service_client import MOST_DEATHS, RemoteServices, ServiceClient
from cellfree_sim.detection import create_detector
from cellfree_sim.detection.serving.service import DetectionService, LocalServices
from cellfree_sim.errors import DetectorError, RunFailedError
from cellfree_sim.uplink import MimoProblem
from cellfree_sim.uplink.families import described

PROBLEM = MimoProblem(n_rx=8, n_tx=4, constellation="qpsk")
Request = tuple[Any, Any, Any]


def options(name: str) -> Any:
    return create_detector(name, PROBLEM).options


def requests_of(count: int, *, users: int = 4, slots: int = 3) -> list[Request]:
    problem, generator = PROBLEM.changed(n_tx=users), torch.Generator().manual_seed(users)
    drawn = [problem.sample(slots, 12.0, generator=generator) for _ in range(count)]
    return [(each.y.numpy(), each.h.numpy(), each.noise_variance.numpy()) for each in drawn]


def alone(requests: list[Request], detector: str = "lmmse") -> list[Any]:
    service = DetectionService("alone", options(detector), PROBLEM)
    return [service.detect(*request) for request in requests]


def service(detector: str = "lmmse", **settings: Any) -> EdgeService:
    return EdgeService({"edge": (options(detector).model_dump(), described(PROBLEM))}, **settings)


def play(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def test_requests_of_one_shape_share_batches_and_have_the_answers_that_each_would_have_alone() -> None:
    requests = [*requests_of(8), *requests_of(4, users=2), *requests_of(3, slots=5)]
    order = random.Random(1).sample(range(len(requests)), len(requests))

    async def work() -> tuple[Any, Any]:
        edge = service(batch=4, deadline_s=1e-3)
        found = await asyncio.gather(*(edge.detect("edge", *requests[each]) for each in order))
        return found, (await edge.stats())["edge"]

    found, stats = play(work())
    expected = alone(requests)
    for number, logits in zip(order, found, strict=True):
        np.testing.assert_allclose(logits, expected[number], rtol=1e-4, atol=1e-4)
    assert (stats["requests"], stats["failed"], stats["held"]) == (15, 0, 0)
    assert stats["slots"] == 8 * 3 + 4 * 3 + 3 * 5
    assert stats["batches"] == 4  # two full ones and a rest of four users, one of two users


def test_a_lone_request_is_served_when_it_is_old_enough() -> None:
    [request] = requests_of(1)

    async def work() -> Any:
        edge = service(batch=1000, deadline_s=0.05)
        logits = await edge.detect("edge", *request)
        return logits, (await edge.stats())["edge"]["queue_ms"]["p50"]

    logits, queue_ms = play(work())
    np.testing.assert_array_equal(logits, alone([request])[0])
    assert queue_ms >= 49


def test_a_bad_request_is_its_own_error_only() -> None:
    requests = requests_of(4)
    y, h, noise = requests[2]
    infinite = h.copy()
    infinite[0, 0, 0] = np.inf
    bad: list[Any] = [(y, infinite, noise), (y, h[:1], noise), (y.astype(np.complex128), h, noise), ("y", h, noise)]

    async def work() -> Any:
        edge = service(batch=8, deadline_s=1e-3)
        mixed = [edge.detect("edge", *each) for pair in zip(requests, bad, strict=True) for each in pair]
        return await asyncio.gather(*mixed, return_exceptions=True)

    found = play(work())
    for logits, expected in zip(found[::2], alone(requests), strict=True):
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert all(isinstance(each, DetectorError) for each in found[1::2])
    assert [str(each).split("found")[1][:11] for each in found[1::2]] == [
        " a value th",
        " y [3, 8], ",
        " complex128",
        " str; expec",
    ]


def test_an_error_that_nobody_thought_of_is_an_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    (y, h, _), good = requests_of(2)
    huge = (y, h, 10**400)  # is a number, but fits no array

    async def work() -> Any:
        edge = service(batch=2, deadline_s=1e-3)
        mixed = await asyncio.gather(edge.detect("edge", *huge), edge.detect("edge", *good), return_exceptions=True)
        later = [await edge.detect("edge", *good)]
        with monkeypatch.context() as patch:
            patch.setattr("agents.edge_service._detected", lambda *_: [].pop())
            with pytest.raises(DetectorError, match="service 'edge': IndexError: pop from empty list"):
                await edge.detect("edge", *good)
        assert edge._worker is not None
        edge._worker.cancel()
        await asyncio.wait([edge._worker])
        later.append(await edge.detect("edge", *good))
        return mixed, later

    [bad, found], later = play(work())
    assert isinstance(bad, DetectorError) and "OverflowError" in f"{bad} {bad.__cause__!r}"
    for logits in (found, *later):
        np.testing.assert_array_equal(logits, alone([good])[0])


def test_what_it_holds_is_bounded() -> None:
    requests = requests_of(30)

    async def work() -> Any:
        edge = service(batch=2, deadline_s=0, capacity=10)
        first = await asyncio.gather(*(edge.detect("edge", *each) for each in requests), return_exceptions=True)
        return first, await edge.detect("edge", *requests[0]), (await edge.stats())["edge"]

    found, later, stats = play(work())
    assert [isinstance(each, BusyError) for each in found] == [False] * 10 + [True] * 20
    assert "holds 10 requests" in str(found[-1])
    assert later.shape == (3, 4, 4)
    assert (stats["refused"], stats["held"]) == (20, 0)


def test_several_models_of_one_station_and_hot_swap_while_it_serves() -> None:
    requests = requests_of(40)

    async def work() -> Any:
        models = {name: (options("mf").model_dump(), described(PROBLEM)) for name in ("one", "two")}
        edge = EdgeService(models, batch=4, deadline_s=0)
        before = [asyncio.ensure_future(edge.detect("one", *each)) for each in requests]
        await edge.swap("one", options("ep").model_dump())
        after = await asyncio.gather(*(edge.detect("one", *each) for each in requests))
        with pytest.raises(DetectorError, match="service: found 'three'; allowed: one, two"):
            await edge.swap("three", options("ep").model_dump())
        return await asyncio.gather(*before), after, await edge.detect("two", *requests[0])

    before, after, other = play(work())
    matched, better = alone(requests, "mf"), alone(requests, "ep")
    for found, old, new in zip(before, matched, better, strict=True):  # each by the one or the other, none lost
        assert min(np.abs(found - old).max(), np.abs(found - new).max()) < 1e-3
    np.testing.assert_allclose(after, better, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(other, matched[0], rtol=1e-4, atol=1e-4)


def test_a_detector_that_cannot_be_made_is_told_to_who_asks() -> None:
    unfit = {"edge": (options("lmmse").model_dump(), described(PROBLEM))}
    unfit["edge"][0]["name"] = "sionna-lmmse"
    unfit["edge"][1]["constellation"] = "qpsk"

    class Unfit(EdgeService):
        def _made(self, *_: Any) -> Any:
            raise DetectorError("detector 'x': made for another problem")

    async def work() -> None:
        edge = Unfit(unfit)
        with pytest.raises(DetectorError, match="made for another problem"):
            await edge.ready()
        with pytest.raises(DetectorError, match="made for another problem"):
            await edge.detect("edge", *requests_of(1)[0])

    play(work())


class Mortal:
    """Stands for an actor's handle: the service in this process, until `die`; calls under way die with it."""

    def __init__(self, edge: EdgeService, poison: Any = None) -> None:
        self._edge = edge
        self._poison = poison
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def die(self) -> None:
        if not self._end.done():
            self._end.set_result(None)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._edge, name)

        async def remote(*arguments: Any) -> Any:
            if name == "detect_many" and any(self._poison is y for y, _, _ in arguments[1]):
                self.die()
            call = asyncio.ensure_future(method(*arguments))
            await asyncio.wait({call, self._end}, return_when=asyncio.FIRST_COMPLETED)
            if self._end.done():
                call.cancel()
                raise ActorDiedError()
            return call.result()

        return type("Method", (), {"remote": staticmethod(remote)})


class Deadly(Mortal):
    """Dies of being asked for operations."""

    def __getattr__(self, name: str) -> Any:
        if name == "flops":
            self.die()
        return super().__getattr__(name)


class Nursery:
    """Starts services, and remembers them."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.born: list[Mortal] = []
        self.poison: Any = None
        self.stillborn = False
        self.kind = Mortal

    def __call__(self, models: Any) -> Mortal:
        self.born.append(self.kind(EdgeService(models, **self.settings), self.poison))
        if self.stillborn:
            self.born[-1].die()
        return self.born[-1]


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.kill", lambda actor: actor.die())


def test_no_request_is_lost_or_answered_twice_under_twenty_kills() -> None:
    requests = requests_of(600)
    dice = random.Random(5)
    answered = [0] * len(requests)

    async def work() -> tuple[list[Any], ServiceClient, Nursery]:
        nursery = Nursery(batch=4, deadline_s=1e-4)
        client = ServiceClient(nursery, {"edge": (options("lmmse"), PROBLEM)}, outstanding=32)
        found: list[Any] = [None] * len(requests)

        async def ask(number: int) -> None:
            found[number] = await client.detect(*requests[number])
            answered[number] += 1

        asking = [asyncio.ensure_future(ask(number)) for number in range(len(requests))]
        for kill in range(20):
            until = (kill + 1) * len(requests) // 22
            while sum(answered) < until:
                await asyncio.sleep(0)
            for _ in range(dice.randrange(20)):
                await asyncio.sleep(0)
            nursery.born[-1].die()
            while nursery.born[-1]._end.done():
                await asyncio.sleep(0)
        await asyncio.gather(*asking)
        return found, client, nursery

    found, client, nursery = play(work())
    assert answered == [1] * len(requests)
    assert (client.answered, client.restarts, len(nursery.born)) == (len(requests), 20, 21)
    assert client.resent > 0
    for logits, expected in zip(found, alone(requests), strict=True):
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_a_process_that_comes_after_another_has_the_detector_that_was_swapped_in() -> None:
    [request] = requests_of(1)

    async def work() -> Any:
        nursery = Nursery()
        client = ServiceClient(nursery, {"edge": (options("mf"), PROBLEM)})
        await client.swap(options("ep"))
        nursery.born[-1].die()
        return await client.detect(*request), len(nursery.born)

    found, processes = play(work())
    np.testing.assert_array_equal(found, alone([request], "ep")[0])
    assert processes == 2


def test_a_request_that_kills_whoever_has_it_is_given_up_and_the_others_are_served() -> None:
    requests = requests_of(30)
    deadly = 11

    async def work() -> Any:
        nursery = Nursery(batch=4)
        nursery.poison = requests[deadly][0]
        client = ServiceClient(nursery, {"edge": (options("lmmse"), PROBLEM)})
        found = await asyncio.gather(*(client.detect(*each) for each in requests), return_exceptions=True)
        return found, client.restarts

    found, deaths = play(work())
    assert isinstance(found[deadly], DetectorError)
    assert f"{MOST_DEATHS} processes died while they worked on this request" in str(found[deadly])
    assert deaths == MOST_DEATHS
    for number, (logits, expected) in enumerate(zip(found, alone(requests), strict=True)):
        if number != deadly:
            np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_a_service_that_never_comes_up_is_an_error() -> None:
    async def work() -> None:
        nursery = Nursery()
        nursery.stillborn = True
        client = ServiceClient(nursery, {"edge": (options("lmmse"), PROBLEM)})
        with pytest.raises(RunFailedError, match="service edge: 3 processes died at once"):
            await client.detect(*requests_of(1)[0])

    play(work())


def test_a_call_that_kills_whoever_has_it_is_given_up() -> None:
    async def work() -> int:
        nursery = Nursery()
        nursery.kind = Deadly
        client = ServiceClient(nursery, {"edge": (options("lmmse"), PROBLEM)})
        with pytest.raises(RunFailedError, match=f"service edge: {MOST_DEATHS} processes died of one call"):
            await client.flops(1, 8, 4)
        return len(nursery.born)

    assert play(work()) == MOST_DEATHS


def test_without_a_cluster_there_is_nobody_to_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[Any] = []
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.kill", killed.append)

    async def work() -> None:
        client = ServiceClient(Nursery(), {"edge": (options("lmmse"), PROBLEM)})
        await client.ready()
        client.close()

    play(work())
    assert not killed


def test_back_pressure_is_a_wait_or_an_error() -> None:
    requests = requests_of(50)

    async def work() -> Any:
        nursery = Nursery(batch=2, deadline_s=0, capacity=3)
        client = ServiceClient(nursery, {"edge": (options("lmmse"), PROBLEM)}, outstanding=20)
        asking = [asyncio.ensure_future(client.detect(*each)) for each in requests]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await client.detect(*requests[0], wait=False)
        found = await asyncio.gather(*asking)
        return found, (await client.stats())["edge"]["refused"]

    found, refused = play(work())
    assert refused > 0  # the service's own bound was met, too
    for logits, expected in zip(found, alone(requests), strict=True):
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_services_for_a_role_that_waits_are_as_those_in_its_process() -> None:
    local = LocalServices({"a": options("mf"), "b": options("lmmse")}, PROBLEM)
    [request] = requests_of(1)

    def client(name: str, detector: str) -> ServiceClient:
        return ServiceClient(Nursery(batch=1), {name: (options(detector), PROBLEM)})

    remote = RemoteServices({"a": lambda: client("a", "mf"), "b": lambda: client("b", "lmmse")})
    for services in (local, remote):
        services.swap("a", options("zf"))
    for name in ("a", "b"):
        np.testing.assert_array_equal(remote.detect(name, *request), local.detect(name, *request))
        assert remote.flops(name, 7, 8, 2) == local.flops(name, 7, 8, 2)
    assert remote.fail("a")
    np.testing.assert_array_equal(remote.detect("a", *request), local.detect("a", *request))
    assert {name: each["restarts"] for name, each in remote.stats().items()} == {"a": 1, "b": 0}
    with pytest.raises(DetectorError, match="service: found 'c'; allowed: a, b"):
        remote.detect("c", *request)
    assert not remote.fail("c")
    remote.close()
