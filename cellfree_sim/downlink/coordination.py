"""The MBS side of every algorithm: books, the simulated backhaul, and measurement on held-out realisations.

The coordinator is also where the backhaul is simulated: every frame comes from it or goes to it, so it alone knows the
queues. Measurement frames (validation, test) are counted, but take no simulated time: training does not wait for them.
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from cellfree_sim import seeds
from cellfree_sim.backhaul import codec
from cellfree_sim.backhaul.bundle import Bundle
from cellfree_sim.backhaul.link import Delivery, LinkSimulator, Parcel
from cellfree_sim.backhaul.messages import Admit, ChannelReport, Header, Join, Message
from cellfree_sim.backhaul.meter import Meter
from cellfree_sim.backhaul.port import Port
from cellfree_sim.downlink.objective import BatchLoss, Objective
from cellfree_sim.downlink.rates import project_to_budget, served_rates, station_power, user_rates
from cellfree_sim.downlink.roles import Context, CoordinatorRole, Progress, Round, down_links
from cellfree_sim.errors import RunFailedError
from cellfree_sim.scenario.parts import MBS_NAME

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from cellfree_sim.backhaul.precision import Precision
    from cellfree_sim.network import Network
    from cellfree_sim.scenario.schema import Scenario

MEASURED = ("validation", "test")
CHUNK = 500  # realisations whose rates are computed at a time
FLOPS_PER_COMPLEX_MAC = 8


class Uploads(NamedTuple):
    """What the stations of the roster sent for a round, in order: messages, and headers with the sizes of frames."""

    messages: dict[str, list[Message]]
    headers: dict[str, list[tuple[Header, int]]]


class Coordinator(CoordinatorRole):
    """Roster, books, simulated backhaul, held-out measurement; what is learned is for subclasses to say."""

    def __init__(self, context: Context) -> None:
        scenario = context.scenario
        network = context.network
        self._scenario = scenario
        self._network = network
        self._device = torch.device(context.device)
        self.roster: tuple[str, ...] = tuple(network.stations)
        self._port = Port(
            network.mbs,
            run=scenario.name,
            paths=_paths(network),
            precision=scenario.backhaul.precision,
            max_bytes=scenario.backhaul.max_frame_bytes,
        )
        self._capacities = self._capacities_of(network)
        self._links = LinkSimulator(self._capacities)
        self._meter = Meter()
        self._objective = Objective(scenario.downlink.loss_scheme, scenario.network.users.min_rate_bps_hz)
        self._joined: dict[str, Join] = {}
        self._cached: dict[str, NDArray[np.complex64]] = {}
        self._held_out: dict[str, dict[str, NDArray[np.complex64]]] = {phase: {} for phase in MEASURED}
        self._rates: dict[str, NDArray[np.float64]] = {}
        self._power_violation = 0.0
        self.now_s = 0.0
        self._answered: dict[str, Delivery] = {}
        self._wire_bytes = 0
        self._hold = False
        self._rows: list[dict[str, Any]] = []
        self._started = time.perf_counter()

    def close(self, exchange: Round, uploads: Mapping[str, bytes]) -> dict[str, bytes]:
        """See `CoordinatorRole.close`. RunFailedError where a station's part is missing or the loss is not finite."""
        missing = [station for station in self.roster if station not in uploads]
        if missing:
            raise RunFailedError(f"{exchange.phase} round {exchange.step}: no upload from {', '.join(missing)}")
        received = Uploads({}, {})
        for station in self.roster:
            messages, headers = received.messages.setdefault(station, []), received.headers.setdefault(station, [])
            for frame, _ in Bundle.unpack(uploads[station]):
                header, message = self._port.receive(frame)
                messages.append(message)
                headers.append((header, len(frame)))
                self._count(header, message, len(frame))
        if exchange.phase in MEASURED:
            return self._close_measurement(exchange, received)
        if exchange.phase == "setup":
            return self._close_setup(exchange, received)
        if exchange.phase == "sharing":
            return self._close_sharing(exchange, received)
        return self._close_training(exchange, received)

    @abstractmethod
    def _close_setup(self, exchange: Round, received: Uploads) -> dict[str, bytes]:
        """Admit the roster; the answers."""

    @abstractmethod
    def _close_training(self, exchange: Round, received: Uploads) -> dict[str, bytes]:
        """One training step; the answers."""

    @abstractmethod
    def _close_measurement(self, exchange: Round, received: Uploads) -> dict[str, bytes]:
        """Measure a held-out split; the answers."""

    def _close_sharing(self, exchange: Round, received: Uploads) -> dict[str, bytes]:
        """Average what the stations have learned; the answers. Only where stations learn (`StationRole.unfinished`)."""
        raise RunFailedError(f"step {exchange.step}: the stations of this algorithm have no models to share")

    def reconfigure(self, network: Network) -> None:
        """See `CoordinatorRole.reconfigure`; what is known of stations that are gone is forgotten."""
        self._network = network
        self.roster = tuple(network.stations)
        self._capacities = self._capacities_of(network)
        busy = [(a, b, free_s) for a, b, free_s in self._links.state() if network.graph.has_edge(a, b)]
        self._meter.carry(self._links.take_use(), self._scenario.link_share_left)
        self._links = LinkSimulator(self._capacities)
        self._links.restore(busy)
        self._port.reroute(_paths(network), down_links(network), self._scenario.backhaul.resend_after_s)
        known: list[dict[str, Any]] = [self._joined, self._cached, self._answered, *self._held_out.values()]
        for table in known:
            for name in set(table) - set(network.members):
                del table[name]

    def relay(self, bundle: bytes) -> bytes:
        """See `CoordinatorRole.relay`. The MBS need not stand on their path, and does not enter them: it only knows the
        queues.
        """
        frames = [frame for frame, _ in Bundle.unpack(bundle)]
        opened = [codec.decode(frame) for frame in frames]
        parcels = [Parcel(h.path, len(f), h.sent_s) for (h, _), f in zip(opened, frames, strict=True)]
        arrived = Bundle()
        for (header, message), frame, delivery in zip(opened, frames, self._links.carry(parcels), strict=True):
            self._count(header, message, len(frame))
            arrived.add(bytes(frame), delivery.arrival_s)
        return arrived.pack()

    def take_leave(self, bundle: bytes) -> None:
        """See `CoordinatorRole.take_leave`."""
        received = []
        for frame, _ in Bundle.unpack(bundle):
            header, message = self._port.receive(frame)
            self._count(header, message, len(frame))
            received.append((header, len(frame)))
        self._arrive({received[0][0].sender: received})

    def hold(self) -> None:
        """Let the next loss feedback tell the stations to stop."""
        self._hold = True

    def measure_references(self, progress: Progress | None = None) -> None:
        """Each reference of the scenario on the very channels on which the stations were tested."""
        references = self._scenario.downlink.references
        channel = torch.from_numpy(self._stacked("test")).to(self._device)
        min_rate = self._scenario.network.users.min_rate_bps_hz
        for index, reference in enumerate(references):
            seed = seeds.integer(self._scenario.seed, "reference", reference.name)
            beams, allocation = reference.solve(channel, min_rate=min_rate, seed=seed)
            self._rates[reference.name] = _rates_in_chunks(beams, allocation, channel)
            if progress is not None:
                progress(reference.name, index + 1, len(references))

    def test_rates(self) -> dict[str, NDArray[np.float64]]:
        """See `CoordinatorRole.test_rates`."""
        return dict(self._rates)

    def drain_metrics(self) -> list[dict[str, Any]]:
        """See `CoordinatorRole.drain_metrics`."""
        rows, self._rows = self._rows, []
        if rows:
            self._meter.carry(self._links.take_use(), self._scenario.link_share_left)
            rows[-1]["activity"] = self._meter.read(self.now_s)
        return rows

    def facts(self) -> dict[str, Any]:
        """See `CoordinatorRole.facts`."""
        facts = {"power_violation": self._power_violation, "simulated_seconds": self.now_s}
        return facts | ({"objective": self._objective.state()} if self._objective.scheme.adapts else {})

    def state(self) -> dict[str, Any]:
        """Clock, queues, caches and port."""
        return {
            "now_s": self.now_s,
            "wire_bytes": self._wire_bytes,
            "objective": self._objective.state(),
            "answered": {name: [d.arrival_s, d.queue_s, d.transfer_s] for name, d in self._answered.items()},
            "joined": {name: [join.parameters, join.flops_per_realisation] for name, join in self._joined.items()},
            "cached": dict(self._cached),
            "held_out": {phase: dict(channels) for phase, channels in self._held_out.items()},
            "links": self._links.state(),
            "port": self._port.state(),
        }

    def load_state(self, state: Mapping[str, Any], network: Network) -> None:
        """See `state`."""
        self._port.ledger.drain()  # what is undone was never sent
        self._meter.clear()
        self._network = network
        self.roster = tuple(network.stations)
        self._capacities = self._capacities_of(network)
        self._links = LinkSimulator(self._capacities)
        self._port.paths = _paths(network)
        self.now_s = float(state["now_s"])
        self._wire_bytes = int(state["wire_bytes"])
        self._objective = self._objective.restored(state["objective"])
        self._answered = {name: Delivery(*values) for name, values in state["answered"].items()}
        self._joined = {name: Join(*values) for name, values in state["joined"].items()}
        self._cached = {name: np.asarray(array) for name, array in state["cached"].items()}
        self._held_out = {
            phase: {name: np.asarray(array) for name, array in channels.items()}
            for phase, channels in state["held_out"].items()
        }
        self._hold = False
        self._rows.clear()
        self._links.restore(state["links"])
        self._port.restore(state["port"])

    def drain_ledger(self) -> bytes:
        """The MBS's book since the last call."""
        self._meter.clear()
        return self._port.ledger.drain_bytes()

    def _count(self, header: Header, message: Message, size_bytes: int) -> None:
        """A frame came, or left, or was passed on."""
        self._wire_bytes += size_bytes
        self._meter.count(message.KIND, header.path, size_bytes, header.attempt)

    def _computed(self, seconds: float, headers: Mapping[str, list[tuple[Header, int]]]) -> None:
        """The MBS computed for so long in a round, and each station from the last answer until it sent these."""
        share = {name: _share_left(self._scenario, name) for name in (*headers, self._network.mbs)}
        self._meter.compute(self._network.mbs, share[self._network.mbs] * seconds)
        for station, sent in headers.items():
            if sent and station in self._answered:
                header, _ = sent[0]
                ready_s = header.sent_s - (self._scenario.backhaul.resend_after_s if header.attempt else 0.0)
                self._meter.compute(station, share[station] * max(0.0, ready_s - self._answered[station].arrival_s))

    def _batch_seed(self, step: int) -> int:
        return seeds.integer(self._scenario.seed, "batch", step)

    def _arrive(self, headers: Mapping[str, list[tuple[Header, int]]]) -> tuple[str, float, float]:
        """Carry a round's frames over the backhaul, which moves the clock to the last arrival.

        Returns the station that the round waited for, when its frames were ready, and how long they would take on idle
        links. A frame that was lost was ready before it was sent again.
        """
        flat = [(station, header, size) for station, sent in headers.items() for header, size in sent]
        deliveries = self._links.carry([Parcel(header.path, size, header.sent_s) for _, header, size in flat])
        critical, last = flat[0], deliveries[0]
        for item, delivery in zip(flat, deliveries, strict=True):
            self._port.annotate(item[1], delivery)
            if delivery.arrival_s > last.arrival_s:
                critical, last = item, delivery
        station, header, _ = critical
        own = [Parcel(h.path, size, h.sent_s) for h, size in headers[station]]
        alone = LinkSimulator(self._capacities).carry(own)
        self.now_s = max(self.now_s, last.arrival_s)
        ready_s = header.sent_s - (self._scenario.backhaul.resend_after_s if header.attempt else 0.0)
        return station, ready_s, max(delivery.arrival_s for delivery in alone) - header.sent_s

    def _answer(
        self, answers: Mapping[str, Sequence[Message]], exchange: Round, *, precision: Precision | None = None
    ) -> dict[str, bytes]:
        """Send messages to each station of the roster; the network adds when they arrive."""
        phase, step = exchange.phase, exchange.step
        posted = [
            (
                station,
                message,
                *self._port.post(message, station, phase=phase, step=step, now_s=self.now_s, precision=precision),
            )
            for station, messages in answers.items()
            for message in messages
        ]
        parcels = [Parcel(header.path, len(frame), header.sent_s) for _, _, header, frame in posted]
        bundles = {station: Bundle() for station in answers}
        for (station, message, header, frame), delivery in zip(posted, self._links.carry(parcels), strict=True):
            self._port.annotate(header, delivery)
            lost_s = header.sent_s - self.now_s
            self._answered[station] = delivery._replace(queue_s=delivery.queue_s + lost_s)
            self._count(header, message, len(frame))
            bundles[station].add(frame, delivery.arrival_s)
        return {station: bundle.pack() for station, bundle in bundles.items()}

    def _admit(self, exchange: Round, received: Uploads, next_seed: int) -> dict[str, bytes]:
        """Take in what the stations announce; tell all of them who takes part in the next round."""
        for station, messages in received.messages.items():
            self._joined[station] = next(message for message in messages if isinstance(message, Join))
            reports = [message.channel for message in messages if isinstance(message, ChannelReport)]
            if reports:
                self._cached[station] = np.concatenate(reports)
        admit = Admit(roster=self.roster, next_seed=next_seed)
        return self._answer({station: [admit] for station in self.roster}, exchange)

    def _capacities_of(self, network: Network) -> dict[tuple[str, str], tuple[float, float]]:
        """Capacity and latency of each link, without the slice that is kept for the uplink."""
        share = self._scenario.link_share_left
        return {(a, b): (share * network.capacity_bps(a, b), network.latency_s(a, b)) for a, b in network.links()}

    def _hold_now(self) -> bool:
        """Whether the stations are to stop at this round boundary; they are told once."""
        hold, self._hold = self._hold, False
        return hold

    def _measure(self, exchange: Round, beams_SBNTI: Tensor, allocation_SBNI: Tensor) -> None:
        """Rates of hard decisions on the true channels of a held-out split, after projection to the power budget."""
        power = station_power(beams_SBNTI, allocation_SBNI)
        channel = torch.from_numpy(self._stacked(exchange.phase)).to(self._device)
        beams_SBNTI = project_to_budget(beams_SBNTI, allocation_SBNI)
        rates = _rates_in_chunks(beams_SBNTI, allocation_SBNI, channel)
        if exchange.phase == "test":
            self._rates = {self._scenario.downlink.algorithm.name: rates}
            self._power_violation = _power_violation(power)
        self._row(exchange, BatchLoss(torch.tensor(math.nan), torch.zeros(0), torch.from_numpy(rates), power))
        served = _served_in_chunks(beams_SBNTI, allocation_SBNI, channel, rates)
        self._rows[-1]["served_rates"] = dict(zip(self.roster, served, strict=True))

    def _stacked(self, phase: str) -> NDArray[np.complex64]:
        """Held-out channels of the roster, [S, B, N, T, I, R]."""
        return np.stack([self._held_out[phase][station] for station in self.roster], axis=1)

    def _row(
        self, exchange: Round, loss: BatchLoss, *, compute_s: float = 0.0, queue_s: float = 0.0, transfer_s: float = 0.0
    ) -> None:
        min_rate = self._scenario.network.users.min_rate_bps_hz
        sums = loss.rates.sum(1).double()
        error = float(sums.std() / math.sqrt(len(sums))) if len(sums) > 1 else math.nan
        self._rows.append(
            {
                "phase": exchange.phase,
                "step": exchange.step,
                "joint_loss": float(loss.joint.detach()),
                "sum_rate": float(loss.rates.sum(1).mean()),
                "sum_rate_error": error,
                "min_rate_satisfied": float((loss.rates >= min_rate).double().mean()),
                "power_violation": _power_violation(loss.power),
                "simulated_s": self.now_s,
                "compute_s": compute_s,
                "queue_s": queue_s,
                "transfer_s": transfer_s,
                "bytes": self._wire_bytes,
                "wall_s": time.perf_counter() - self._started,
            }
        )

    def _loss_flops(self, channel_SBNTIR: Tensor, *, backward: bool) -> float:
        """Multiply-adds of (4) and (5): every user's beam through every user's channel, then R x R covariances."""
        S, B, N, T, users, R = channel_SBNTIR.shape
        forward = FLOPS_PER_COMPLEX_MAC * S * N * users**2 * R * (B * T + R)
        return forward * (3 if backward else 1)


