"""The distributed engine: a cluster, a controller on it, and every station a process of its own."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agents.cluster import Cluster, plain_errors
from agents.placement import demanded_cpus, plan_seats
from cellfree_sim.engine import ChannelProgress, Rows
from cellfree_sim.interrupts import deferred_interrupts
from cellfree_sim.network import build_network
from cellfree_sim.results.state import unpack_state

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cellfree_sim.scenario.schema import Scenario

STOP_TIMEOUT_S = 10.0
HOLD_TIMEOUT_S = 120.0
ROWS_WAIT_S = 0.5


class RayEngine:
    """Drives the controller; see `cellfree_sim.engine.Engine` for the methods."""

    name = "ray"

    def __init__(self, scenario: Scenario, *, address: str | None, run_name: str, note: Callable[[str], None]) -> None:
        self._scenario = scenario
        self._mbs_name = build_network(scenario).mbs
        self._note = note
        self._controller: Any = None
        cores = os.cpu_count() or 1
        wanted = -int(-demanded_cpus(scenario) // 1)
        self._cluster = Cluster(
            address=address, namespace=f"cellfree-{run_name}-{secrets.token_hex(4)}", cpus=max(cores, wanted)
        )
        try:
            self._seats = plan_seats(scenario, self._mbs_name, self._cluster.resources())
        except BaseException:
            self._cluster.close()
            raise
        if self._cluster.owned and wanted > cores:
            note(f"{wanted} logical CPUs on {cores} cores: stations take turns")
        if scenario.placement.sbs.gpus == "auto" and not any(seat.gpus for seat in self._seats):
            note("no GPU in the cluster: stations compute on CPUs")
        self._places: dict[str, str] = {}

    def start(self, on_channels: ChannelProgress) -> None:
        """See `Engine.start`."""
        import ray

        from agents.controller import NAME, Controller

        create: Any = ray.remote(Controller).options(
            name=NAME, namespace=self._cluster.namespace, num_cpus=0, max_concurrency=1000
        )
        strategy = self._scenario.placement.strategy
        self._controller = create.remote(self._scenario.model_dump_json(), strategy, self._cluster.namespace)
        with plain_errors():
            started = self._controller.start.remote(self._seats)
            while not ray.wait([started], timeout=0)[0]:
                for station, (done, total) in ray.get(self._controller.progress.remote()).items():
                    on_channels(station, done, total)
            self._places = ray.get(started)

    def advance(self, until: int, on_rows: Callable[[Rows], None]) -> int:
        """See `Engine.advance`."""
        import ray

        with plain_errors():
            reached = self._controller.advance.remote(until)
            try:
                while not ray.wait([reached], timeout=0)[0]:
                    on_rows(unpack_state(ray.get(self._controller.rows.remote(ROWS_WAIT_S))))
                step = int(ray.get(reached))
            except KeyboardInterrupt:
                with deferred_interrupts():
                    ray.get(self._controller.hold.remote(), timeout=HOLD_TIMEOUT_S)
                    ray.get(reached, timeout=HOLD_TIMEOUT_S)
                    on_rows(unpack_state(ray.get(self._controller.rows.remote(0.0))))
                raise
            on_rows(unpack_state(ray.get(self._controller.rows.remote(0.0))))
            return step

    def measure(self) -> Rows:
        """See `Engine.measure`."""
        self._ask("measure")
        return list(unpack_state(self._ask("rows", 0.0)))

    def measure_references(self, on_progress: Callable[[str, int, int], None]) -> None:
        """See `Engine.measure_references`."""
        self._ask("measure_references")

    def test_rates(self) -> dict[str, NDArray[np.float64]]:
        """See `Engine.test_rates`."""
        return dict(unpack_state(self._ask("test_rates")))

    def facts(self) -> dict[str, Any]:
        """See `Engine.facts`."""
        return dict(unpack_state(self._ask("facts")))

    def drain_ledgers(self) -> list[bytes]:
        """See `Engine.drain_ledgers`."""
        return list(self._ask("drain_ledgers").values())

    def states(self) -> dict[str, bytes]:
        """See `Engine.states`."""
        return dict(self._ask("states"))

    def load_states(self, states: Mapping[str, bytes]) -> None:
        """See `Engine.load_states`."""
        self._ask("load_states", dict(states))

    def recover(self, stations: Sequence[str], states: Mapping[str, bytes]) -> None:
        """See `Engine.recover`."""
        self._places |= self._ask("recover", list(stations), dict(states))

    def describe(self) -> dict[str, Any]:
        """See `Engine.describe`."""
        stations = []
        for seat in self._seats:
            pid, _, device = self._places.get(seat.station, "").partition(" ")
            stations.append({"name": seat.station, "cpus": seat.cpus, "gpus": seat.gpus, "pid": pid, "device": device})
        return {
            "engine": self.name,
            "address": self._cluster.address,
            "namespace": self._cluster.namespace,
            "stations": stations,
        }

    def reachable_at(self) -> dict[str, str]:
        """See `Engine.reachable_at`."""
        return {
            "address": self._cluster.address,
            "namespace": self._cluster.namespace,
            "token_path": os.environ.get("RAY_AUTH_TOKEN_PATH", ""),
        }

    def close(self) -> None:
        """See `Engine.close`."""
        if self._controller is not None:
            import ray
            from ray.exceptions import RayError

            try:
                ray.get(self._controller.stop.remote(), timeout=STOP_TIMEOUT_S)
                ray.kill(self._controller)
            except RayError as error:
                self._note(f"the controller did not stop in an orderly way: {type(error).__name__}")
            self._controller = None
        self._cluster.close()

    def _ask(self, method: str, *arguments: Any) -> Any:
        import ray

        with plain_errors():
            return ray.get(getattr(self._controller, method).remote(*arguments))
