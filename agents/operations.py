"""What happens to a network while it runs: injections, removals, links that are cut, stations that fail.

Changes come from the scenario's `events`, from Python, and from other processes (``cellfree inject``). All of them
happen at round boundaries, one after another, each between two commits:

    commit ─► measure ─► change the network ─► tell all stations ─► measure ─► commit

A station that dies in between takes the run back to the first commit, and the change is made once more: a change
happens whole or not at all. Only the preparation of a new station (its process, its channels) goes on beside training.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from cellfree_sim import seeds
from cellfree_sim.errors import RunFailedError, RunFolderError, StationLostError, UserError
from cellfree_sim.network import Network
from cellfree_sim.network.changes import (
    with_admitted,
    with_event,
    with_injection,
    with_removed,
)
from cellfree_sim.scenario.events import InjectSbs, in_order

if TYPE_CHECKING:
    from cellfree_sim.engine import Engine
    from cellfree_sim.scenario.events import Event
    from cellfree_sim.scenario.schema import Scenario


MOST_ATTEMPTS = 3  # to prepare a station whose process dies


class StopRequested(KeyboardInterrupt):
    """Another process asked the run to end, as Ctrl-C would."""


@dataclass(frozen=True)
class Injection:
    """A station that was injected into a running network.

    Attributes:
        station, position: its name, and where it stands, x and y in metres.
        nearest: the station nearest to it (eq. 22).
        donor: the station whose model it took over; None where it began with one of its own.
        transfer, after: as asked: whose model, and whether it trains on ("fine-tune") or executes it ("execute").
        at_step: training rounds done when it was admitted.
        transfer_bytes, model_bytes: of the frames that carried the model, and of the parameters in them.
        sum_rate_before, sum_rate_after: on the validation realisations, in the network without it and with it, at the
            same step; bit/s/Hz.
        seconds, simulated_seconds: wall time from the request, and simulated time from the round boundary, to its first
            decision.
    """

    station: str
    position: tuple[float, float]
    nearest: str
    donor: str | None
    transfer: str
    after: str
    at_step: int
    transfer_bytes: int
    model_bytes: int
    sum_rate_before: float
    sum_rate_after: float
    seconds: float
    simulated_seconds: float


@dataclass(frozen=True)
class Removal:
    """A station that left a running network; rates as in `Injection`."""

    station: str
    at_step: int
    sum_rate_before: float
    sum_rate_after: float


class Run(Protocol):
    """What operations ask of the run they happen to."""

    step: int

    def commit(self) -> None:
        """Save the run as it is now, unless it is saved."""

    def sum_rate(self) -> float:
        """On the validation realisations, in the network as it is now; measured unless it is known."""

    def network_changed(self) -> None:
        """What was measured was measured in another network."""

    def note(self, text: str) -> None:
        """Tell people."""


@dataclass(frozen=True)
class _Coming:
    """A station that is being prepared, since when, and who waits for it: the number of a request, or nobody."""

    name: str
    spec: InjectSbs
    since: float
    request: int | None = None


class Operations:
    """The network of a run, and all that happens to it.

    Attributes:
        network: as it is now.
        events: what happened, for the summary.
        injections: those of them that were injections.
        paused: nothing is to be computed at this round boundary, until somebody asks to go on.
    """

    def __init__(self, scenario: Scenario, engine: Engine, network: Network, run: Run) -> None:
        self.network = network
        self.events: list[dict[str, Any]] = []
        self.injections: list[Injection] = []
        self.paused = False
        self._scenario = scenario
        self._engine = engine
        self._run = run
        self._scheduled: list[Event] = [event for _, event in in_order(scenario.events)]
        self._happened = 0  # how many of them
        self._failures: set[int] = set()  # those of them that killed a process, which going back does not undo
        self._coming: _Coming | None = None
        self._called_off: tuple[InjectSbs, str] | None = None  # what to tell who asks for it again, and why
        self._removals: list[tuple[int, str]] = []
        self._stops: list[int] = []
        self._pauses: list[int] = []

    def notes(self) -> dict[str, Any]:
        """What a checkpoint must hold, in types that JSON has."""
        return {
            "network": self.network.to_json(),
            "happened": self._happened,
            "events": self.events,
            "injections": [asdict(injection) for injection in self.injections],
        }

    def restore(self, notes: Mapping[str, Any]) -> None:
        """Go back to what `notes` gave. Restarts that came later stay among the events: they are not undone."""
        self.network = Network.from_json(notes["network"])
        self._happened = int(notes["happened"])
        later = [event for event in self.events[len(notes["events"]) :] if event["event"] == "restart"]
        self.events = [*notes["events"], *later]
        self.injections = [Injection(**{**each, "position": tuple(each["position"])}) for each in notes["injections"]]

    def begin_again(self) -> None:
        """Prepare a station once more whose process was ended when the run went back."""
        coming, self._coming = self._coming, None
        if coming is None:
            return
        try:
            self._begin(coming.spec, coming.request, coming.since)
        except UserError as error:
            self._run.note(f"{coming.name} cannot be prepared once more: {error}")
            if coming.request is not None:
                self._engine.answer(coming.request, {"error": str(error)})

    def call_off(self, reason: str) -> None:
        """Inject the station that is coming no more: its process dies each time it is to take part."""
        coming, self._coming = self._coming, None
        if coming is None:
            return
        text = f"{coming.name} was not injected: {reason}"
        self._run.note(text)
        if coming.request is not None:
            self._engine.answer(coming.request, {"error": text})
        else:
            self._called_off = (coming.spec, text)

    def next_step(self) -> int | None:
        """The step at which the next event of the scenario is due."""
        left = self._scheduled[self._happened :]
        return left[0].at_step if left else None

    def look_ahead(self, boundary: int) -> None:
        """Begin to prepare the station that the scenario injects at `boundary`, while the others train."""
        if self._coming is None and self.next_step() == boundary:
            event = self._scheduled[self._happened]
            if event.inject_sbs is not None:
                try:
                    self._begin(event.inject_sbs)
                except UserError:
                    return  # it is refused when it is due

    def take_requests(self) -> None:
        """Look at what other processes ask; refuse at once what cannot be."""
        for number, request in self._engine.requests():
            try:
                self._take(number, request)
            except UserError as error:
                self._engine.answer(number, {"error": str(error)})

    def wants_boundary(self) -> bool:
        """Whether something waits for the next round boundary."""
        coming = self._coming
        ready = coming is not None and coming.request is not None and self._engine.prepared(coming.name, wait=False)
        return bool(ready or self._removals or self._stops or self._pauses)

    def happen(self, *, wait: bool) -> None:
        """Let everything happen that is due at this round boundary; with `wait`, also what is being prepared.

        Raises:
            StopRequested: somebody asked the run to stop.
        """
        while self._next(wait=wait):
            pass
        if self._stops:
            for number in self._stops:
                self._engine.answer(number, {"ok": {"at_step": self._run.step}})
            self._stops.clear()
            raise StopRequested
        self.paused = self.paused or bool(self._pauses)

    def holds(self) -> None:
        """The run holds, as was asked; nothing is computed any more."""
        self._answer_pauses()

    def inject(self, spec: InjectSbs) -> Injection:
        """Inject a station now.

        Raises:
            UserError: it cannot be, or its process failed; nothing was changed.
        """
        self._check_may_change()
        if self._coming is None:
            self._begin(spec)
        assert self._coming is not None
        if self._coming.spec is not spec:
            raise UserError(self._busy())
        return self._finish()

    def remove(self, name: str, *, scheduled: bool = False) -> Removal:
        """Let a station leave now: UserError where it cannot."""
        self._check_may_change()
        network = with_removed(self._scenario, self.network, name)
        reachable = self.network.status(name) == "active"
        before = self._run.sum_rate()
        self._run.commit()
        if reachable:
            self._engine.farewell(name)
        self._change(network)
        removal = Removal(name, self._run.step, before, self._run.sum_rate())
        self._happened += scheduled
        self.events.append({"event": "remove_sbs", **asdict(removal)})
        self._run.commit()
        with suppress(StationLostError):  # it has left; whoever died is missed in the next round
            self._engine.release(name)
        self._run.note(
            f"{name} left at step {removal.at_step}: sum rate {before:.2f} before, {removal.sum_rate_after:.2f} after"
        )
        return removal

    def _check_may_change(self) -> None:
        """An uplink is tuned to the stations that there are."""
        if self._scenario.uplink is not None:
            raise UserError("the network of a run with an uplink cannot change: stations neither join nor leave")

    def drop(self, stations: Collection[str], reason: str) -> None:
        """Go on without stations whose processes are gone for good."""
        network = self.network
        try:
            for name in sorted(stations):
                network = with_removed(self._scenario, network, name)
        except UserError as error:
            raise RunFailedError(f"{', '.join(sorted(stations))}: {reason}; and {error}") from error
        self._change(network)
        self.events.append({"event": "drop", "stations": sorted(stations), "at_step": self._run.step, "reason": reason})
        self._run.sum_rate()
        self._run.commit()
        self._run.note(f"going on without {', '.join(sorted(stations))}: {reason}")

    def _next(self, *, wait: bool) -> bool:
        """Let one thing happen; False where nothing is due."""
        coming = self._coming
        if (
            coming is not None
            and coming.request is not None
            and (wait or self._engine.prepared(coming.name, wait=False))
        ):
            self._finish_request(coming.request)
            return True
        if self._removals:
            self._answer_removal(*self._removals[0])
            self._removals.pop(0)
            return True
        if self.next_step() == self._run.step:
            if coming is not None and coming.request is not None:
                self._finish_request(coming.request)
            else:
                self._event(self._scheduled[self._happened])
            return True
        return False

    def _event(self, event: Event) -> None:
        """Let an event of the scenario happen; one that cannot be is told, and passed over."""
        index = self._happened
        if index in self._failures:
            self._happened += 1
            return
        try:
            match event.action:
                case "inject_sbs":
                    if self._coming is not None and self._coming.spec is not event.detail:  # the run went back
                        self._engine.release(self._coming.name)
                        self._coming = None
                    if self._coming is None:
                        self._begin(event.detail)
                    self._finish(scheduled=True)
                case "remove_sbs":
                    self.remove(event.detail, scheduled=True)
                case "fail_sbs" | "fail_mbs":
                    self._fail(index, event)
                case _:
                    self._change_links(event)
        except RunFolderError:
            raise
        except UserError as error:
            self._happened = index + 1
            what = event.model_dump(mode="json")[event.action]
            self.events.append({"event": event.action, "at_step": self._run.step, "what": what, "refused": str(error)})
            self._run.note(f"{event.action} at step {self._run.step}: {error}")

    def _fail(self, index: int, event: Event) -> None:
        station, barrier = (
            (self.network.mbs, event.detail)
            if event.action == "fail_mbs"
            else (event.detail.station, event.detail.barrier)
        )
        with_event(self._scenario, self.network, event)  # refuses a station that is not there
        if self._run.step == self._scenario.steps:
            raise UserError(f"no round is left for {station} to fail in")
        self._failures.add(index)
        self._happened += 1
        self._engine.fail(station, barrier)
        self._run.note(f"{station} is going to fail {barrier} the barrier of round {self._run.step + 1}")

    def _change_links(self, event: Event) -> None:
        network = with_event(self._scenario, self.network, event)
        roster = self.network.stations
        if network.stations != roster:
            self._run.sum_rate()
        self._run.commit()
        self._change(network)
        ends = list(event.detail.between if event.slow_link else event.detail)
        record: dict[str, Any] = {"event": event.action, "at_step": self._run.step, "link": ends}
        if event.slow_link:
            record |= {"capacity_bps": network.capacity_bps(*ends), "latency_s": network.latency_s(*ends)}
        if network.stations != roster:
            record["isolated"] = [name for name in network.members if network.status(name) == "isolated"]
            self._run.sum_rate()
        self._happened += 1
        self.events.append(record)
        self._run.commit()
        cut_off = f"; isolated: {', '.join(record['isolated']) or 'none'}" if "isolated" in record else ""
        self._run.note(f"{event.action} {ends[0]}-{ends[1]} at step {self._run.step}{cut_off}")

    def _begin(self, spec: InjectSbs, request: int | None = None, since: float | None = None) -> None:
        """Check an injection, and begin to prepare its station."""
        if self._called_off is not None and self._called_off[0] is spec:
            raise UserError(self._called_off[1])
        if self._coming is not None:
            raise UserError(self._busy())
        network, name = with_injection(self._scenario, self.network, spec.name, spec)
        self._engine.prepare(network, name)
        self._coming = _Coming(name, spec, time.perf_counter() if since is None else since, request)
        self._run.note(f"{name} is being prepared at [{spec.position_m[0]:g}, {spec.position_m[1]:g}]")

    def _busy(self) -> str:
        assert self._coming is not None
        return f"{self._coming.name} is being injected; one station at a time, try again when it takes part"

    def _finish_request(self, number: int) -> None:
        try:
            reply: dict[str, Any] = {"ok": asdict(self._finish())}
        except RunFolderError:
            raise
        except UserError as error:
            reply = {"error": str(error)}
            self._run.note(str(error))
        self._engine.answer(number, reply)

    def _finish(self, *, scheduled: bool = False) -> Injection:
        """Admit the station that was prepared: model, roster, first decision."""
        coming = self._coming
        assert coming is not None
        spec, step = coming.spec, self._run.step
        try:
            coming = self._prepared()
            # the network may have changed since the preparation began
            network, name = with_injection(self._scenario, self.network, coming.name, spec)
        except (StationLostError, RunFolderError):
            raise
        except (UserError, RunFailedError) as error:
            raise self._not_injected(error) from error
        self._run.commit()
        began_s = self._engine.clock(network.mbs)
        nearest = self.network.nearest_station(spec.position_m)
        donor = self._donor(spec, name, nearest)
        self._engine.reconfigure(network, step)
        try:
            model_bytes, size = self._engine.transfer(donor, name) if donor is not None else (0, 0)
        except StationLostError:
            raise
        except RunFailedError as error:
            refusal = self._not_injected(error)
            self._engine.reconfigure(self.network, step)
            raise refusal from error
        before = self._run.sum_rate()
        self._change(with_admitted(network, name))
        decides_s = self._engine.clock(name) + self._decision_s(name)
        after = self._run.sum_rate()
        injection = Injection(
            station=name,
            position=(float(spec.position_m[0]), float(spec.position_m[1])),
            nearest=nearest,
            donor=donor,
            transfer=spec.transfer,
            after=spec.after,
            at_step=step,
            transfer_bytes=size,
            model_bytes=model_bytes,
            sum_rate_before=before,
            sum_rate_after=after,
            seconds=time.perf_counter() - coming.since,
            simulated_seconds=decides_s - began_s,
        )
        self._happened += scheduled
        self.injections.append(injection)
        self.events.append({"event": "inject_sbs", "at_step": step, "station": name, "donor": donor})
        self._run.commit()
        self._coming = None
        self._run.note(
            f"{name} joined at step {step} with {f'the model of {donor}' if donor else 'a model of its own'} "
            f"({size / 1e6:.2f} MB): sum rate {before:.2f} before, {after:.2f} after"
        )
        return injection

    def _prepared(self) -> _Coming:
        """Wait for the station that is being prepared; one that dies meanwhile is prepared once more."""
        for attempt in itertools.count(1):
            coming = self._coming
            assert coming is not None
            try:
                if not self._engine.prepared(coming.name, wait=True):
                    raise RunFailedError("its process is gone")
                return coming
            except StationLostError:
                raise
            except RunFailedError as error:
                if attempt == MOST_ATTEMPTS:
                    raise
                self._run.note(f"{coming.name}: {error}; it is prepared once more")
                self._engine.release(coming.name)
                self._coming = None
                try:
                    self._begin(coming.spec, coming.request, coming.since)
                except UserError:
                    self._coming = coming
                    raise
        raise AssertionError("attempts end")

    def _not_injected(self, reason: Exception) -> UserError:
        """Let go of the station that was coming."""
        coming, self._coming = self._coming, None
        assert coming is not None
        self._engine.release(coming.name)
        return UserError(f"{coming.name} was not injected: {reason}")

    def _donor(self, spec: InjectSbs, name: str, nearest: str) -> str | None:
        """Whose model a new station takes over."""
        if spec.transfer == "none" or not self._scenario.downlink.algorithm.transfers_models:
            return None
        if spec.transfer == "nearest":
            return nearest
        roster = self.network.stations
        if spec.transfer == "farthest":
            x, y = spec.position_m
            position = {other: self.network.position(other)[:2] for other in roster}
            return max(roster, key=lambda other: (position[other][0] - x) ** 2 + (position[other][1] - y) ** 2)
        return roster[seeds.integer(self._scenario.seed, "donor", name) % len(roster)]

    def _decision_s(self, name: str) -> float:
        """Simulated time of one forward pass for one realisation."""
        flops = self._engine.facts()["flops_per_realisation"][name]
        return float(flops / self._scenario.flop_per_s_left(name))

    def _change(self, network: Network) -> None:
        """From here on, the network is another one, for all stations.

        Raises:
            RunFailedError: some station cannot take part in it; others may, so this is no refusal any more.
        """
        try:
            self._engine.reconfigure(network, self._run.step)
        except UserError as error:
            raise RunFailedError(f"the network has changed, but not all stations with it: {error}") from error
        self.network = network
        self._run.network_changed()

    def _take(self, number: int, request: Mapping[str, Any]) -> None:
        if request.get("command") in ("inject", "remove"):
            self._check_may_change()
        match request.get("command"):
            case "inject":
                given = {key: value for key, value in request.items() if key != "command"}
                try:
                    spec = InjectSbs.model_validate(given)
                except ValidationError as error:
                    first = error.errors()[0]
                    where = ".".join(str(part) for part in first["loc"])
                    raise UserError(f"inject: {where}: {first['msg']}") from None
                self._begin(spec, number)
            case "remove":
                name = str(request.get("station"))
                with_removed(self._scenario, self.network, name)
                self._removals.append((number, name))
            case "stop":
                self._stops.append(number)
            case "pause":
                self._pauses.append(number)
            case "continue":
                self.paused = False
                self._pauses.append(number)
                self._answer_pauses()
            case other:
                raise UserError(f"a run has no command '{other}'; allowed: inject, remove, pause, continue, stop")

    def _answer_pauses(self) -> None:
        """Tell who asked to pause, or to go on, how it is now."""
        for number in self._pauses:
            self._engine.answer(number, {"ok": {"at_step": self._run.step, "paused": self.paused}})
        self._pauses.clear()

    def _answer_removal(self, number: int, name: str) -> None:
        try:
            reply: dict[str, Any] = {"ok": asdict(self.remove(name))}
        except RunFolderError:
            raise
        except UserError as error:
            reply = {"error": str(error)}
        self._engine.answer(number, reply)
