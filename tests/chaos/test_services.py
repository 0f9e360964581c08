"""kill -9 of an edge service under load: every request has one answer, the right one."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from typing import Any

import numpy as np
import pytest

from agents.service_client import ServiceClient
from cellfree_sim.benchmarks.services import different_requests
from cellfree_sim.detection import create_detector
from cellfree_sim.detection.serving.service import DetectionService
from cellfree_sim.scenario.uplink import Queue
from cellfree_sim.uplink import MimoProblem

KILLS = 3
PROBLEM = MimoProblem(n_rx=16, n_tx=16, constellation="qpsk")


@pytest.mark.slow
def test_three_kills_lose_no_request_and_answer_none_twice(cluster: Any) -> None:
    requests = different_requests()[:16]
    answers: list[list[Any]] = []

    async def work() -> ServiceClient:
        dice = random.Random(2)
        edge = ServiceClient.launch("lmmse", PROBLEM, queue=Queue(batch=4), outstanding=16)
        over = False

        async def ask() -> None:
            while not over:
                answers.append([])
                number = len(answers) - 1
                answers[number].append(await edge.detect(*requests[number % len(requests)]))

        asking = [asyncio.ensure_future(ask()) for _ in range(16)]
        for _ in range(KILLS):
            process = int((await edge.ready()).split()[0])
            until = edge.answered + dice.randrange(1, 40)
            while edge.answered < until and not any(each.done() for each in asking):
                await asyncio.sleep(0.001 * dice.random())
            os.kill(process, signal.SIGKILL)
        await edge.ready()
        over = True
        await asyncio.gather(*asking)
        edge.close()
        return edge

    edge = asyncio.run(asyncio.wait_for(work(), 240))
    assert edge.restarts == KILLS
    assert edge.resent > 0
    assert [len(each) for each in answers] == [1] * len(answers)
    assert edge.answered == len(answers)
    service = DetectionService("alone", create_detector("lmmse", PROBLEM).options, PROBLEM)
    expected = [service.detect(*request) for request in requests]
    for number, [logits] in enumerate(answers):
        np.testing.assert_allclose(logits, expected[number % len(requests)], rtol=1e-3, atol=1e-3)
