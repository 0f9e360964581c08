"""The distributed engine: a cluster, a controller on it, and every station a process of its own."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from agents.cluster import Cluster, plain_errors
from agents.exporter import endpoints
from agents.placement import cluster_nodes, find_seat, find_seats, remove_groups
from agents.seats import local_cpus
from agents.station import write_network
from cellfree_sim.engine import CONTROLLER, Barrier, ChannelProgress, Rows, never
from cellfree_sim.errors import NotRestartedError, ResourceShortError, RunFailedError, StationLostError
from cellfree_sim.interrupts import deferred_interrupts
from cellfree_sim.results.state import unpack_state

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cellfree_sim.network import Network
    from cellfree_sim.scenario.schema import Scenario

STOP_TIMEOUT_S = 10.0
ROWS_WAIT_S = 0.5
SILENCE_CHECK_S = 1.0


class RayEngine:
    """Drives the controller; see `cellfree_sim.engine.Engine` for the methods."""

    name = "ray"

    def __init__(
        self, scenario: Scenario, network: Network, *, address: str | None, run_name: str, note: Callable[[str], None]
    ) -> None:
        self._scenario = scenario
        self._network = network
        self._note = note
        self._controller: Any = None
        self._preparing: dict[str, Any] = {}
        self._places: dict[str, str] = {}
        cores = os.cpu_count() or 1
        cpus = local_cpus(scenario, len(network.members), cores)
        self._run_name = run_name
        self._namespace = _new_namespace(run_name)
        metrics_port = scenario.placement.metrics_port
        self._cluster = Cluster(address=address, namespace=self._namespace, cpus=cpus, metrics_port=metrics_port)
        self._metrics_at = endpoints()
        try:
            seats = find_seats(scenario, network.mbs, network.members)
        except BaseException:
            self._cluster.close()
            raise
        if self._cluster.note:
            note(self._cluster.note)
        if metrics_port is not None:
            ignored = "" if self._cluster.owned else "placement.metrics_port is ignored, the cluster was there before; "
            note(f"{ignored}metrics for Prometheus: {', '.join(self._metrics_at) or 'none'}")
        self._seats = {seat.station: seat for seat in seats}
        wanted = sum(seat.cpus for seat in seats)
        if self._cluster.owned and wanted > cores:
            note(f"{wanted:g} logical CPUs on {cores} cores: stations take turns")
        for reason in sorted({seat.reason for seat in seats if seat.reason}):
            note(f"{reason}: stations compute on CPUs")

    def start(self, on_channels: ChannelProgress) -> None:
        """See `Engine.start`."""
        import ray

        self._spawn_controller()
        with self._plain_errors():
            started = self._controller.start.remote(list(self._seats.values()), admit=True)
            while not ray.wait([started], timeout=0)[0]:
                for station, (done, total) in ray.get(self._controller.progress.remote()).items():
                    on_channels(station, done, total)
            self._places = ray.get(started)

    def advance(self, until: int, on_rows: Callable[[Rows], None], should_hold: Callable[[], bool] = never) -> int:
        """See `Engine.advance`."""
        import ray

        held, looked_at = False, time.monotonic()
        with self._plain_errors(), deferred_interrupts() as interrupted:
            try:
                reached = self._controller.advance.remote(until)
                while not ray.wait([reached], timeout=0)[0]:
                    on_rows(self._rows(ROWS_WAIT_S))
                    if not held and (interrupted() or should_hold()):
                        held = True
                        ray.get(self._controller.hold.remote())
                    if time.monotonic() - looked_at > SILENCE_CHECK_S:
                        looked_at = time.monotonic()
                        self._end_silent()
                step = int(ray.get(reached))
                on_rows(self._rows(0.0))
            finally:
                if interrupted():
                    raise KeyboardInterrupt  # also where a station died meanwhile, which is missed when it is saved
        return step

    def validate(self) -> Rows:
        """See `Engine.validate`."""
        self._ask("validate")
        return self._rows(0.0)

    def measure(self) -> Rows:
        """See `Engine.measure`."""
        self._ask("measure")
        return self._rows(0.0)

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

    def recover(self, stations: Sequence[str], states: Mapping[str, bytes], network: Network) -> None:
        """See `Engine.recover`."""
        self._network = network
        self._preparing.clear()
        for name in [name for name in self._seats if name not in states]:
            del self._seats[name]
        returning, seatless = [name for name in stations if name in states], set[str]()
        if CONTROLLER in stations:  # whose death is the death of all stations
            self._replace_controller()
            returning = list(states)
            seatless = set(returning)
        homeless = self._homeless(returning)
        within_s = self._scenario.restart_timeout_s
        until = time.monotonic() + within_s
        while True:
            self._seat_anew(homeless, seatless - homeless)
            seatless |= homeless
            seats = [self._seats[name] for name in returning if name in seatless]
            try:
                self._places |= self._ask("recover", returning, seats, dict(states), write_network(network), within_s)
            except ResourceShortError as error:  # the cluster is not as Ray had it when the seats were planned
                if time.monotonic() > until:
                    raise NotRestartedError(error.stations, str(error)) from error
                homeless = seatless
            else:
                return

    def prepare(self, network: Network, name: str) -> None:
        """See `Engine.prepare`."""
        seat = find_seat(self._scenario, name, list(self._seats.values()))
        if seat.reason and any(other.gpus for other in self._seats.values()):
            self._note(f"{name}: {seat.reason}: it computes on CPUs")
        self._seats[name] = seat
        self._preparing[name] = self._controller.prepare.remote(seat, write_network(network))

    def prepared(self, name: str, *, wait: bool) -> bool:
        """See `Engine.prepared`."""
        import ray

        place = self._preparing.get(name)
        if place is None:
            return name in self._places
        limit_s = self._scenario.restart_timeout_s
        if not ray.wait([place], timeout=limit_s if wait else 0)[0]:
            if wait:
                raise RunFailedError(f"{name} is not ready after {limit_s:g} s")
            return False
        if not wait:
            return True  # well or not, which is told to who waits for it
        try:
            with self._plain_errors():
                self._places[name] = ray.get(place)
        except StationLostError as lost:
            if CONTROLLER in lost.stations:
                raise
            raise RunFailedError(str(lost)) from lost
        del self._preparing[name]
        return True

    def transfer(self, donor: str, receiver: str) -> tuple[int, int]:
        """See `Engine.transfer`."""
        model_bytes, frame_bytes = self._ask("transfer", donor, receiver)
        return model_bytes, frame_bytes

    def reconfigure(self, network: Network, step: int) -> None:
        """See `Engine.reconfigure`."""
        self._network = network
        self._ask("reconfigure", write_network(network), step)

    def clock(self, station: str) -> float:
        """See `Engine.clock`."""
        return float(self._ask("clock", station))

    def farewell(self, station: str) -> None:
        """See `Engine.farewell`."""
        self._ask("farewell", station)

    def release(self, station: str) -> None:
        """See `Engine.release`."""
        self._ask("release", station)
        self._preparing.pop(station, None)
        for table in (self._seats, self._places):
            table.pop(station, None)

    def fail(self, station: str, barrier: Barrier) -> None:
        """See `Engine.fail`."""
        self._ask("fail", station, barrier)

    def requests(self) -> list[tuple[int, dict[str, Any]]]:
        """See `Engine.requests`."""
        return list(self._ask("requests"))

    def answer(self, number: int, reply: Mapping[str, Any]) -> None:
        """See `Engine.answer`."""
        self._ask("answer", number, dict(reply))

    def refuse(self, reason: str) -> None:
        """See `Engine.refuse`."""
        self._ask("refuse", reason)

    def tell(self, progress: Mapping[str, Any]) -> None:
        """See `Engine.tell`."""
        if self._controller is not None:
            with suppress(Exception):  # Ray has many names for a cluster that is gone, which is noticed elsewhere
                self._controller.tell.remote(dict(progress))

    def describe(self) -> dict[str, Any]:
        """See `Engine.describe`."""
        stations = []
        for seat in list(self._seats.values()):  # who tells of the run asks from another thread
            pid, _, device = self._places.get(seat.station, "").partition(" ")
            where = {"node": seat.node_name, "cpus": seat.cpus, "gpus": seat.gpus, "pid": pid, "device": device}
            stations.append({"name": seat.station, **where})
        return {
            "engine": self.name,
            "address": self._cluster.address,
            "namespace": self._namespace,
            "metrics": self._metrics_at,
            "stations": stations,
        }

    def places(self) -> dict[str, str]:
        """Process id and device of each station, as "pid device"."""
        return dict(self._places)

    def homes(self) -> dict[str, tuple[Any, list[str]]]:
        """Placement group of each station, and the ids of its GPUs, while it does not train."""
        return dict(self._ask("homes"))

    def controller_pid(self) -> int:
        """Process id of the controller."""
        return int(self._ask("pid"))

    def reachable_at(self) -> dict[str, str]:
        """See `Engine.reachable_at`."""
        return {
            "address": self._cluster.address,
            "namespace": self._namespace,
            "token_path": os.environ.get("RAY_AUTH_TOKEN_PATH", ""),
        }

    def close(self) -> None:
        """See `Engine.close`."""
        if self._controller is not None:
            import ray

            # Ray raises bare exceptions where the cluster itself is gone
            try:
                ray.get(self._controller.stop.remote(), timeout=STOP_TIMEOUT_S)
            except Exception as error:
                self._note(f"the controller did not stop in an orderly way: {type(error).__name__}")
            with suppress(Exception):
                ray.kill(self._controller)
                remove_groups(self._namespace)
            self._controller = None
        self._cluster.close()

    def _spawn_controller(self) -> None:
        """A controller beside this process: where the driver is lost, the run is lost anyway."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from agents.controller import NAME, Controller

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        create: Any = ray.remote(Controller).options(
            name=NAME,
            namespace=self._namespace,
            num_cpus=0,
            max_concurrency=1000,
            scheduling_strategy=here,
        )
        self._controller = create.remote(
            self._scenario.model_dump_json(),
            write_network(self._network),
            self._namespace,
            self._scenario.barrier_timeout_s,
            self._run_name if self._metrics_at else None,
        )

    def _replace_controller(self) -> None:
        """Another controller, where the one before is gone; nothing is left of its stations."""
        import ray

        with suppress(Exception):  # Ray has many names for what is gone
            ray.kill(self._controller)
        remove_groups(self._namespace)
        self._namespace = _new_namespace(self._run_name)  # Ray still knows the name of the dead in the old one
        self._spawn_controller()

    def _homeless(self, stations: Collection[str]) -> set[str]:
        """Those of `stations` whose node is gone: they need new seats."""
        alive = {node.id for node in cluster_nodes(trust=False) if node.alive}
        homeless = {name for name in stations if self._seats[name].node not in alive}
        for name in sorted(homeless):
            self._note(f"{name}: its node {self._seats[name].node_name} left the cluster")
        return homeless

    def _seat_anew(self, names: Collection[str], unreserved: Collection[str]) -> None:
        """New seats for the stations called `names`, beside the others, of which Ray does not know those `unreserved`.

        Raises:
            NotRestartedError: there is no room for some of them.
        """
        seats = {name: seat for name, seat in self._seats.items() if name not in names}
        without: list[str] = []
        reason = ""
        planned = [self._seats[name] for name in unreserved]
        for name in sorted(
            names, key=lambda name: (name != self._network.mbs, name)
        ):  # without the MBS nothing goes on
            try:
                seats[name] = find_seat(self._scenario, name, list(seats.values()), planned=planned)
                planned.append(seats[name])
            except ResourceShortError as error:
                without.append(name)
                reason = str(error)
        if without:
            raise NotRestartedError(tuple(without), reason)
        self._seats |= seats

    def _rows(self, wait_s: float) -> Rows:
        return list(unpack_state(self._ask("rows", wait_s)))

    def _end_silent(self) -> None:
        import ray

        for name in ray.get(self._controller.end_silent.remote()):
            self._note(f"{name} has been silent for {self._scenario.barrier_timeout_s:g} s; its process is ended")

    def _ask(self, method: str, *arguments: Any) -> Any:
        import ray

        with self._plain_errors():
            answer = getattr(self._controller, method).remote(*arguments)
            while not ray.wait([answer], timeout=SILENCE_CHECK_S)[0]:
                self._end_silent()
            return ray.get(answer)

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """As `plain_errors`, where a dead actor can only be the controller."""
        from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

        with plain_errors():
            try:
                yield
            except RayTaskError:
                raise
            except (RayActorError, OutOfMemoryError) as error:
                raise StationLostError((CONTROLLER,), "died, and all stations with it") from error


def _new_namespace(run_name: str) -> str:
    return f"cellfree-{run_name}-{secrets.token_hex(4)}"
