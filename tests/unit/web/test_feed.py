"""What pages are told, by a clock that only the test moves."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fake_watched import FakeRun

from cellfree_sim.errors import CellfreeError
from cellfree_sim.results.runs import RunStatus
from cellfree_sim.web.feed import Feed


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)


def parts(event: str) -> dict[str, Any]:
    kind, data = event.removesuffix("\n\n").split("\n")
    assert kind == "event: state"
    told: dict[str, Any] = json.loads(data.removeprefix("data: "))["parts"]
    return told


async def test_a_page_hears_at_least_twice_a_second() -> None:
    clock = Clock()
    feed = Feed(FakeRun(), clock.sleep)
    events = feed.events()
    heard = 0
    while clock.now_s < 10:
        await anext(events)
        heard += 1
    assert heard >= 20
    await events.aclose()
    assert feed.pages == 0


async def test_a_page_gets_all_of_it_and_then_what_is_new() -> None:
    run = FakeRun()
    feed = Feed(run, Clock().sleep)
    await feed.ask()
    first, late = feed.events(), feed.events()
    told = parts(await anext(first))
    assert told["step"] == 5
    assert told["area_m"] == [100.0, 100.0]
    assert set(told) >= set(run.status().as_dict())
    await feed.ask()
    told = parts(await anext(first))
    assert told["step"] == 15
    assert told["curves"]["training"]["step"] == [5, 10, 15]
    assert not set(told) & {"area_m", "users", "run", "steps"}
    assert parts(await anext(first)) == {}
    assert parts(await anext(late))["area_m"] == [100.0, 100.0]
    assert feed.pages == 2
    await first.aclose()
    await late.aclose()


async def test_nobody_is_asked_while_nobody_looks() -> None:
    run, clock = FakeRun(), Clock()
    feed = Feed(run, clock.sleep)
    asking = asyncio.create_task(feed.keep_asking())
    while clock.now_s < 5:
        await asyncio.sleep(0)
    assert run.step == 0
    feed.close()
    await asking


async def test_a_run_that_cannot_be_read_leaves_its_last_state() -> None:
    class Unreadable(FakeRun):
        broken: Exception | None = None

        def status(self) -> RunStatus:
            if self.broken is not None:
                raise self.broken
            return super().status()

    run = Unreadable()
    feed = Feed(run, Clock().sleep)
    events = feed.events()
    for broken in (None, CellfreeError("its folder is gone"), ValueError(), None):
        run.broken = broken
        await feed.ask()
        told = parts(await anext(events))
        expected = None if broken is None else str(broken) or "ValueError"
        assert told["problem"] == expected
        assert ("step" in told) == (broken is None)
    await events.aclose()


async def test_events_come_in_words_and_numbers_that_json_lacks_do_not() -> None:
    run = FakeRun(sum_rate=float("nan"), events=({"event": "drop", "at_step": 3, "stations": ["a"], "reason": "why"},))
    feed = Feed(run, Clock().sleep)
    events = feed.events()
    await feed.ask()
    told = parts(await anext(events))
    assert told["sum_rate"] is None
    assert told["events"][0]["words"] == ["failed, dropped", "a", "went on without: why"]
    await events.aclose()


async def test_memory_does_not_grow_with_the_run() -> None:
    run = FakeRun()
    feed = Feed(run, Clock().sleep)
    for _ in range(3):
        await feed.ask()
    keys = len(feed._parts)
    for _ in range(300):
        await feed.ask()
    assert len(feed._parts) == keys
    curves = json.loads(feed._parts["curves"][1])
    assert len(curves["training"]["step"]) == 240


async def test_all_pages_hear_of_an_order_while_it_is_carried_out() -> None:
    feed = Feed(FakeRun(), Clock().sleep)
    events = feed.events()
    with feed.order({"order": "inject", "position_m": [1, 2]}):
        (order,) = parts(await anext(events))["orders"]
        assert (order["order"], order["position_m"]) == ("inject", [1, 2])
    assert parts(await anext(events))["orders"] == []
    feed.close()
    assert (await anext(events)).startswith("event: goodbye")
    assert [event async for event in events] == []
