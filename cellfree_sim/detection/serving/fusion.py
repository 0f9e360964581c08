"""The MBS of the uplink: it fuses soft decisions, detects centrally, simulates the backhaul, and measures.

    uploads ─► frames over the links ─► a burst of which all stations have had their say
        soft_fusion    log-probabilities of each user's stations are added
        centralized    queue ─► detector, with the antennas of all stations
    ─► decisions ─► detection_result over the links ─► stations

Frames to the MBS and from it never meet on a direction of a link: each hop of a path leads nearer to the MBS, or away
from it. So the two ways are simulated apart, each in the order of time.

Shape letters: S slots, R antennas of all stations, N users, M messages.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cellfree_sim.backhaul import codec
from cellfree_sim.backhaul.bundle import Bundle
from cellfree_sim.backhaul.link import LinkSimulator, Parcel
from cellfree_sim.backhaul.messages import DetectionResult, ReceivedSignal, SoftDecision, UplinkBurst
from cellfree_sim.backhaul.meter import Meter
from cellfree_sim.backhaul.port import Port
from cellfree_sim.detection.serving.cases import Case
from cellfree_sim.detection.serving.changes import Change
from cellfree_sim.detection.serving.queue import BatchingQueue
from cellfree_sim.detection.serving.receiver import (
    FIRST_SEQUENCE,
    delays_of,
    detector_of,
    horizon_s,
    queue_state,
    restore_queue,
    taking_part,
)
from cellfree_sim.detection.serving.receptions import reception_of
from cellfree_sim.detection.serving.reports import Report
from cellfree_sim.detection.serving.requests import Answer, Request, answered, flops_of
from cellfree_sim.detection.serving.tally import Tally
from cellfree_sim.results.state import unpack_state
from cellfree_sim.scenario.uplink_checks import uplink_link_share
from cellfree_sim.uplink.population import drop_of, heard_at_s, section, snr_db_of, transmissions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.backhaul.link import Tag
    from cellfree_sim.backhaul.messages import Message
    from cellfree_sim.detection.detector import DetectorOptions
    from cellfree_sim.detection.serving.receiver import UplinkContext
    from cellfree_sim.detection.serving.service import Services
    from cellfree_sim.uplink.population import Transmissions

_log = logging.getLogger(__name__)


class _Decision(NamedTuple):
    """What the MBS decided: when it is sent, for which case, messages int32 [S, N] of users int32 [N]."""

    sent_s: float
    case: Case
    users: NDArray[np.int32]
    messages: NDArray[np.int32]


class Fusion:
    """The role of the MBS.

    The order of calls: `tune`, then `close` for each window, with the uploads of all stations; then `drain_rows`.

    Args:
        context: scenario (with an `uplink`) and network.
        services: of the MBS: those of `central_services(scenario)`.
    """

    def __init__(self, context: UplinkContext, services: Services) -> None:
        scenario, network = context.scenario, context.network
        self._scenario = scenario
        self._uplink = section(scenario)
        self._network = network
        self._services = services
        self._reception = reception_of(scenario, network)
        self._stations = network.stations
        self._paths = {station: network.path(network.mbs, station) for station in self._stations}
        self._port = Port(
            network.mbs,
            scenario.name,
            self._paths,
            precision=scenario.backhaul.precision,
            max_bytes=scenario.backhaul.max_frame_bytes,
        )
        self._port.restore({"sequence": FIRST_SEQUENCE, "old_paths": {}})
        links = {(a, b): delays_of(scenario, network, a, b) for a, b in network.links()}
        self._up, self._down = LinkSimulator(links), LinkSimulator(links)
        self._meter = Meter()
        self._flop_per_s = network.graph.nodes[network.mbs]["mec_flop_per_s"]
        self._names = self._uplink.service_names
        self._rosters = [taking_part(network, each) for each in self._uplink.services]
        self._detectors = {index: each.detector for index, each in enumerate(self._uplink.services)}
        self._queues = {
            index: BatchingQueue[Request](each.queue, partial(self._work_s, index))
            for index, each in enumerate(self._uplink.services)
            if each.cooperation == "centralized"
        }
        self._models = {self._names[index]: self._detectors[index] for index in self._queues}
        self._tallies = [Tally(self._uplink) for _ in self._uplink.services]
        self._stations_did = [
            {station: {"requests": 0, "refused": 0, "flops": 0.0} for station in roster} for roster in self._rosters
        ]
        self._coming: list[tuple[int, Report, bytes]] = []
        self._frames: dict[Tag, bytes] = {}
        self._results: dict[Tag, bytes] = {}
        self._cases: dict[tuple[int, int], Case] = {}
        self._sent: dict[int, Transmissions] = {}
        self._heard = 0
        self._told = 0
        self._ended_s = 0.0
        self._rows: list[dict[str, Any]] = []
        self._warned: set[tuple[int, str]] = set()

    @property
    def heard(self) -> int:
        """Bursts that were closed so far."""
        return self._heard

    def tune(self, gains: NDArray[np.float32]) -> None:
        """Learn the path gains of all stations, [stations, drops, users], in roster order."""
        self._reception.tune(gains)

    def close(self, first: int, last: int, uploads: Mapping[str, bytes]) -> dict[str, bytes]:
        """Take in what all stations made of the bursts `first` to `last` - 1; returns a bundle for each station.

        The bundles hold the answers that arrived until the next burst is heard (all, after the last one).
        """
        for index, station in enumerate(self._stations):
            self._file(index, unpack_state(uploads[station]))
        bundles = [Bundle() for _ in self._stations]
        for burst in range(first, last):  # one by one, so that nothing depends on where windows are cut
            self._open(burst)
            until_s = horizon_s(self._scenario, burst + 1)
            self._take(until_s)
            self._arrive(until_s)
            decisions = self._fused(until_s) + self._detected(until_s)
            for decision in sorted(decisions, key=lambda each: (each.sent_s, each.case.burst, each.case.service)):
                self._answer(decision)
            self._deliver(until_s, bundles)
        self._heard = last
        self._tell()
        return {name: bundle.pack() for name, bundle in zip(self._stations, bundles, strict=True)}

    def drain_rows(self) -> list[dict[str, Any]]:
        """Rows of the bursts that are decided, since the last call: one for each burst and service, in order.

        Keys (times in simulated seconds; those of a burst that nobody decided, or in which nobody sent, are NaN):
        burst, service, detector, cooperation, snr_db, drop, users (active), slots (0 where nothing was decided),
        symbols, symbol_errors, bits, bit_errors, blocks, block_errors (of what was decided; a block is a user's
        messages of the burst), active, missed, false_alarms (see `reports.Errors`), undecided
        (users without a decision), requests, refused (requests), bytes (of backhaul frames), flops, started_s (end of
        the burst on the air), decided_s (the last decision is where it is needed), latency_s = queue_s + compute_s +
        backhaul_s of that decision. The last row also has `activity`, see `Meter.read`.
        """
        rows, self._rows = self._rows, []
        if rows:
            for links in (self._up, self._down):
                self._meter.carry(links.take_use(), uplink_link_share(self._scenario))
            rows[-1]["activity"] = self._meter.read(heard_at_s(self._uplink, self._heard - 1))
        return rows

    def facts(self) -> dict[str, Any]:
        """The summary's ``uplink``: problem, constellation, users, bursts, slots (of the bursts told in rows),
        simulated_seconds, services[…].

        Of each service: name, detector (the one in use), detectors (that served), cooperation, cluster, stations,
        precision, snr_db, and for each SNR ser, ser_low, ser_high (ends of the 95 % interval; None where nothing was
        decided), likewise ber and bler, and where users may be silent missed_detection (of symbols sent) and
        false_alarm (of silences); slots, symbols, symbol_errors, bits, bit_errors, blocks, block_errors, active,
        missed, false_alarms, undecided, requests, refused, bytes, bytes_per_slot, flops, slots_per_second (simulated),
        latency_ms_p50,
        latency_ms_p99, latency_ms, queue_ms, compute_ms, backhaul_ms (means), and by_station: {station: {requests,
        refused, utilisation of its share of the MEC server}} (of the MBS, where the service is there).
        """
        services = []
        for index, service in enumerate(self._uplink.services):
            services.append(
                {
                    "name": self._names[index],
                    "detector": self._detectors[index].name,
                    "cooperation": service.cooperation,
                    "cluster": service.cluster,
                    "stations": [self._stations[each] for each in self._rosters[index]],
                    "precision": service.precision,
                    **self._tallies[index].facts(self._ended_s),
                    "by_station": self._facts_by_station(index),
                }
            )
        return {
            "problem": self._uplink.problem,
            **self._reception.facts(),
            "users": self._scenario.network.users.count,
            "bursts": self._told,
            "slots": self._told * self._uplink.slots,
            "simulated_seconds": self._ended_s,
            "services": services,
        }

    def swap(self, service: str, detector: DetectorOptions) -> None:
        """Let a service detect with another detector from now on; for those at the stations, it is only noted."""
        index = self._names.index(service)
        if index in self._queues:
            self._swap_model(self._reception.model(index), detector)
            self._warned.discard((index, self._network.mbs))
        self._detectors[index] = detector

    def change(self, change: Change) -> None:
        """Let something else hold for a service, or for all, from a burst on that was not closed yet."""
        self._reception.changes.append(change)
        self._detectors[self._names.index(change.service)] = change.detector
        for index in self._queues:
            if change.codebook is not None or self._names[index] == change.service:
                problem = self._reception.problem_at(self._uplink.services[index], change.burst)
                model = self._reception.model(index)
                self._services.add(model, self._detectors[index], problem)
                self._models[model] = self._detectors[index]
                self._warned.discard((index, self._network.mbs))

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {
            "port": self._port.state(),
            "links": [[each.state(), each.journeys()] for each in (self._up, self._down)],
            "queues": {index: queue_state(queue) for index, queue in self._queues.items()},
            "detectors": {index: each.model_dump(mode="json") for index, each in self._detectors.items()},
            "models": {model: each.model_dump(mode="json") for model, each in self._models.items()},
            "changes": [change.packed() for change in self._reception.changes],
            "coming": [[station, report.packed(), frame] for station, report, frame in self._coming],
            "frames": [[list(tag), frame] for tag, frame in self._frames.items()],
            "results": [[list(tag), frame] for tag, frame in self._results.items()],
            "cases": [case.state() for case in self._cases.values()],
            "tallies": [tally.state() for tally in self._tallies],
            "stations_did": [{at: dict(did) for at, did in each.items()} for each in self._stations_did],
            "heard": self._heard,
            "told": self._told,
            "ended_s": self._ended_s,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave; the book begins anew."""
        self._port.ledger.drain()
        self._meter.clear()
        self._port.restore(state["port"])
        for links, (free, journeys) in zip((self._up, self._down), state["links"], strict=True):
            links.take_use()  # what is undone
            links.restore(free)
            links.resume(journeys)
        self._reception.changes.clear()
        self._models = {model: each for model, each in self._models.items() if model in self._names}
        for values in state["changes"]:
            self.change(Change.unpacked(self._uplink.problem, values))
        for model, options in state["models"].items():  # requests from before a change may still wait
            self._swap_model(model, detector_of(self._uplink, options))
        self._detectors = {index: detector_of(self._uplink, each) for index, each in state["detectors"].items()}
        for index, queue in self._queues.items():
            restore_queue(queue, state["queues"][index])
        self._coming = [(int(at), Report.unpacked(each), bytes(frame)) for at, each, frame in state["coming"]]
        self._frames = {tuple(tag): bytes(frame) for tag, frame in state["frames"]}
        self._results = {tuple(tag): bytes(frame) for tag, frame in state["results"]}
        cases = [Case.from_state(each) for each in state["cases"]]
        self._cases = {(case.burst, case.service): case for case in cases}
        for tally, each in zip(self._tallies, state["tallies"], strict=True):
            tally.load_state(each)
        self._stations_did = [{int(at): dict(did) for at, did in each.items()} for each in state["stations_did"]]
        self._heard, self._told = int(state["heard"]), int(state["told"])
        self._ended_s = float(state["ended_s"])
        self._sent = {burst: transmissions(self._scenario, burst) for burst in range(self._told, self._heard)}
        self._rows = []

    def drain_ledger(self) -> bytes:
        """The book of the MBS's uplink since the last call."""
        self._meter.clear()
        return self._port.ledger.drain_bytes()

    def _swap_model(self, model: str, detector: DetectorOptions) -> None:
        if detector != self._models[model]:
            self._services.swap(model, detector)
            self._models[model] = detector

    def _open(self, burst: int) -> None:
        """A burst was sent: all stations will report of it, unless nobody is active."""
        sent = self._sent[burst] = transmissions(self._scenario, burst)
        for index, roster in enumerate(self._rosters):
            waiting = len(roster) if len(self._reception.decided_for(sent)) else 0
            self._cases[burst, index] = Case(burst, index, waiting, handled=waiting == 0)

    def _file(self, station: int, upload: Mapping[str, Any]) -> None:
        """Reports of a station, and the frames that it sent, in the order of the reports that say so."""
        frames, path = Bundle.unpack(upload["frames"]), self._paths[self._stations[station]][::-1]
        self._meter.count(UplinkBurst.KIND, (), upload["heard_bytes"])
        for packed in upload["reports"]:
            report = Report.unpacked(packed)
            frame = bytes(next(frames)[0]) if report.outcome == "sent" else b""
            if frame:
                central = self._uplink.services[report.service].cooperation == "centralized"
                self._meter.count((ReceivedSignal if central else SoftDecision).KIND, path, len(frame))
            self._meter.compute(path[0], report.flops / self._network.graph.nodes[path[0]]["mec_flop_per_s"])
            self._coming.append((station, report, frame))

    def _take(self, until_s: float) -> None:
        """What stations reported, and sent, before `until_s`."""
        now = [each for each in self._coming if each[1].at_s < until_s]
        self._coming = [each for each in self._coming if each[1].at_s >= until_s]
        held = Counter((service, station) for _, service, station in self._frames)
        for station, report, frame in now:
            case = self._cases[report.burst, report.service]
            if report.outcome == "sent":
                case.bytes += len(frame)
                if held[report.service, station] < self._uplink.services[report.service].queue.capacity:
                    held[report.service, station] += 1
                    self._submit(station, report, frame)
                else:
                    report = self._dropped(station, report, frame)
            case.reports[station] = report
            case.waiting -= 1
            did = self._stations_did[report.service][station]
            did["requests"] += report.outcome != "idle"
            did["refused"] += report.outcome == "refused"
            did["flops"] += report.flops

    def _submit(self, station: int, report: Report, frame: bytes) -> None:
        tag = (report.burst, report.service, station)
        path = self._paths[self._stations[station]][::-1]
        self._up.submit(tag, Parcel(path, len(frame), report.at_s))
        self._frames[tag] = frame

    def _dropped(self, station: int, report: Report, frame: bytes) -> Report:
        """The backhaul holds as many frames of this service and station as may wait: one more is lost, and said so."""
        limit = self._scenario.backhaul.max_frame_bytes
        header, message, payload_bytes = codec.open_frame(frame, run=self._scenario.name, max_bytes=limit)
        self._port.ledger.record(
            "dropped",
            header,
            kind=message.KIND,
            link_class=message.LINK,
            size_bytes=len(frame),
            payload_bytes=payload_bytes,
        )
        name = self._stations[station]
        self._warn(report.service, name, report.burst, "the backhaul holds too many of its frames")
        return report._replace(outcome="refused")

    def _arrive(self, until_s: float) -> None:
        """Frames of the stations arrive."""
        for tag, delivery in self._up.run(until_s):
            burst, service, station = tag
            frame = self._frames.pop(tag)
            header, _ = self._port.receive(frame)
            self._port.annotate(header, delivery)
            self._cases[burst, service].frames[station] = (frame, delivery.arrival_s)

    def _fused(self, until_s: float) -> list[_Decision]:
        """Handle the cases of which all stations had their say before `until_s`; decisions of those that are fused."""
        ready = [(case.ready_s, case) for case in self._cases.values() if not case.handled]
        now = [(at_s, case) for at_s, case in ready if at_s is not None and at_s < until_s]
        decisions = []
        for at_s, case in sorted(now, key=lambda each: (each[0], each[1].burst, each[1].service)):
            cooperation = self._uplink.services[case.service].cooperation
            if cooperation == "centralized" and case.frames:
                self._ask(case, at_s)
                continue
            case.handled = True
            if cooperation == "soft_fusion":
                decisions += self._fuse(case, at_s)
            elif cooperation == "centralized":  # all stations refused
                case.undecided = self._due(case)
        return decisions

    def _fuse(self, case: Case, at_s: float) -> list[_Decision]:
        """Add the log-probabilities that the stations of each user sent."""
        messages = zip(sorted(case.frames), self._messages(case), strict=True)
        parts = {station: message for station, message in messages if isinstance(message, SoftDecision)}
        case.undecided = self._due(case)
        if not parts:
            return []
        users, total = self._reception.fused(parts, case.burst, self._uplink.services[case.service])
        case.flops = float(sum(part.log_probabilities.size for part in parts.values()))
        case.compute_s = case.flops / self._share_of_flop_per_s(case.service)
        return [self._decided(case, at_s + case.compute_s, users, total)]

    def _ask(self, case: Case, at_s: float) -> None:
        """Put what all stations received into one request."""
        case.handled = case.asked = True
        messages = zip(sorted(case.frames), self._messages(case), strict=True)
        parts = {station: message for station, message in messages if isinstance(message, ReceivedSignal)}
        request = self._reception.joined(parts, case.burst, at_s)
        if not self._queues[case.service].offer(request, at_s):
            self._refused(case, "its queue is full")

    def _detected(self, until_s: float) -> list[_Decision]:
        """Let the services of the MBS detect what is due before `until_s`."""
        decisions = []
        for index, queue in self._queues.items():
            for batch in queue.run(until_s):
                for answer in answered(self._reception, self._services, index, batch):
                    decisions += self._concluded(self._cases[answer.request.burst, index], answer)
        return decisions

    def _concluded(self, case: Case, answer: Answer) -> list[_Decision]:
        case.asked = False
        case.queue_s, case.compute_s, case.flops = answer.queue_s, answer.compute_s, answer.flops
        if answer.logits is None:
            self._refused(case, answer.refusal)
            return []
        case.detector = self._detectors[case.service].name
        case.undecided = self._due(case)
        return [self._decided(case, answer.ended_s, answer.request.users, answer.logits)]

    def _decided(self, case: Case, sent_s: float, users: NDArray[np.int32], logits: NDArray[np.float32]) -> _Decision:
        """The most probable messages; what was sent is drawn again, to count the errors."""
        messages = self._reception.decide(logits)
        case.errors = self._reception.errors(logits, users, self._sent[case.burst])
        case.undecided -= len(users)
        self._meter.compute(self._network.mbs, case.flops / self._flop_per_s)
        case.sent_s = case.last_result_s = sent_s
        return _Decision(sent_s, case, users, messages.astype(np.int32))

    def _refused(self, case: Case, reason: str) -> None:
        self._warn(case.service, self._network.mbs, case.burst, reason)
        case.asked, case.refused, case.undecided = False, 1, self._due(case)

    def _due(self, case: Case) -> int:
        """Users that a decision is due for."""
        return len(self._reception.decided_for(self._sent[case.burst]))

    def _warn(self, service: int, place: str, burst: int, reason: str) -> None:
        if (service, place) not in self._warned:
            self._warned.add((service, place))
            where = f"{self._names[service]} at {place}"
            _log.warning("%s refuses burst %d (and says so once): %s", where, burst, reason)

    def _answer(self, decision: _Decision) -> None:
        """Send each station what was decided for its users."""
        case, users = decision.case, decision.users
        service = self._uplink.services[case.service]
        for station, message in zip(sorted(case.frames), self._messages(case), strict=True):
            asked = message.users  # type: ignore[attr-defined]
            mine = self._reception.answered(users, decision.messages, asked)
            result = DetectionResult(decision.messages[:, mine], users[mine], self._names[case.service])
            name = self._stations[station]
            header, frame = self._port.post(
                result, name, phase="uplink", step=case.burst, now_s=decision.sent_s, precision=service.precision
            )
            self._meter.count(result.KIND, header.path, len(frame), header.attempt)
            tag = (case.burst, case.service, station)
            self._down.submit(tag, Parcel(header.path, len(frame), decision.sent_s))
            self._results[tag] = frame
            case.bytes += len(frame)
            case.results += 1

    def _deliver(self, until_s: float, bundles: Sequence[Bundle]) -> None:
        """Answers arrive at the stations."""
        for tag, delivery in self._down.run(until_s):
            burst, service, station = tag
            bundles[station].add(self._results.pop(tag), delivery.arrival_s)
            case = self._cases[burst, service]
            case.results -= 1
            case.last_result_s = max(case.last_result_s, delivery.arrival_s)

    def _messages(self, case: Case) -> list[Message]:
        """What the stations sent, in roster order."""
        return [codec.decode(frame)[1] for _, (frame, _) in sorted(case.frames.items())]

    def _tell(self) -> None:
        """Rows of the bursts that are done with, in order."""
        services = range(len(self._uplink.services))
        while self._told < self._heard and all(self._cases[self._told, index].done for index in services):
            burst = self._told
            for index in services:
                self._rows.append(self._row(self._cases.pop((burst, index))))
            del self._sent[burst]
            self._told += 1

    def _row(self, case: Case) -> dict[str, Any]:
        service, burst = self._uplink.services[case.service], case.burst
        users, started_s = len(self._sent[burst].users), heard_at_s(self._uplink, burst)
        own = case.row(service, started_s)
        row = {
            "burst": burst,
            "service": self._names[case.service],
            "cooperation": service.cooperation,
            "snr_db": snr_db_of(self._uplink, burst),
            "drop": drop_of(self._uplink, burst),
            "users": users,
            "slots": self._uplink.slots if own["blocks"] else 0,
            **own,
        }
        self._tallies[case.service].add(row)
        self._ended_s = max(self._ended_s, started_s, 0.0 if math.isnan(row["decided_s"]) else row["decided_s"])
        return row

    def _facts_by_station(self, index: int) -> dict[str, dict[str, Any]]:
        """What a service did at each place where it computes."""
        share = self._uplink.services[index].mec_share
        places = {self._stations[each]: did for each, did in self._stations_did[index].items()}
        if index in self._queues:
            places = {self._network.mbs: self._tallies[index].work()}
        facts = {}
        for name, did in places.items():
            capacity = share * self._network.graph.nodes[name]["mec_flop_per_s"] * self._ended_s
            facts[name] = {
                "requests": did["requests"],
                "refused": did["refused"],
                "utilisation": did["flops"] / capacity if capacity else 0.0,
            }
        return facts

    def _share_of_flop_per_s(self, index: int) -> float:
        return float(self._uplink.services[index].mec_share * self._flop_per_s)

    def _work_s(self, index: int, batch: Sequence[Request]) -> float:
        flops = sum(flops_of(self._reception, self._services, index, request) for request in batch)
        return flops / self._share_of_flop_per_s(index)
