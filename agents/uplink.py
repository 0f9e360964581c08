"""The uplink of a run on Ray: groups, receivers and fusion are actors, and hand bundles to each other by reference.

    for each window      users-0 … ── bundle per station ──► receiver of each station ── upload ──► fusion
                         receiver of each station ◄── bundle per station ── fusion ── rows ──► this process

This process says what comes next, and hands on references; it looks at rows only. Each actor works off its calls in
their order, which is that of the engine in one process, so that the bits are the same. Groups run ahead, by `IN_FLIGHT`
windows at most, while stations and MBS are at work.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from cellfree_sim.detection.serving.changes import service_of
from cellfree_sim.detection.serving.deployment import STATE_PREFIX, check_swaps, trained_bytes, window_end
from cellfree_sim.engine import Rows, never
from cellfree_sim.errors import NotRestartedError, StationLostError, UserError
from cellfree_sim.results.state import pack_state, unpack_state
from cellfree_sim.uplink.population import group_names, section

if TYPE_CHECKING:
    from agents.engine import RayEngine
    from cellfree_sim.detection.detector import DetectorOptions
    from cellfree_sim.detection.serving.changes import Change
    from cellfree_sim.network import Network
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.scenario.training import DetectorTraining

IN_FLIGHT = 3
LOOK_EVERY_S = 0.2
CLOSE_TIMEOUT_S = 5.0


class _SilentError(StationLostError):
    """Those that gave no answer in time; others died."""


@dataclass(frozen=True)
class _Window:
    """Bursts that are under way, up to `last`.

    Attributes:
        calls: role and reference of each call, in the order in which they are worked off.
        ends: those of them on which no other call depends: an error of any call is theirs, too.
        rows: what the MBS measured, one of `ends`.
    """

    last: int
    calls: list[tuple[str, Any]]
    ends: list[Any]
    rows: Any


class RayUplink:
    """See `cellfree_sim.detection.serving.deployment.Uplink`.

    Args:
        scenario: with an `uplink`.
        network: its stations.
        engine: in whose cluster, and in whose stations' seats, the actors live.
    """

    def __init__(self, scenario: Scenario, network: Network, engine: RayEngine) -> None:
        self._scenario = scenario
        self._network = network
        self._engine = engine
        self._groups = group_names(scenario)
        self._bursts = section(scenario).bursts
        self._actors: dict[str, Any] = {}
        self._done = 0
        self._patience_s = scenario.barrier_timeout_s  # without any sign

    @property
    def done(self) -> int:
        """See `Uplink.done`."""
        return self._done

    def start(self, state: Mapping[str, bytes] | None = None) -> None:
        """See `Uplink.start`: all processes come up side by side."""
        check_swaps(self._scenario)
        self._create(self._roles())
        self._tune(within_s=float("inf"))  # channels may take long
        if state is not None:
            self.load_states(state)
        elif section(self._scenario).assigns:
            self._assign()

    def advance(self, until: int, on_rows: Callable[[Rows], None], should_hold: Callable[[], bool] = never) -> int:
        """See `Uplink.advance`."""
        import ray

        until = min(until, self._bursts)
        windows: deque[_Window] = deque()
        sent, held = self._done, False
        while windows or (sent < until and not held):
            while sent < until and not held and len(windows) < IN_FLIGHT:
                windows.append(self._send(sent, window_end(sent, until)))
                sent = windows[-1].last
            window = windows.popleft()
            self._wait(window.calls, window.ends)
            rows = unpack_state(ray.get(window.rows))
            self._done = window.last
            if rows:
                on_rows(rows)
            held = held or should_hold()
        return self._done

    def states(self) -> dict[str, bytes]:
        """See `Uplink.states`."""
        return {STATE_PREFIX + name: state for name, state in self._ask("state").items()}

    def load_states(self, states: Mapping[str, bytes]) -> None:
        """See `Uplink.load_states`."""
        calls = {name: actor.load_state.remote(states[STATE_PREFIX + name]) for name, actor in self._actors.items()}
        self._done = int(self._get(calls)[self._network.mbs])

    def drain_ledgers(self) -> list[bytes]:
        """See `Uplink.drain_ledgers`."""
        return list(self._ask("drain_ledger").values())

    def facts(self) -> dict[str, Any]:
        """See `Uplink.facts`; beside what follows from the scenario, each service has `processes`: what its process at
        each station did by the wall clock (see `EdgeService.stats`), with its `restarts`.
        """
        mbs = self._network.mbs
        facts: dict[str, Any] = unpack_state(self._get({mbs: self._actors[mbs].facts.remote()})[mbs])
        stats = {name: unpack_state(each) for name, each in self._ask("services", self._serving()).items()}
        for service in facts["services"]:
            name = service["name"]
            own = {at: [each for model, each in did.items() if service_of(model) == name] for at, did in stats.items()}
            service["processes"] = {at: _together(models) for at, models in own.items() if models}
        return facts

    def swap(self, service: str, detector: DetectorOptions) -> None:
        """See `Uplink.swap`."""
        options = detector.model_dump_json()
        self._get({name: self._actors[name].swap.remote(service, options) for name in self._serving()})

    def change(self, change: Change) -> None:
        """See `Uplink.change`."""
        self._get({name: self._actors[name].change.remote(pack_state(change.packed())) for name in self._serving()})
        if change.codebook is not None:
            self._assign()

    def train(self, training: DetectorTraining, seed: int, name: str) -> Callable[[], bytes]:
        """See `Uplink.train`: in a process of its own."""
        import ray

        task: Any = ray.remote(trained_bytes).options(num_cpus=0)
        done = task.remote(training, seed, name)
        return partial(_trained, done)

    def fail(self, service: str, station: str | None = None) -> None:
        """See `Uplink.fail`."""
        places = self._serving()
        if station is not None and station not in places:
            raise UserError(f"station: found '{station}'; allowed: {', '.join(places)}")
        asked = places if station is None else [station]
        if not any(self._get({name: self._actors[name].fail.remote(service) for name in asked}).values()):
            where = "any station" if station is None else station
            raise UserError(f"service '{service}': has no process at {where}")

    def recover(self, network: Network) -> None:
        """See `Uplink.recover`; who dies meanwhile is lost, as at any other time."""
        self._network = network
        _, dead = self._answers({name: actor.ready.remote() for name, actor in self._actors.items()})
        self._end(dead)
        missing = [name for name in self._roles() if name not in self._actors]
        try:
            self._create(missing)
            self._tune(self._scenario.restart_timeout_s)
        except _SilentError as lost:
            raise NotRestartedError(lost.stations, lost.reason) from lost

    def close(self) -> None:
        """See `Uplink.close`."""
        import ray

        with suppress(Exception):  # Ray raises bare exceptions where the cluster itself is gone
            calls = [self._actors[name].end.remote() for name in self._serving() if name in self._actors]
            ray.wait(calls, num_returns=len(calls), timeout=CLOSE_TIMEOUT_S)
        self._end(list(self._actors))

    def _roles(self) -> list[str]:
        return [*self._groups, *self._network.stations, self._network.mbs]

    def _serving(self) -> list[str]:
        """Roles with services."""
        return [*self._network.stations, self._network.mbs]

    def _create(self, roles: Iterable[str]) -> None:
        """Processes for `roles`; those of stations and MBS in their seats."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        from agents.fusion import Fusion
        from agents.receiver import Receiver
        from agents.station import write_network
        from agents.users import Users

        homes = self._engine.homes()
        texts = self._scenario.model_dump_json(), write_network(self._network)
        for name in roles:
            if name in self._groups:
                users: Any = ray.remote(Users).options(num_cpus=0)
                self._actors[name] = users.remote(*texts, self._groups.index(name))
                continue
            group, gpus = homes[name]
            seat = PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=0)
            kind = Fusion if name == self._network.mbs else Receiver
            here: Any = ray.remote(kind).options(num_cpus=0, scheduling_strategy=seat)
            own = () if name == self._network.mbs else (name,)
            self._actors[name] = here.remote(*texts, *own, group, gpus)

    def _tune(self, within_s: float) -> None:
        """Let all make ready, and let users and stations know the path gains; who knows them already loses nothing."""
        self._patience_s = within_s
        try:
            gains = {name: self._actors[name].prepare.remote() for name in self._network.stations}
            mbs = self._network.mbs
            self._get({**gains, mbs: self._actors[mbs].prepare.remote()})
            hearing = [*self._groups, *self._network.stations, mbs]
            self._get({name: self._actors[name].tune.remote(*gains.values()) for name in hearing})
        finally:
            self._patience_s = self._scenario.barrier_timeout_s

    def _assign(self) -> None:
        """Let users know what they send from the next burst on."""
        names = self._groups
        bundles = [_several(self._actors[each].assign, len(names), self._done) for each in self._network.stations]
        self._get({name: self._actors[name].assign.remote(*here) for name, *here in zip(names, *bundles, strict=True)})

    def _send(self, first: int, last: int) -> _Window:
        """Set all roles to the bursts `first` to `last` - 1."""
        stations = self._network.stations
        calls: list[tuple[str, Any]] = []
        heard: list[list[Any]] = [[] for _ in stations]
        for name in self._groups:
            bundles = _several(self._actors[name].bursts, len(stations), first, last)
            calls.append((name, bundles[0]))
            for inbox, bundle in zip(heard, bundles, strict=True):
                inbox.append(bundle)
        uploads = []
        for name, inbox in zip(stations, heard, strict=True):
            uploads.append(self._actors[name].receive.remote(first, last, *inbox))
            calls.append((name, uploads[-1]))
        mbs = self._network.mbs
        rows, *answers = _several(self._actors[mbs].close, 1 + len(stations), first, last, *uploads)
        calls.append((mbs, rows))
        ends = [rows]
        for name, answer in zip(stations, answers, strict=True):
            ends.append(self._actors[name].absorb.remote(answer))
            calls.append((name, ends[-1]))
        return _Window(last, calls, ends, rows)

    def _ask(self, method: str, roles: Iterable[str] | None = None) -> dict[str, Any]:
        names = self._actors if roles is None else roles
        return self._get({name: getattr(self._actors[name], method).remote() for name in names})

    def _get(self, calls: Mapping[str, Any]) -> dict[str, Any]:
        """Results of one call to each role."""
        import ray

        self._wait(list(calls.items()), list(calls.values()))
        return {name: ray.get(call) for name, call in calls.items()}

    def _wait(self, calls: list[tuple[str, Any]], ends: list[Any]) -> None:
        """Return when all calls, given in the order in which they are worked off, have succeeded; see `_Window`.

        Raises:
            StationLostError: processes died, or gave no sign for too long, and were ended.
        """
        import ray

        patience_s = self._patience_s
        waiting, heard_s = [call for _, call in calls], time.monotonic()
        while waiting:
            ready, later = ray.wait(waiting, num_returns=len(waiting), timeout=LOOK_EVERY_S)
            for call in [call for call in ready if call in ends]:
                try:
                    ray.get(call)
                except Exception as error:
                    self._explain(error)
            if ready:
                waiting, heard_s = later, time.monotonic()
            elif time.monotonic() - heard_s > patience_s:
                late = next(name for name, call in calls if call in later)
                self._end([late])
                raise _SilentError((late,), f"gave no answer within {patience_s:g} s")

    def _explain(self, error: Exception) -> None:
        """Raise what an error of a call means: a process died, its own or one whose result it needed; or it failed."""
        from agents.cluster import plain_errors
        from agents.controller import account

        _, dead = self._answers({name: actor.ready.remote() for name, actor in self._actors.items()})
        if dead:
            self._end(dead)
            raise StationLostError(tuple(sorted(dead)), f"died: {account(next(iter(dead.values())))}") from error
        with plain_errors():
            raise error

    def _answers(self, calls: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Exception]]:
        """Results of calls to roles that may be dead, and the errors of those that are."""
        import ray

        found, dead = {}, {}
        if calls:
            ray.wait(list(calls.values()), num_returns=len(calls), timeout=self._scenario.barrier_timeout_s)
        for name, call in calls.items():
            try:
                found[name] = ray.get(call, timeout=0)
            except Exception as error:  # dead, or silent; `ready` itself raises nothing
                dead[name] = error
        return found, dead

    def _end(self, roles: Iterable[str]) -> None:
        import ray

        for name in list(roles):
            actor = self._actors.pop(name, None)
            if actor is not None:
                with suppress(Exception):  # Ray has many names for what is gone
                    ray.kill(actor)


def _trained(done: Any) -> bytes:
    """What a task has trained."""
    import ray

    from agents.cluster import plain_errors

    with plain_errors():
        found: bytes = ray.get(done)
    return found


def _together(models: list[dict[str, Any]]) -> dict[str, Any]:
    """What a service did with all its models, one for each change: counts are summed, all else is that of the last."""
    summed = {key: sum(each[key] for each in models) for key in ("requests", "slots", "batches", "failed", "compute_s")}
    return {**models[-1], **summed}


def _several(method: Any, count: int, *arguments: Any) -> list[Any]:
    """References to the `count` values that an actor's method returns."""
    returned = method.options(num_returns=count).remote(*arguments)
    return [returned] if count == 1 else list(returned)
