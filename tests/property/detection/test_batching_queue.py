from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from cellfree_sim.detection.serving.queue import BatchingQueue
from cellfree_sim.scenario.uplink import Queue

TICKS = st.integers(0, 40)
Outcome = tuple[list[bool], list[tuple[list[int], float]]]
"""Which requests were taken, and the batches with the times at which they began."""


@st.composite
def loads(draw: st.DrawFn) -> tuple[Queue, list[int], list[int]]:
    """Options, arrivals and work of each request, all in whole seconds."""
    options = Queue(
        batch=draw(st.integers(1, 5)), deadline_s=float(draw(st.integers(0, 6))), capacity=draw(st.integers(1, 8))
    )
    arrivals = sorted(draw(st.lists(TICKS, max_size=25)))
    return options, arrivals, draw(st.lists(st.integers(0, 5), min_size=len(arrivals), max_size=len(arrivals)))


def by_the_clock(options: Queue, arrivals: list[int], work: list[int]) -> Outcome:
    """The same queue, second by second: what arrives comes first, then the server looks."""
    waiting: list[int] = []
    taken, batches, free = [], [], 0

    def serve(now: int) -> None:
        nonlocal free
        while waiting and now >= free:
            due = len(waiting) >= options.batch or now - arrivals[waiting[0]] >= options.deadline_s
            if not due:
                return
            batch = [waiting.pop(0) for _ in range(min(options.batch, len(waiting)))]
            batches.append((batch, now))
            free = now + sum(work[request] for request in batch)

    for now in range(400):
        for request in [index for index, at in enumerate(arrivals) if at == now]:
            taken.append(len(waiting) < options.capacity)
            if taken[-1]:
                waiting.append(request)
        serve(now)
    return taken, batches


def run(options: Queue, arrivals: list[int], work: list[int], looks: list[int]) -> Outcome:
    queue = BatchingQueue[int](options, lambda batch: float(sum(work[request] for request in batch)))
    taken, batches, left = [], [], sorted(looks)
    for request, at_s in enumerate(arrivals):
        while left and left[0] <= at_s:
            batches += queue.run(left.pop(0))
        taken.append(queue.offer(request, at_s))
    batches += queue.run(math.inf)
    return taken, [(batch.items, batch.begun_s) for batch in batches]


@settings(max_examples=150, deadline=None)
@given(loads())
def test_it_does_what_a_clock_would_see(load: tuple[Queue, list[int], list[int]]) -> None:
    options, arrivals, work = load
    assert run(options, arrivals, work, []) == by_the_clock(options, arrivals, work)


@settings(max_examples=100, deadline=None)
@given(loads(), st.lists(TICKS, max_size=6))
def test_looking_at_it_changes_nothing(load: tuple[Queue, list[int], list[int]], looks: list[int]) -> None:
    assert run(*load, looks) == run(*load, [])
