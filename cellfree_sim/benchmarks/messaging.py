"""Round trips between two actors: raw Ray calls, and the backhaul path, with the same bytes, in turns.

Up go 405 kB (channels and outputs of a batch of 100), down 150 kB (gradients). The raw side moves byte strings of equal
length; the backhaul side encodes, enters in the books, bundles, decodes and checks on top.
"""

from __future__ import annotations

import os
import statistics
from typing import Any

import numpy as np

from cellfree_sim.backhaul.bundle import Bundle
from cellfree_sim.backhaul.messages import ChannelReport, LossFeedback, PolicyOutput
from cellfree_sim.backhaul.port import Port
from cellfree_sim.memory import keep_freed_memory

RUN = "bench"
S, N, T, USERS, R = 100, 4, 4, 10, 2


def run(quick: bool) -> list[dict[str, Any]]:
    """See `cellfree_sim.benchmarks`."""
    from agents.cluster import Cluster

    cluster = Cluster(address=None, namespace=f"bench-{os.getpid()}", cpus=2)
    try:
        raw, path, cpu = round_trips(*((50, 5) if quick else (200, 11)))
    finally:
        cluster.close()
    share = statistics.median(r / p for r, p in zip(raw, path, strict=True))
    return [
        {"case": "raw Ray round trip", "value": 1e3 * statistics.median(raw), "unit": "ms"},
        {
            "case": "backhaul round trip",
            "value": 1e3 * statistics.median(path),
            "unit": "ms",
            "ratio": share,
            "against": "throughput of raw Ray",
        },
        {"case": "backhaul round trip, CPU of all processes", "value": 1e3 * statistics.median(cpu), "unit": "ms"},
    ]


def round_trips(calls: int, turns: int) -> tuple[list[float], list[float], list[float]]:
    """Seconds of a raw round trip, of one over the backhaul, and CPU seconds of the latter, turn by turn.

    Ray must be initialised.
    """
    import ray

    from cellfree_sim.cpu_time import cpu_seconds

    server: Any = ray.remote(Server).options(num_cpus=0).remote()
    client: Any = ray.remote(Client).options(num_cpus=0).remote(server)
    ray.get(client.raw.remote(10))
    ray.get(client.backhaul.remote(10))
    raw, path, cpu = [], [], []
    for _ in range(turns):
        raw.append(ray.get(client.raw.remote(calls)))
        before = cpu_seconds()
        path.append(ray.get(client.backhaul.remote(calls)))
        cpu.append((cpu_seconds() - before) / calls)
    ray.kill(client)
    ray.kill(server)
    return raw, path, cpu


def _uploads() -> list[ChannelReport | PolicyOutput]:
    rng = np.random.default_rng(1)
    channel = rng.standard_normal((S, N, T, USERS, 2 * R), np.float32).view(np.complex64)
    beams = rng.standard_normal((S, N, T, 2 * USERS), np.float32).view(np.complex64)
    allocation = rng.random((S, N, USERS), np.float32)
    return [ChannelReport(channel=channel), PolicyOutput(beams, allocation, np.zeros((S, 14), np.float32))]


def _feedback() -> LossFeedback:
    _, outputs = _uploads()
    assert isinstance(outputs, PolicyOutput)
    none = np.zeros(0, np.complex64), np.zeros(0, np.complex64), np.zeros(0, np.float32), np.zeros(0, np.float32)
    gradients = outputs.beams, outputs.allocation, outputs.beta
    return LossFeedback(0.0, 1, False, np.zeros(14, np.float32), *gradients, *none)


class Server:
    """Answers as an MBS does, without computing."""

    def __init__(self) -> None:
        keep_freed_memory()
        self._port = Port("mbs", RUN, {"sbs-0": ("mbs", "sbs-0")})
        self._feedback = _feedback()
        self._raw = self.exchange(Client.upload(Port("sbs-0", RUN, {"mbs": ("sbs-0", "mbs")}), _uploads()))

    def exchange(self, bundle: bytes) -> bytes:
        """Decode the uploads, encode a feedback."""
        for frame, _ in Bundle.unpack(bundle):
            self._port.receive(frame)
        answer = Bundle()
        answer.add(self._port.send(self._feedback, "sbs-0", phase="training", step=0, now_s=0.0))
        self._port.ledger.drain()
        return answer.pack()

    def echo(self, bundle: bytes) -> bytes:
        """Bytes of an answer's length."""
        return self._raw


class Client:
    """Calls as an SBS does, without computing."""

    def __init__(self, server: Any) -> None:
        keep_freed_memory()
        self._server = server
        self._port = Port("sbs-0", RUN, {"mbs": ("sbs-0", "mbs")})
        self._uploads = _uploads()
        self._raw = self.upload(self._port, self._uploads)

    @staticmethod
    def upload(port: Port, messages: list[ChannelReport | PolicyOutput]) -> bytes:
        """One round's bundle."""
        bundle = Bundle()
        for message in messages:
            bundle.add(port.send(message, "mbs", phase="training", step=0, now_s=0.0))
        return bundle.pack()

    def raw(self, calls: int) -> float:
        """Seconds per raw call."""
        import time

        import ray

        started = time.perf_counter()
        for _ in range(calls):
            ray.get(self._server.echo.remote(self._raw))
        return (time.perf_counter() - started) / calls

    def backhaul(self, calls: int) -> float:
        """Seconds per call through ports and books."""
        import time

        import ray

        started = time.perf_counter()
        for _ in range(calls):
            answer = ray.get(self._server.exchange.remote(self.upload(self._port, self._uploads)))
            for frame, _ in Bundle.unpack(answer):
                self._port.receive(frame)
            self._port.ledger.drain()
        return (time.perf_counter() - started) / calls
