"""The uplink of a run as one thing that advances, whichever engine it lives in; here, in one process.

    group.bursts(window) ──► bundle per station ──► receiver.receive(window, bundles) ──► upload
    uploads of all stations ──► fusion.close(window, uploads) ──► bundle per station ──► receiver.absorb(bundle)

A window is a few consecutive bursts (`WINDOW`), so that memory stays bounded. What is computed depends on the scenario
alone, not on where windows are cut, and not on the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from cellfree_sim.detection.serving.fusion import Fusion
from cellfree_sim.detection.serving.receiver import Receiver, UplinkContext
from cellfree_sim.detection.serving.service import LocalServices
from cellfree_sim.errors import DetectorError, UserError
from cellfree_sim.results.state import pack_state, unpack_state
from cellfree_sim.scenario.parts import MBS_NAME
from cellfree_sim.scenario.suggest import listed
from cellfree_sim.scenario.uplink_checks import service_hosts
from cellfree_sim.threads import one_torch_thread
from cellfree_sim.uplink.population import group_names, section
from cellfree_sim.uplink.users import UserGroup

if TYPE_CHECKING:
    from cellfree_sim.detection.detector import DetectorOptions
    from cellfree_sim.detection.serving.changes import Change
    from cellfree_sim.detection.serving.service import Services
    from cellfree_sim.network import Network
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.scenario.training import DetectorTraining
    from cellfree_sim.uplink.problem import Problem

WINDOW = 16
STATE_PREFIX = "uplink/"

Rows: TypeAlias = list[dict[str, Any]]


def never() -> bool:
    """Nothing waits for a window's end."""
    return False


class Uplink(Protocol):
    """The uplink of a run.

    A process that is gone shows as `StationLostError` from whichever method needed it (a group by its name,
    ``users-<n>``); the run then goes back to its last commit: `recover`, then `load_states`.
    """

    @property
    def done(self) -> int:
        """Bursts that were received; the next one has this number. Rows of the last of them may still be open."""
        ...

    def start(self, state: Mapping[str, bytes] | None = None) -> None:
        """Bring up groups, receivers and fusion: channels, services; go on where `state` (of `states`) was taken.

        Raises:
            UserError: channels or a detector cannot be made for this scenario.
        """
        ...

    def advance(self, until: int, on_rows: Callable[[Rows], None], should_hold: Callable[[], bool] = ...) -> int:
        """Receive bursts until `until` of them are done, or until a window's end after `should_hold()`; returns `done`.

        `on_rows` gets rows (`Fusion.drain_rows`) as they come. With the last burst of the run all queues are emptied.
        """
        ...

    def states(self) -> dict[str, bytes]:
        """Packed states of all roles, under ``uplink/<role>``: ``uplink/users-0``, ``uplink/sbs-1``, ``uplink/mbs``."""
        ...

    def load_states(self, states: Mapping[str, bytes]) -> None:
        """Become the uplink that `states` was taken from; keys that do not begin with ``uplink/`` are ignored."""
        ...

    def drain_ledgers(self) -> list[bytes]:
        """The books of all roles, since the last call."""
        ...

    def facts(self) -> dict[str, Any]:
        """See `Fusion.facts`."""
        ...

    def swap(self, service: str, detector: DetectorOptions) -> None:
        """Hot swap, before burst `done`: requests that are not in a batch yet are served by the other detector.

        Raises:
            UserError: there is no such service, or the detector cannot serve what it is for.
        """
        ...

    def change(self, change: Change) -> None:
        """Let something else hold for a service from burst `done` on; users get their codebooks where those change.

        Raises:
            UserError: the detector cannot serve what it is for.
        """
        ...

    def train(self, training: DetectorTraining, seed: int, name: str) -> Callable[[], bytes]:
        """Begin to train a detector beside the bursts, where there are other processes for it; returns what waits for
        its file (`TrainedDetector.to_bytes`), which is the same wherever it is made.
        """
        ...

    def fail(self, service: str, station: str | None = None) -> None:
        """Kill a process of a service (at all its stations by default); it comes back, and nothing is lost.

        Raises:
            UserError: there is no such service, or not at this station.
        """
        ...

    def recover(self, network: Network) -> None:
        """Bring back whatever died; `load_states` follows."""
        ...

    def close(self) -> None:
        """End all of it."""
        ...


