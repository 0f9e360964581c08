"""An edge service under load: requests of 100 kB each, with and without batches; its memory; and what kills do to it.

A request is 48 slots at 16 antennas with 16 users (QPSK, LMMSE), each with a channel of its own. All requests come from
one process; the service is another one. Rates need two free cores; beside them stands the CPU time of all processes,
which depends less on what else the machine does. Batches on and off take turns.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from cellfree_sim.cpu_time import cpu_seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agents.service_client import ServiceClient

SLOTS, ANTENNAS, USERS = 48, 16, 16
BATCH, DEADLINE_S = 16, 5e-3
OUTSTANDING = 64
DIFFERENT = 64
MOST_BETWEEN_KILLS = 400

Request = tuple[Any, Any, Any]


def run(quick: bool) -> list[dict[str, Any]]:
    """See `cellfree_sim.benchmarks`."""
    from agents.cluster import Cluster

    requests = different_requests()
    cluster = Cluster(address=None, namespace=f"bench-{os.getpid()}", cpus=2)
    try:
        rows = asyncio.run(_rates(requests, *((1_000, 3) if quick else (4_000, 7))))
        rows += asyncio.run(_memory(requests, 4_000 if quick else 100_000))
        rows += asyncio.run(_kills(requests, 2 if quick else 20))
    finally:
        cluster.close()
    return sorted(rows, key=lambda row: "ratio" not in row)


def different_requests() -> list[Request]:
    """`DIFFERENT` requests of about 100 kB, as arrays of their own."""
    import torch

    generator = torch.Generator().manual_seed(1)
    slots = [_problem().sample(SLOTS, 12.0, generator=generator) for _ in range(DIFFERENT)]
    return [(each.y.numpy(), each.h.numpy(), each.noise_variance.numpy()) for each in slots]


async def load(edge: ServiceClient, requests: list[Request], count: int) -> list[NDArray[np.float32]]:
    """Send `count` requests, `OUTSTANDING` at a time; the last answer to each different one."""
    last: list[Any] = [None] * len(requests)
    numbers = iter(range(count))

    async def one_after_the_other() -> None:
        for number in numbers:
            which = number % len(requests)
            last[which] = await edge.detect(*requests[which])

    await asyncio.gather(*(one_after_the_other() for _ in range(OUTSTANDING)))
    return last


def _problem() -> Any:
    from cellfree_sim.uplink import MimoProblem

    return MimoProblem(n_rx=ANTENNAS, n_tx=USERS, constellation="qpsk")


def _service(batch: int) -> ServiceClient:
    from agents.service_client import ServiceClient
    from cellfree_sim.scenario.uplink import Queue

    queue = Queue(batch=batch, deadline_s=DEADLINE_S)
    return ServiceClient.launch("lmmse", _problem(), queue=queue, outstanding=OUTSTANDING)


async def _rates(requests: list[Request], count: int, turns: int) -> list[dict[str, Any]]:
    services = {BATCH: _service(BATCH), 1: _service(1)}
    rates: dict[int, list[float]] = {batch: [] for batch in services}
    cpu: dict[int, list[float]] = {batch: [] for batch in services}
    for edge in services.values():
        await load(edge, requests, 5 * OUTSTANDING)
    for _ in range(turns):
        for batch, edge in services.items():
            before, started = cpu_seconds(), time.perf_counter()
            await load(edge, requests, count)
            rates[batch].append(count / (time.perf_counter() - started))
            cpu[batch].append((cpu_seconds() - before) / count)
    stats = (await services[BATCH].stats())["edge"]
    for edge in services.values():
        edge.close()
    gain = statistics.median(on / off for on, off in zip(rates[BATCH], rates[1], strict=True))
    saved = statistics.median(off / on for on, off in zip(cpu[BATCH], cpu[1], strict=True))
    size = sum(each.nbytes for each in requests[0]) / 1e3
    return [
        {
            "case": f"requests of {size:.0f} kB, batches of up to {BATCH}",
            "value": statistics.median(rates[BATCH]),
            "unit": "1/s",
            "ratio": gain,
            "against": "batches of 1",
        },
        {"case": "best turn of these", "value": max(rates[BATCH]), "unit": "1/s"},
        {
            "case": "CPU of all processes for a request",
            "value": 1e3 * statistics.median(cpu[BATCH]),
            "unit": "ms",
            "ratio": saved,
            "against": "requests per CPU-second with batches of 1",
        },
        {"case": "mean batch", "value": stats["requests"] / stats["batches"], "unit": "requests"},
        {"case": "median time in the queue", "value": stats["queue_ms"]["p50"], "unit": "ms"},
        {"case": "median time of a batch", "value": stats["compute_ms"]["p50"], "unit": "ms"},
    ]


async def _memory(requests: list[Request], count: int) -> list[dict[str, Any]]:
    """Resident memory of both processes after a tenth of the requests, and how much of it is more after all."""
    edge = _service(BATCH)
    processes = [psutil.Process(), psutil.Process(int((await edge.ready()).split()[0]))]
    await load(edge, requests, count // 10)
    before = [process.memory_info().rss for process in processes]
    await load(edge, requests, count - count // 10)
    after = [process.memory_info().rss for process in processes]
    edge.close()
    return [
        {
            "case": f"memory of the {name} after {count} requests",
            "value": late / 2**20,
            "unit": "MiB",
            "ratio": late / early,
            "against": "after a tenth of them",
        }
        for name, early, late in zip(("client", "service"), before, after, strict=True)
    ]


async def _kills(requests: list[Request], kills: int) -> list[dict[str, Any]]:
    """Requests without a pause while the process is killed at random moments; every answer is looked at."""
    dice = random.Random(1)
    edge = _service(BATCH)
    answers = [[0, 0] for _ in requests]  # right and wrong ones to each different request
    expected = [each.argmax(axis=-1) for each in await load(edge, requests, len(requests))]
    sent = ended = 0
    over = False

    async def ask() -> None:
        nonlocal sent, ended
        while not over:
            which = sent % len(requests)
            sent += 1
            found = await edge.detect(*requests[which])
            answers[which][int((found.argmax(axis=-1) != expected[which]).any())] += 1
            ended += 1

    asking = [asyncio.ensure_future(ask()) for _ in range(OUTSTANDING)]
    for _ in range(kills):
        process = int((await edge.ready()).split()[0])
        until = ended + dice.randrange(1, MOST_BETWEEN_KILLS)
        while ended < until and not any(each.done() for each in asking):  # none ends but by an error
            await asyncio.sleep(dice.random() * DEADLINE_S)
        os.kill(process, signal.SIGKILL)
    await edge.ready()
    over = True
    await asyncio.gather(*asking)
    counted, wrong = sum(map(sum, answers)), sum(each[1] for each in answers)
    edge.close()
    return [
        {"case": f"requests under {edge.restarts} kills", "value": sent, "unit": "requests"},
        {"case": "of these sent again", "value": edge.resent, "unit": "requests"},
        {"case": "of these lost", "value": sent - ended, "unit": "requests"},
        {"case": "of these answered twice", "value": edge.answered - len(requests) - counted, "unit": "requests"},
        {"case": "of these answered wrongly", "value": wrong, "unit": "requests"},
    ]
