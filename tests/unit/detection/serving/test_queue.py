from __future__ import annotations

import math
from typing import Any

import pytest

from cellfree_sim.detection.serving.queue import BatchingQueue
from cellfree_sim.scenario.uplink import Queue


def queue(work_s: float = 0.0, **options: Any) -> BatchingQueue[str]:
    return BatchingQueue(Queue(**options), lambda batch: work_s * len(batch))


def offered(into: BatchingQueue[str], arrivals: str, at_s: list[float]) -> list[bool]:
    return [into.offer(name, time_s) for name, time_s in zip(arrivals, at_s, strict=True)]


def told(of: BatchingQueue[str], until_s: float = math.inf) -> list[tuple[str, float, float]]:
    return [("".join(batch.items), batch.begun_s, batch.ended_s) for batch in of.run(until_s)]


def test_a_full_batch_does_not_wait() -> None:
    requests = queue(batch=3, deadline_s=10)
    offered(requests, "abcd", [0, 1, 2, 3])
    assert told(requests) == [("abc", 2, 2), ("d", 13, 13)]


def test_the_oldest_waits_for_its_deadline_and_no_longer() -> None:
    requests = queue(batch=9, deadline_s=2)
    offered(requests, "abc", [0, 1.5, 2.5])
    assert told(requests) == [("ab", 2, 2), ("c", 4.5, 4.5)]


def test_no_deadline_means_at_once() -> None:
    requests = queue(batch=9, deadline_s=0)
    offered(requests, "abb", [0, 1, 1])
    assert told(requests) == [("a", 0, 0), ("bb", 1, 1)]


def test_while_the_server_is_busy_the_next_batch_grows() -> None:
    requests = queue(batch=4, deadline_s=1, work_s=5)
    offered(requests, "abcdef", [0, 2, 3, 4, 5, 5.5])
    assert told(requests) == [("a", 1, 6), ("bcde", 6, 26), ("f", 26, 31)]


def test_what_finds_it_full_is_refused_and_the_others_are_served() -> None:
    requests = queue(batch=2, deadline_s=1, capacity=2, work_s=10)
    assert offered(requests, "abcdef", [0, 0, 1, 1, 1, 30]) == [True, True, True, True, False, True]
    assert told(requests) == [("ab", 0, 20), ("cd", 20, 40), ("f", 40, 50)]


def test_only_what_begins_before_the_time_is_formed() -> None:
    requests = queue(batch=9, deadline_s=1)
    offered(requests, "a", [0])
    assert told(requests, until_s=1.0) == []  # another may still arrive at 1.0, and go with it
    offered(requests, "b", [1.0])
    assert told(requests, until_s=1.5) == [("ab", 1, 1)]


@pytest.mark.parametrize("cut", range(6))
def test_a_queue_goes_on_where_its_state_was_taken(cut: int) -> None:
    arrivals = [("a", 0.0), ("b", 0.3), ("c", 0.9), ("d", 1.0), ("e", 5.0)]
    whole, first, second = (queue(batch=2, deadline_s=0.5, work_s=0.4) for _ in range(3))
    for name, at_s in arrivals:
        whole.offer(name, at_s)
    for name, at_s in arrivals[:cut]:
        first.offer(name, at_s)
    before = told(first, arrivals[cut][1] if cut < len(arrivals) else math.inf)
    second.restore(**first.state())
    for name, at_s in arrivals[cut:]:
        second.offer(name, at_s)
    assert before + told(second) == told(whole)
