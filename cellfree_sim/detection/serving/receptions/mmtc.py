"""mMTC: stations find out who of all devices is active, and which pilot it sent; nobody knows the channels.

Stations and MBS know how strongly each station hears each device (or an estimate, or nothing at all): gains over the
noise, g_n = P_n E|h_n|^2. Every request is about all devices, and log-probabilities have the state 0 for silence and
1 + q for the pilot q.

Shape letters: S slots, L samples of a pilot, T antennas of a station, B stations, N devices, I of them, Q pilots of a
device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim import seeds
from cellfree_sim.backhaul.messages import ReceivedSignal, SoftDecision, UplinkBurst
from cellfree_sim.channel.station import channel_request
from cellfree_sim.detection.serving.receptions import base
from cellfree_sim.detection.serving.receptions.base import Heard
from cellfree_sim.detection.serving.reports import SILENT, Errors, errors_of, messages_of
from cellfree_sim.detection.serving.requests import Request
from cellfree_sim.scenario.uplink_mmtc import MmtcService, MmtcUplink
from cellfree_sim.uplink import air
from cellfree_sim.uplink.geometry import path_gains, serving
from cellfree_sim.uplink.population import activity_probabilities, mean_active
from cellfree_sim.uplink.power import noise_mw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.network import Network
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.scenario.uplink import Service
    from cellfree_sim.uplink.mmtc import MmtcProblem
    from cellfree_sim.uplink.population import Transmissions

NUMBERS_AT_ONCE = 2**20
"""Complex numbers, one for each pilot and antenna, that a station superposes at once; 8 MiB."""


class Reception(base.Reception):
    """See `base.Reception`."""

    def __init__(self, scenario: Scenario, network: Network) -> None:
        super().__init__(scenario, network)
        assert isinstance(self.uplink, MmtcUplink)
        self._own: MmtcUplink = self.uplink
        self._count = scenario.network.users.count
        self._antennas = scenario.network.sbs.antennas.count
        self._everybody = np.arange(self._count, dtype=np.int32)
        self._activity = _activity(scenario)
        self._gains: NDArray[np.float32] | None = None

    def gains(self, station: str, channels: NDArray[np.complex64]) -> NDArray[np.float32]:
        """See `base.Reception.gains`: without fading, where the channel model tells them; else means over antennas."""
        request = channel_request(self.scenario, self.network, station, "uplink")
        mean = self.scenario.channel.model.mean_gains(request)
        return path_gains(channels) if mean is None else mean.astype(np.float32)

    def tune(self, gains: NDArray[np.float32]) -> None:
        """See `base.Reception.tune`."""
        self._gains = gains

    def problem(self, service: Service) -> MmtcProblem:
        """See `base.Reception.problem`: all devices, and all antennas that the service sees.

        Where gains are unknown, a device is believed to be anywhere between the middle and the farthest corner of the
        area, with the path loss of a macro cell.
        """
        from cellfree_sim.uplink.mmtc import MmtcProblem

        stations = 1
        if service.cooperation == "centralized":
            stations = len(self.scenario.station_names) if service.stations == "all" else len(service.stations)
        return MmtcProblem(
            devices=self._count,
            bits=self._own.bits,
            pilot_length=self._own.pilot_length,
            antennas=self._antennas * stations,
            activity=self._activity if isinstance(self._activity, float) else tuple(self._activity.tolist()),
            pilots=self._own.pilots,
            pilot_seed=self._own.pilot_seed,
            gains=self._own.gains,
            gain_error_db=self._own.gain_error_db,
            stations=stations,
            **self._cell(),
        )

    def _cell(self) -> dict[str, Any]:
        """Power, noise and distances for which the problem has the gains of this network."""
        power = self._own.power
        sent_dbm = min(power.max_dbm, self._own.noise_dbm + self._own.snr_db[0] + power.reference_loss_db)
        width_m, depth_m = self.scenario.network.area_m
        farthest_km = max(float(np.hypot(width_m, depth_m)) / 2000, 0.06)
        return {
            "power_dbm": float(np.clip(sent_dbm, -200, 200)),
            "noise_dbm_hz": self._own.noise_dbm,
            "bandwidth_hz": 1.0,
            "radii_km": (0.05, farthest_km),
        }

    def superposed(
        self,
        station: str,
        burst: int,
        parts: Sequence[UplinkBurst],
        channels: NDArray[np.complex64],
        gains: NDArray[np.float32],
    ) -> Heard:
        """See `base.Reception.superposed`: y [S, L, T], h the gains float32 [N] that the station knows."""
        slots, length, antennas = self._own.slots, self._own.pilot_length, len(channels)
        noise = air.noise_of(self.scenario.seed, station, burst, slots * length, antennas)
        y = noise.reshape(slots, length, antennas)
        unit = np.float32(noise_mw(self._own) ** -0.5)
        for slot in range(slots):
            y[slot] += self._signal(parts, slot, channels, unit)
        place = self.network.stations.index(station)
        power = gains[place] * self.amplitudes(burst, gains) ** 2
        return Heard(burst, self._everybody, y, self._known(place, burst, power), power)

    def _signal(
        self, parts: Sequence[UplinkBurst], slot: int, channels: NDArray[np.complex64], unit: np.float32
    ) -> NDArray[np.complex64]:
        """What all devices sent in a slot over channels [T, N], complex64 [L, T]: S X, a few antennas at a time."""
        import torch

        pilots = self._operator()
        antennas = len(channels)
        signal = np.empty((self._own.pilot_length, antennas), np.complex64)
        step = max(1, NUMBERS_AT_ONCE // pilots.count)
        for first in range(0, antennas, step):
            some = slice(first, min(first + step, antennas))
            sent = np.zeros((some.stop - first, pilots.count), np.complex64)
            for part in parts:
                columns = part.users.astype(np.int64) * pilots.per_device + part.messages[slot]
                sent[:, columns] = channels[some, part.users] * (part.codewords[slot, :, 0] * unit)
            signal[:, some] = pilots.forward(torch.from_numpy(sent)).numpy().T
        return signal

    def _operator(self) -> Any:
        from cellfree_sim.uplink.pilots import pilots_of

        own = self._own
        return pilots_of(own.pilots, self._count, 2**own.bits, own.pilot_length, own.pilot_seed)

    def _known(self, place: int, burst: int, power: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is known of gains [N]: themselves, estimates that are the same as long as the drop is, or nothing."""
        if self._own.gains == "known":
            return power
        if self._own.gains == "unknown":
            return np.empty(0, np.float32)
        station = self.network.stations[place]
        draw = seeds.generator(self.scenario.seed, "uplink", "gain-errors", station, self.drop(burst))
        error_db = self._own.gain_error_db * draw.standard_normal(len(power), np.float32)
        return power * 10 ** (error_db / np.float32(10))

    def _known_at(self, places: Sequence[int], burst: int) -> NDArray[np.float32]:
        """What is known of the gains of stations, [N, B]."""
        assert self._gains is not None, "tune comes first"
        gains = self._gains[:, self.drop(burst)]
        power = gains * self.amplitudes(burst, gains) ** 2
        return np.stack([self._known(place, burst, power[place]) for place in places], axis=-1)

    def request(self, heard: Heard, served: NDArray[np.bool_], at_s: float) -> Request:
        """See `base.Reception.request`: all devices, since what one sent must be told from what all others did."""
        return Request(heard.burst, heard.users, heard.y, heard.h, at_s)

    def signal(self, request: Request, service: str) -> ReceivedSignal:
        """See `base.Reception.signal`: the received pilots, and nothing that the MBS knows."""
        nobody, nothing = np.empty(0, np.int32), np.empty((0, 0, 0), np.complex64)
        return ReceivedSignal(request.y.reshape(len(request.y), -1), nothing, nobody, service)

    def joined(self, parts: Mapping[int, ReceivedSignal], burst: int, at_s: float) -> Request:
        """See `base.Reception.joined`: antennas station by station; h float32 [N, B], or [N] of a single one."""
        length = self._own.pilot_length
        signals = [part.signal.reshape(len(part.signal), length, -1) for part in parts.values()]
        known = self._known_at(list(parts), burst)
        h = known[:, 0] if len(parts) == 1 else known
        return Request(burst, self._everybody, np.concatenate(signals, axis=2), np.ascontiguousarray(h), at_s)

    def sizes(self, request: Request) -> tuple[int, int]:
        """See `base.Reception.sizes`."""
        return request.y.shape[2], self._count

    def stacked(self, requests: Sequence[Request]) -> tuple[NDArray[np.complex64], NDArray[Any], NDArray[np.float32]]:
        """See `base.Reception.stacked`; the noise has the power 1."""
        y = np.concatenate([each.y for each in requests])
        return y, np.stack([each.h for each in requests]), np.ones(len(requests), np.float32)

    def told(
        self, request: Request, logits: NDArray[np.float32], served: NDArray[np.bool_], service: Service
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `base.Reception.told`: devices that are served here, and more likely active than they were before."""
        assert isinstance(service, MmtcService)
        if service.least_evidence is not None:
            risen = np.logaddexp.reduce(_evidence(logits, self._activity, len(self._everybody)), axis=-1)
            risen -= np.float32(np.log(logits.shape[-1] - 1))
            served = served & (risen.max(axis=0) >= service.least_evidence)
        return request.users[served], logits[:, served]

    def fused(
        self, parts: Mapping[int, SoftDecision], burst: int, service: Service
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `base.Reception.fused`: of all devices, log P(0) and log P(q) + sum of the stations' evidence for q.

        A station that says nothing of a device that it serves has found no sign of it. The MBS takes for its evidence
        what T antennas are expected to see of a silent device with the gain g: T (g / (1 + g) - log(1 + g)).
        """
        assert isinstance(service, MmtcService)
        slots = max(len(part.log_probabilities) for part in parts.values()) or self._own.slots
        pilots = 2**self._own.bits
        total = np.zeros((slots, self._count, pilots), np.float32)
        if service.least_evidence is not None:
            total += self._of_silence(list(parts), burst, service).sum(axis=0)[:, None]
        for place, part in parts.items():
            if len(part.users) == 0:
                continue
            said = _evidence(part.log_probabilities, self._activity, self._count, part.users)
            if service.least_evidence is not None:
                said = said - self._of_silence([place], burst, service)[0, part.users, None]
            total[:, part.users] += said
        total += np.log(self._activity / pilots).astype(np.float32).reshape(-1, 1)
        silent = np.broadcast_to(np.log1p(-np.asarray(self._activity)).astype(np.float32).reshape(-1), self._count)
        return self._everybody, np.concatenate([np.broadcast_to(silent[:, None], (slots, self._count, 1)), total], -1)

    def _of_silence(self, places: Sequence[int], burst: int, service: MmtcService) -> NDArray[np.float32]:
        """Evidence for each pilot [B, N] that stations are expected to find of silent devices that they serve."""
        assert self._gains is not None, "tune comes first"
        known = self._known_at(places, burst).T
        if known.size == 0:  # unknown gains
            return np.zeros((len(places), self._count), np.float32)
        roster = [i for i, name in enumerate(self.network.stations) if _takes_part(service, name)]
        served = serving(self._gains[roster, self.drop(burst)], service.cluster)
        serves = served[[roster.index(place) for place in places]]
        expected = self._antennas * (known / (1 + known) - np.log1p(known))
        return np.asarray(np.where(serves, np.minimum(expected, service.least_evidence or 0.0), 0.0), np.float32)

    def answered(
        self, users: NDArray[np.int32], messages: NDArray[np.int32], asked: NDArray[np.int32]
    ) -> NDArray[np.int64]:
        """See `base.Reception.answered`: all devices that are active, whoever heard them."""
        return np.flatnonzero((messages != SILENT).any(axis=0))

    def decide(self, logits: NDArray[np.float32]) -> NDArray[np.int64]:
        """See `base.Reception.decide`: silence is the first state."""
        return np.asarray(logits.argmax(axis=-1) - 1, np.int64)

    def errors(self, logits: NDArray[np.float32], users: NDArray[np.int32], sent: Transmissions) -> Errors:
        """See `base.Reception.errors`."""
        likeliest = np.asarray(logits[..., 1:].argmax(axis=-1), np.int64)
        return errors_of(self.decide(logits), messages_of(sent, users), self._own.bits_of(users), likeliest)

    def facts(self) -> dict[str, Any]:
        """See `base.Reception.facts`."""
        own = self._own
        keys = ("bits", "pilot_length", "pilots", "gains")
        return {**{key: getattr(own, key) for key in keys}, "activity": float(np.mean(self._activity))}


def _takes_part(service: Service, station: str) -> bool:
    return service.stations == "all" or station in service.stations


def _activity(scenario: Scenario) -> Any:
    """Probability that devices are active: one float for all, or float64 [N]."""
    count = scenario.network.users.count
    activity = scenario.uplink.activity  # type: ignore[union-attr]
    if activity.trace is not None:
        return float(np.clip(mean_active(scenario) / count, 1e-9, 0.999))
    own = np.clip(activity_probabilities(scenario, range(count)), 1e-9, 0.999)
    return own if np.ptp(own) else float(own[0])


def _evidence(
    logits: NDArray[np.float32], activity: Any, count: int, users: NDArray[np.int32] | None = None
) -> NDArray[np.float32]:
    """How much more likely than beforehand each pilot is, against silence, [S, I, Q], by log-probabilities."""
    pilots = logits.shape[-1] - 1
    prior = np.broadcast_to(np.log(activity / pilots) - np.log1p(-np.asarray(activity)), count)
    prior = prior if users is None else prior[users]
    return np.asarray(logits[..., 1:] - logits[..., :1] - prior[:, None], np.float32)
