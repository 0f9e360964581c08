"""One training step of DMTSSL: a plain PyTorch loop, the inline engine, and the distributed network, in turns.

All three do the same mathematics on the default geometry (3 SBSs, 10 users, 4 subcarriers, batch 100) on one torch
thread per process. Beside wall time, CPU time counts every process of the run, Ray's own included. The messaging
share is the CPU time of a round trip of the same messages between two idle actors (see `messaging`), once for each
SBS, over the CPU time of a distributed step; what else that step takes more than the plain loop is processes in each
other's way.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.benchmarks.messaging import round_trips
from cellfree_sim.cpu_time import cpu_seconds
from cellfree_sim.threads import one_torch_thread

if TYPE_CHECKING:
    from cellfree_sim.scenario.schema import Scenario

POLICIES = ("dense", "set")


def run(quick: bool) -> list[dict[str, Any]]:
    """See `cellfree_sim.benchmarks`."""
    with one_torch_thread():
        return [row for policy in POLICIES for row in _compare(policy, *((5, 3) if quick else (15, 7)))]


def _scenario(policy: str, steps: int) -> Scenario:
    from cellfree_sim.scenario.schema import Scenario

    return Scenario.model_validate(
        {
            "name": f"bench-{policy}",
            "channel": {
                "model": "rayleigh",
                "realisations": {"train": 300, "validation": 1, "test": 1},
                "cache": False,
            },
            "downlink": {
                "policy": policy,
                "epochs": steps,
                "schedule": "constant",
                "validate_every_steps": 1_000_000,
                "references": [],
            },
            "placement": {"sbs": {"gpus": 0}},
        }
    )


def _compare(policy: str, steps: int, turns: int) -> list[dict[str, Any]]:
    from agents.engine import RayEngine
    from cellfree_sim.inline import InlineEngine
    from cellfree_sim.network import build_network

    scenario = _scenario(policy, steps * (turns + 1))
    inline = InlineEngine(scenario)
    inline.start(_nobody)
    with tempfile.TemporaryDirectory() as folder:
        name = f"bench-{os.getpid()}-{Path(folder).name}"
        ray_engine = RayEngine(scenario, build_network(scenario), address=None, run_name=name, note=_nobody)
        try:
            ray_engine.start(_nobody)
            sides: dict[str, Callable[[int], object]] = {
                "plain loop": PlainLoop(scenario).advance,
                "inline": lambda until: inline.advance(until, _nobody),
                "ray": lambda until: ray_engine.advance(until, _nobody),
            }
            wall: dict[str, list[float]] = {side: [] for side in sides}
            cpu: dict[str, list[float]] = {side: [] for side in sides}
            for turn in range(turns + 1):
                for side, advance in sides.items():
                    wall_s, cpu_s = _measured(partial(advance, (turn + 1) * steps))
                    if turn > 0:  # the first turn warms up
                        wall[side].append(1e3 * wall_s / steps)
                        cpu[side].append(1e3 * cpu_s / steps)
            _, _, messaging = round_trips(50, 3)
        finally:
            ray_engine.close()
    rows = []
    for kind, times in (("wall", wall), ("CPU", cpu)):
        for side, values in times.items():
            ratio = statistics.median(v / p for v, p in zip(values, times["plain loop"], strict=True))
            row = {"case": f"{policy}, {side}, {kind}", "value": statistics.median(values), "unit": "ms/step"}
            rows.append(row | {"ratio": ratio, "against": "plain loop", "spread": [min(values), max(values)]})
    stations = len(scenario.station_names)
    share = 100 * stations * statistics.median(messaging) / (1e-3 * statistics.median(cpu["ray"]))
    rows.append({"case": f"{policy}, ray, messaging share of CPU", "value": share, "unit": "%"})
    return rows


class PlainLoop:
    """Algorithm 2 in one autograd graph: no roles, no frames, no ledger."""

    def __init__(self, scenario: Scenario) -> None:
        import numpy as np
        import torch

        from cellfree_sim import seeds
        from cellfree_sim.channel import station_channels
        from cellfree_sim.downlink.objective import Objective
        from cellfree_sim.downlink.policy import PolicyShape
        from cellfree_sim.network import build_network

        self._scenario = scenario
        self._step = 0
        network = build_network(scenario)
        scale = np.float32(10 ** ((scenario.network.sbs.power_dbm - scenario.radio.noise_dbm) / 20))
        self._channels = [
            torch.from_numpy(station_channels(scenario, network, name, "train") * scale) for name in network.stations
        ]
        _, subcarriers, tx_antennas, users, rx_antennas = self._channels[0].shape
        shape = PolicyShape(subcarriers, tx_antennas, users, rx_antennas, len(self._channels), 0)
        build = scenario.downlink.policy.build
        self._policies = [build(shape, seeds.integer(scenario.seed, "policy", name)) for name in network.stations]
        self._optimisers = [
            torch.optim.Adam(policy.parameters(), scenario.downlink.learning_rate) for policy in self._policies
        ]
        self._objective = Objective(scenario.downlink.loss_scheme, scenario.network.users.min_rate_bps_hz)

    def advance(self, until: int) -> None:
        """Train until step `until`."""
        import torch

        from cellfree_sim import seeds
        from cellfree_sim.downlink.batching import draw_batch, take_batch

        downlink = self._scenario.downlink
        while self._step < until:
            self._step += 1
            seed = seeds.integer(self._scenario.seed, "batch", self._step)
            users = self._channels[0].shape[3]
            index = draw_batch(seed, len(self._channels[0]), users, downlink.batch, resample_users=True)
            batch = [take_batch(channel, index) for channel in self._channels]
            outputs = [policy(channel) for policy, channel in zip(self._policies, batch, strict=True)]
            loss = self._objective(
                torch.stack([output.beams for output in outputs], 1),
                torch.stack([output.allocation for output in outputs], 1),
                torch.stack([output.beta for output in outputs]).mean(0),
                torch.stack(batch, 1),
            )
            for optimiser in self._optimisers:
                optimiser.zero_grad()
            loss.joint.backward()  # type: ignore[no-untyped-call]
            for optimiser in self._optimisers:
                optimiser.step()


def _nobody(*_: object) -> None:
    """Listens to nothing."""


def _measured(work: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds of `work`, and CPU seconds of this process and all below it."""
    before, started = cpu_seconds(), time.perf_counter()
    work()
    return time.perf_counter() - started, cpu_seconds() - before