def _paths(network: Network) -> dict[str, tuple[str, ...]]:
    """From the MBS to each small base station that can be reached."""
    return {site: network.path(network.mbs, site) for site in network.sites if network.reaches(network.mbs, site)}


def _share_left(scenario: Scenario, station: str) -> float:
    """Share of a station's server that is left beside its edge services."""
    host = scenario.network.mbs if station == MBS_NAME else scenario.network.sbs
    return scenario.flop_per_s_left(station) / host.mec_flop_per_s


def _power_violation(power_SB: Tensor) -> float:
    """Largest excess over the budget, relative to it."""
    return max(0.0, float(power_SB.max()) - 1.0)


def _rates_in_chunks(beams: Tensor, allocation: Tensor, channel: Tensor) -> NDArray[np.float64]:
    with torch.no_grad():
        parts = [
            user_rates(beams[i : i + CHUNK], allocation[i : i + CHUNK], channel[i : i + CHUNK])
            for i in range(0, len(channel), CHUNK)
        ]
    return np.asarray(torch.cat(parts).double().cpu().numpy())


def _served_in_chunks(beams: Tensor, allocation: Tensor, channel: Tensor, rates: NDArray[np.float64]) -> list[float]:
    total = torch.zeros(channel.shape[1], dtype=torch.float64, device=channel.device)
    with torch.no_grad():
        for i in range(0, len(channel), CHUNK):
            own = torch.from_numpy(rates[i : i + CHUNK]).to(channel.device)
            part = served_rates(beams[i : i + CHUNK], allocation[i : i + CHUNK], channel[i : i + CHUNK], own)
            total += part * len(own) / len(channel)
    return [float(each) for each in total]
