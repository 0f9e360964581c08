"""A station of the uplink: it hears all users, asks its services, and tells the MBS what cooperation needs.

    frames of all groups ─► superposed ─► for each service: the users it serves here; the others' power is noise
        local          queue ─► detector ─► decides for the users whose best station this is
        soft_fusion    queue ─► detector ─► soft_decision to the MBS
        centralized    received_signal to the MBS, at once
    detection_result ◄─ MBS

What is known of who is active, and over which channels, is a matter of the family of problems (`receptions`).

Shape letters: S slots, T antennas, I active users, N those that a service serves here, M messages.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.backhaul.bundle import Bundle
from cellfree_sim.backhaul.link import Delivery
from cellfree_sim.backhaul.messages import CodebookAssignment, DetectionResult, SoftDecision, UplinkBurst
from cellfree_sim.backhaul.port import Port
from cellfree_sim.detection.serving.changes import Change
from cellfree_sim.detection.serving.queue import BatchingQueue
from cellfree_sim.detection.serving.receptions import Heard, reception_of
from cellfree_sim.detection.serving.reports import Report
from cellfree_sim.detection.serving.requests import Answer, Request, answered, flops_of
from cellfree_sim.results.state import pack_state
from cellfree_sim.scenario.extensions import detectors_of
from cellfree_sim.scenario.uplink_checks import MOST_USERS, uplink_link_share
from cellfree_sim.uplink.geometry import serving, uplink_channels
from cellfree_sim.uplink.population import (
    drop_of,
    group_members,
    group_names,
    heard_at_s,
    section,
    sent_at_s,
    transmissions,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.backhaul.messages import Header, Message
    from cellfree_sim.detection.detector import DetectorOptions
    from cellfree_sim.detection.serving.service import Services
    from cellfree_sim.network import Network
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.scenario.uplink import Service, Uplink

FIRST_SEQUENCE = 2**40
"""Of the frames of a station's uplink: in the books, they are beside those of its training."""
LEAST_LOG_PROBABILITY = -50.0
"""On the wire: no station is surer than that, so that none overrules all others, and so that int8 has steps of 0.4."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UplinkContext:
    """What every role of the uplink is made from: a scenario with an `uplink`, and its network."""

    scenario: Scenario
    network: Network


class Receiver:
    """The role of one station.

    The order of calls: `prepare`, `tune`, then for each window `receive` (its upload goes to `Fusion.close`) and
    `absorb`. The window that ends with the last burst of the run also empties the queues.

    Args:
        context: scenario and network.
        station: name.
        services: of this station: those of `local_services(scenario, station)`.
    """

    def __init__(self, context: UplinkContext, station: str, services: Services) -> None:
        scenario, network = context.scenario, context.network
        self.name = station
        self._scenario = scenario
        self._uplink = section(scenario)
        self._network = network
        self._services = services
        self._reception = reception_of(scenario, network)
        self._place = network.stations.index(station)
        path = network.path(station, network.mbs)
        self._groups = group_names(scenario)
        self._port = Port(
            station,
            scenario.name,
            {network.mbs: path, **{group: (station, group) for group in self._groups}},
            precision=scenario.backhaul.precision,
            max_bytes=scenario.backhaul.max_frame_bytes,
        )
        self._port.restore({"sequence": FIRST_SEQUENCE, "old_paths": {}})
        self._links = [delays_of(scenario, network, a, b) for a, b in itertools.pairwise(path)]
        names = self._uplink.service_names
        self._here = {
            index: each
            for index, each in enumerate(self._uplink.services)
            if each.stations == "all" or station in each.stations
        }
        self._rosters = {index: taking_part(network, each) for index, each in self._here.items()}
        capacity = network.graph.nodes[station]["mec_flop_per_s"]
        self._names = names
        self._detectors = {index: each.detector for index, each in self._here.items()}
        self._queues = {
            index: BatchingQueue[Request](each.queue, partial(self._work_s, index, each.mec_share * capacity))
            for index, each in self._here.items()
            if each.cooperation != "centralized"
        }
        self._models = {names[index]: self._detectors[index] for index in self._queues}
        self._channels: NDArray[np.complex64] | None = None
        self._gains: NDArray[np.float32] | None = None
        self._reports: list[Report] = []
        self._warned: set[int] = set()

    def prepare(self) -> NDArray[np.float32]:
        """Make the channels to all users; returns their path gains (`Reception.gains`), [drops, users].

        Raises `ChannelError` where the scenario's model cannot make them.
        """
        self._channels = uplink_channels(self._scenario, self._network, self.name)
        return self._reception.gains(self.name, self._channels)

    def tune(self, gains: NDArray[np.float32]) -> None:
        """Learn the path gains of all stations, [stations, drops, users], in roster order."""
        self._gains = gains
        self._reception.tune(gains)

    def receive(self, first: int, last: int, bundles: Sequence[bytes]) -> bytes:
        """Hear the bursts `first` to `last` - 1 in the bundles of all groups (in order); returns the upload."""
        heard: dict[int, list[UplinkBurst]] = {}
        heard_bytes = 0
        for bundle in bundles:
            for frame, arrival_s in Bundle.unpack(bundle):
                header, message = self._port.receive(frame)
                self._port.annotate(header, Delivery(arrival_s, 0.0, arrival_s - header.sent_s))
                assert isinstance(message, UplinkBurst)
                heard_bytes += len(frame)
                heard.setdefault(header.step, []).append(message)
        frames = Bundle()
        for burst in range(first, last):  # one by one, so that frames have the same order wherever windows are cut
            if burst in heard or self._uplink.silence:
                self._serve(self._superposed(burst, heard.pop(burst, [])), frames)
            for index, queue in self._queues.items():
                for batch in queue.run(horizon_s(self._scenario, burst + 1)):
                    for answer in answered(self._reception, self._services, index, batch):
                        self._conclude(index, answer, frames)
        reports, self._reports = self._reports, []
        packed = [report.packed() for report in reports]
        return pack_state({"frames": frames.pack(), "reports": packed, "heard_bytes": heard_bytes})

    def absorb(self, bundle: bytes) -> None:
        """Take in what the MBS answered: the messages that it decided."""
        for frame, arrival_s in Bundle.unpack(bundle):
            header, message = self._port.receive(frame)
            assert isinstance(message, DetectionResult)
            transfer_s = sum(8 * len(frame) / capacity_bps + latency_s for capacity_bps, latency_s in self._links)
            queue_s = max(arrival_s - header.sent_s - transfer_s, 0.0)
            self._port.annotate(header, Delivery(arrival_s, queue_s, transfer_s))

    def swap(self, service: str, detector: DetectorOptions) -> None:
        """Let a service detect with another detector: all requests not yet in a batch. Nothing where it is not here."""
        index = self._names.index(service)
        if index in self._queues:
            self._swap_model(self._reception.model(index), detector)
            self._detectors[index] = detector
            self._warned.discard(index)

    def change(self, change: Change) -> None:
        """Let something else hold for a service, or for all, from a burst on that was not received yet."""
        self._reception.changes.append(change)
        for index in self._queues:
            if self._names[index] == change.service:
                self._detectors[index] = change.detector
            elif change.codebook is None:
                continue
            problem = self._reception.problem_at(self._here[index], change.burst)
            model = self._reception.model(index)
            self._services.add(model, self._detectors[index], problem)
            self._models[model] = self._detectors[index]
            self._warned.discard(index)

    def assign(self, burst: int) -> dict[str, bytes]:
        """Bundles for all groups with the codebooks, from a burst on, of the users whose best station this is.

        They are control, sent when the burst begins; no time is modelled for them.
        """
        assert self._gains is not None, "tune comes first"
        mine = serving(self._gains[:, drop_of(self._uplink, burst)], 1)[self._place]
        words, now_s = self._reception.codewords(burst), sent_at_s(self._uplink, burst)
        bundles = {}
        for index, name in enumerate(self._groups):
            members, bundle = group_members(self._scenario, index), Bundle()
            users = (np.flatnonzero(mine[members.start : members.stop]) + members.start).astype(np.int32)
            if len(users):
                message = CodebookAssignment(np.ascontiguousarray(words[users]), users)
                header, frame = self._port.post(
                    message, name, phase="uplink", step=burst, now_s=now_s, precision="float32"
                )
                self._port.annotate(header, Delivery(now_s, 0.0, 0.0))
                bundle.add(frame, now_s)
            bundles[name] = bundle.pack()
        return bundles

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold: queues with their requests, port, detectors."""
        return {
            "port": self._port.state(),
            "queues": {index: queue_state(queue) for index, queue in self._queues.items()},
            "detectors": {index: self._detectors[index].model_dump(mode="json") for index in self._queues},
            "models": {model: each.model_dump(mode="json") for model, each in self._models.items()},
            "changes": [change.packed() for change in self._reception.changes],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave (after `tune`); the book begins anew."""
        self._port.ledger.drain()
        self._port.restore(state["port"])
        self._reports = []
        self._reception.changes.clear()
        self._models = {model: each for model, each in self._models.items() if model in self._names}
        for values in state["changes"]:
            self.change(Change.unpacked(self._uplink.problem, values))
        for model, options in state["models"].items():  # requests from before a change may still wait
            self._swap_model(model, detector_of(self._uplink, options))
        for index, queue in self._queues.items():
            restore_queue(queue, state["queues"][index])
            self._detectors[index] = detector_of(self._uplink, state["detectors"][index])

    def drain_ledger(self) -> bytes:
        """The book of the station's uplink since the last call."""
        return self._port.ledger.drain_bytes()

    def _swap_model(self, model: str, detector: DetectorOptions) -> None:
        if detector != self._models[model]:
            self._services.swap(model, detector)
            self._models[model] = detector

    def _superposed(self, burst: int, parts: Sequence[UplinkBurst]) -> Heard:
        """What all groups sent in a burst, over this station's channels, with noise of power 1."""
        assert self._channels is not None, "prepare comes first"
        assert self._gains is not None, "tune comes next"
        drop = drop_of(self._uplink, burst)
        return self._reception.superposed(self.name, burst, parts, self._channels[drop], self._gains[:, drop])

    def _serve(self, heard: Heard, frames: Bundle) -> None:
        """Hand a burst to all services."""
        at_s = heard_at_s(self._uplink, heard.burst)
        for index, service in self._here.items():
            served, decided = self._roles_of(index, heard.burst, heard.users)
            if not (decided if service.cooperation == "local" else served).any():
                self._report(Report(index, heard.burst, "idle", "", at_s))
                continue
            request = self._reception.request(heard, served, at_s)
            if len(request.users) > MOST_USERS and not self._uplink.silence:
                reason = f"found {len(request.users)} active users; allowed: at most {MOST_USERS}"
                self._refused(index, Answer(request, None, 0.0, 0.0, 0.0, reason))
            elif service.cooperation == "centralized":
                self._send_signal(index, request, frames)
            elif not self._queues[index].offer(request, at_s):
                self._refused(index, Answer(request, None, 0.0, 0.0, 0.0, "its queue is full"))

    def _roles_of(
        self, index: int, burst: int, users: NDArray[np.int32]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which users a service serves here in a burst, and for which of them this is the best station, bool [I]."""
        roster = self._rosters[index]
        gains = self._gains_of(burst, users)[roster]
        mine = roster.index(self._place)
        return serving(gains, self._here[index].cluster)[mine], serving(gains, 1)[mine]

    def _gains_of(self, burst: int, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Path gains of `users` in a burst to all stations, [B, N]."""
        assert self._gains is not None, "tune comes first"
        return self._gains[:, drop_of(self._uplink, burst), users]

    def _conclude(self, index: int, answer: Answer, frames: Bundle) -> None:
        """What the detector answered: decide, or send it on."""
        if answer.logits is None:
            self._refused(index, answer)
        elif self._here[index].cooperation == "local":
            self._decide(index, answer)
        else:
            request, service = answer.request, self._here[index]
            logits = np.maximum(answer.logits, np.float32(LEAST_LOG_PROBABILITY))
            served, _ = self._roles_of(index, request.burst, request.users)
            users, logits = self._reception.told(request, logits, served, service)
            message = SoftDecision(np.ascontiguousarray(logits), users, self._names[index])
            self._send(message, request.burst, answer.ended_s, service, frames)
            self._report(self._concluded(index, answer, "sent"))

    def _decide(self, index: int, answer: Answer) -> None:
        """The users whose best station this is; what they sent is drawn again, to count the errors."""
        assert answer.logits is not None
        mine, users = self._decided_by(index, answer.request)
        sent = transmissions(self._scenario, answer.request.burst)
        errors = self._reception.errors(answer.logits[:, mine], users, sent)
        self._report(self._concluded(index, answer, "decided")._replace(errors=errors))

    def _refused(self, index: int, answer: Answer) -> None:
        if index not in self._warned:
            self._warned.add(index)
            where = f"{self._names[index]} at {self.name}"
            _log.warning("%s refuses burst %d (and says so once): %s", where, answer.request.burst, answer.refusal)
        undecided = 0
        if self._here[index].cooperation == "local":
            undecided = len(self._decided_by(index, answer.request)[1])
        self._report(self._concluded(index, answer, "refused")._replace(undecided=undecided))

    def _decided_by(self, index: int, request: Request) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
        """Which of the users of a request this station decides for, bool [N], and their numbers."""
        _, mine = self._roles_of(index, request.burst, request.users)
        return mine, request.users[mine]

    def _concluded(self, index: int, answer: Answer, outcome: Any) -> Report:
        detector = self._detectors[index].name
        times = (answer.ended_s, answer.queue_s, answer.compute_s)
        return Report(index, answer.request.burst, outcome, detector, *times, answer.flops)

    def _send_signal(self, index: int, request: Request, frames: Bundle) -> None:
        message = self._reception.signal(request, self._names[index])
        self._send(message, request.burst, request.at_s, self._here[index], frames)
        self._report(Report(index, request.burst, "sent", "", request.at_s))

    def _send(self, message: Message, burst: int, now_s: float, service: Service, frames: Bundle) -> Header:
        header, frame = self._port.post(
            message, self._network.mbs, phase="uplink", step=burst, now_s=now_s, precision=service.precision
        )
        frames.add(frame)
        return header

    def _report(self, report: Report) -> None:
        self._reports.append(report)

    def _work_s(self, index: int, flop_per_s: float, batch: Sequence[Request]) -> float:
        return sum(flops_of(self._reception, self._services, index, request) for request in batch) / flop_per_s


def horizon_s(scenario: Scenario, burst: int) -> float:
    """Until when all is known once the bursts before `burst` were heard: until `burst` is; after the last, for ever."""
    uplink = section(scenario)
    return heard_at_s(uplink, burst) if burst < uplink.bursts else float("inf")


def taking_part(network: Network, service: Service) -> list[int]:
    """Indices in the roster of the stations that take part in a service, ascending."""
    everyone = service.stations == "all"
    return [index for index, name in enumerate(network.stations) if everyone or name in service.stations]


def delays_of(scenario: Scenario, network: Network, a: str, b: str) -> tuple[float, float]:
    """Capacity in bit/s and latency in seconds of what the uplink has of the link between neighbours."""
    return network.capacity_bps(a, b) * uplink_link_share(scenario), network.latency_s(a, b)


def detector_of(uplink: Uplink, options: Mapping[str, Any]) -> DetectorOptions:
    """The detector with these options, as `model_dump` gave them."""
    found: DetectorOptions = detectors_of(uplink.problem).type_of(options["name"]).model_validate(dict(options))
    return found


def queue_state(queue: BatchingQueue[Request]) -> dict[str, Any]:
    """What a checkpoint must hold of a queue."""
    state = queue.state()
    return {**state, "waiting": [[at_s, request.state()] for at_s, request in state["waiting"]]}


def restore_queue(queue: BatchingQueue[Request], state: Mapping[str, Any]) -> None:
    """Take back what `queue_state` gave."""
    waiting = [(float(at_s), Request.from_state(each)) for at_s, each in state["waiting"]]
    queue.restore(waiting, float(state["free_s"]))