def window_end(first: int, until: int) -> int:
    """Where the window that begins with burst `first` ends: `until`, or the next multiple of `WINDOW`."""
    return min(until, (first // WINDOW + 1) * WINDOW)


def local_services(scenario: Scenario, station: str) -> dict[str, DetectorOptions]:
    """Detectors of the services that run beside a station, by name: local and soft_fusion ones of this station."""
    return _services_at(scenario, station)


def central_services(scenario: Scenario) -> dict[str, DetectorOptions]:
    """Detectors of the services that run beside the MBS, by name: the centralized ones."""
    return _services_at(scenario, MBS_NAME)


def service_problem(scenario: Scenario, service: str) -> Problem:
    """What a service is made for; requests may have other numbers of antennas and users."""
    from cellfree_sim.detection.serving.receptions import reception_of
    from cellfree_sim.network import build_network

    uplink = section(scenario)
    chosen = uplink.services[uplink.service_names.index(service)]
    return reception_of(scenario, build_network(scenario)).problem(chosen)


def trained_bytes(training: DetectorTraining, seed: int, name: str) -> bytes:
    """The file of a detector that is trained here, on one torch thread."""
    from cellfree_sim.detection.learned.trainer import DetectorTrainer

    with one_torch_thread():
        trainer = DetectorTrainer(training, seed=seed)
        trainer.run()
    return trainer.trained(name=name).to_bytes()


def check_swaps(scenario: Scenario) -> None:
    """Make the detector of each swap for its service once, so that a wrong one is told before bursts begin.

    Raises:
        DetectorError: it cannot serve what the service is for.
    """
    from cellfree_sim.detection.serving.service import DetectionService

    for index, event in enumerate(section(scenario).events):
        swap = event.swap_detector
        if swap is not None:
            try:
                DetectionService(swap.service, swap.detector, service_problem(scenario, swap.service))
            except DetectorError as error:
                raise DetectorError(f"uplink.events.{index}.swap_detector: {error}") from None


class InlineUplink:
    """All of the uplink in this process (see `Uplink`), on one torch thread.

    Args:
        scenario: with an `uplink`.
        network: its stations.
        device: where the detectors compute.
        services: what detects, for all places; `LocalServices` by default.

    >>> from cellfree_sim.network import build_network
    >>> from cellfree_sim.scenario.schema import Scenario
    >>> scenario = Scenario.model_validate(
    ...     {
    ...         "network": {"users": {"count": 4}},
    ...         "channel": {"model": "rayleigh", "cache": False},
    ...         "uplink": {"bursts": 20, "snr_db": [15.0], "services": [{"detector": "lmmse"}]},
    ...     }
    ... )
    >>> uplink, rows = InlineUplink(scenario, build_network(scenario)), []
    >>> uplink.start()
    >>> uplink.advance(20, rows.extend), len(rows), sum(row["blocks"] for row in rows)
    (20, 20, 80)
    """

    def __init__(
        self, scenario: Scenario, network: Network, *, device: str = "cpu", services: Services | None = None
    ) -> None:
        self._scenario = scenario
        self._done = 0
        services = services or _every_service(scenario, device)  # one for all: a service is alike everywhere
        context = UplinkContext(scenario, network)
        self._groups = [UserGroup(scenario, network, index) for index in range(len(group_names(scenario)))]
        self._receivers = {name: Receiver(context, name, services) for name in network.stations}
        self._fusion = Fusion(context, services)
        self._mbs = network.mbs

    @property
    def done(self) -> int:
        """See `Uplink.done`."""
        return self._done

    def start(self, state: Mapping[str, bytes] | None = None) -> None:
        """See `Uplink.start`."""
        check_swaps(self._scenario)
        gains = np.stack([receiver.prepare() for receiver in self._receivers.values()])
        for group in self._groups:
            group.tune(gains)
        for receiver in self._receivers.values():
            receiver.tune(gains)
        self._fusion.tune(gains)
        if state is not None:
            self.load_states(state)
        elif section(self._scenario).assigns:
            self._assign()

    def advance(self, until: int, on_rows: Callable[[Rows], None], should_hold: Callable[[], bool] = never) -> int:
        """See `Uplink.advance`."""
        until = min(until, section(self._scenario).bursts)
        with one_torch_thread():
            while self._done < until:
                first, last = self._done, window_end(self._done, until)
                bundles = [group.bursts(first, last) for group in self._groups]
                uploads = {
                    name: receiver.receive(first, last, [each[name] for each in bundles])
                    for name, receiver in self._receivers.items()
                }
                for name, answer in self._fusion.close(first, last, uploads).items():
                    self._receivers[name].absorb(answer)
                self._done = last
                on_rows(self._fusion.drain_rows())
                if should_hold():
                    break
        return self._done

    def states(self) -> dict[str, bytes]:
        """See `Uplink.states`."""
        return {f"{STATE_PREFIX}{name}": pack_state(role.state()) for name, role in self._roles().items()}

    def load_states(self, states: Mapping[str, bytes]) -> None:
        """See `Uplink.load_states`."""
        for name, role in self._roles().items():
            role.load_state(unpack_state(states[f"{STATE_PREFIX}{name}"]))
        self._done = self._fusion.heard

    def drain_ledgers(self) -> list[bytes]:
        """See `Uplink.drain_ledgers`."""
        return [role.drain_ledger() for role in self._roles().values()]

    def facts(self) -> dict[str, Any]:
        """See `Uplink.facts`."""
        return self._fusion.facts()

    def swap(self, service: str, detector: DetectorOptions) -> None:
        """See `Uplink.swap`."""
        self._hosts(service)
        for receiver in self._receivers.values():
            receiver.swap(service, detector)
        self._fusion.swap(service, detector)

    def change(self, change: Change) -> None:
        """See `Uplink.change`."""
        for receiver in self._receivers.values():
            receiver.change(change)
        self._fusion.change(change)
        if change.codebook is not None:
            self._assign()

    def train(self, training: DetectorTraining, seed: int, name: str) -> Callable[[], bytes]:
        """See `Uplink.train`: when it is waited for."""
        return partial(trained_bytes, training, seed, name)

    def fail(self, service: str, station: str | None = None) -> None:
        """See `Uplink.fail`: services have no processes here, so that nothing is lost and nothing has to come back."""
        hosts = self._hosts(service)
        if station is not None and station not in hosts:
            raise UserError(f"station: found '{station}', where '{service}' is not; allowed: {listed(hosts)}")

    def recover(self, network: Network) -> None:
        """See `Uplink.recover`: nothing dies here alone."""

    def close(self) -> None:
        """Nothing to end: the roles go with this object."""

    def _assign(self) -> None:
        """Let users know what they send from the next burst on."""
        bundles = [receiver.assign(self._done) for receiver in self._receivers.values()]
        for group in self._groups:
            group.assign([each[group.name] for each in bundles])

    def _hosts(self, service: str) -> list[str]:
        """Where a service is; UserError where there is none of this name."""
        uplink = section(self._scenario)
        if service not in uplink.service_names:
            raise UserError(f"service: found '{service}'; allowed: {listed(uplink.service_names)}")
        return service_hosts(self._scenario, uplink.services[uplink.service_names.index(service)])

    def _roles(self) -> dict[str, UserGroup | Receiver | Fusion]:
        groups = {group.name: group for group in self._groups}
        return {**groups, **self._receivers, self._mbs: self._fusion}


def _services_at(scenario: Scenario, place: str) -> dict[str, DetectorOptions]:
    uplink = section(scenario)
    named = zip(uplink.service_names, uplink.services, strict=True)
    return {name: service.detector for name, service in named if place in service_hosts(scenario, service)}


def _every_service(scenario: Scenario, device: str) -> LocalServices:
    uplink = section(scenario)
    detectors = dict(zip(uplink.service_names, (each.detector for each in uplink.services), strict=True))
    return LocalServices(detectors, {name: service_problem(scenario, name) for name in detectors}, device=device)
