"""Grant-free NOMA: stations know the codebooks and the channels of all users, and find out who sent what.

Shape letters: S slots, T antennas of a station, K resources, R = T K samples of a slot, antenna by antenna, N users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.backhaul.messages import ReceivedSignal, UplinkBurst
from cellfree_sim.detection.serving.receptions import base
from cellfree_sim.detection.serving.receptions.base import Heard
from cellfree_sim.detection.serving.requests import Request
from cellfree_sim.scenario.uplink_noma import NomaUplink
from cellfree_sim.uplink import air
from cellfree_sim.uplink.codewords import noma_problem
from cellfree_sim.uplink.power import noise_mw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.network import Network
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.scenario.uplink import Service
    from cellfree_sim.uplink.noma import NomaProblem


class Reception(base.Reception):
    """See `base.Reception`."""

    def __init__(self, scenario: Scenario, network: Network) -> None:
        super().__init__(scenario, network)
        assert isinstance(self.uplink, NomaUplink)
        self._resources = self.uplink.resources
        self._log_priors: dict[str, NDArray[np.float64]] = {}
        self._facts = {
            "codebook": self.uplink.codebook.name,
            "resources": self._resources,
            "fading": self.uplink.fading,
        }

    def problem(self, service: Service) -> NomaProblem:
        """See `base.Reception.problem`: all antennas that it sees."""
        antennas = self.scenario.network.sbs.antennas.count
        if service.cooperation == "centralized":
            antennas *= len(self.scenario.station_names) if service.stations == "all" else len(service.stations)
        return noma_problem(self.scenario, antennas)

    def problem_at(self, service: Service, burst: int) -> NomaProblem:
        """See `base.Reception.problem_at`: codebook and activity are those that it was told of."""
        name = self.uplink.service_names[self.uplink.services.index(service)]
        told = [change for change in self.changes if change.burst <= burst]
        problem = self.problem(service)
        own = [change.activity for change in told if change.service == name]
        books = [change.codebook for change in told if change.codebook is not None]
        if own or books:  # the codebook as such: with another activity, its design might be another one
            activity = own[-1] if own else problem.activity
            problem = problem.changed(codebook=books[-1] if books else problem.book, activity=activity)
        return problem

    def codewords(self, burst: int) -> NDArray[np.complex64]:
        """See `base.Reception.codewords`."""
        problem = self.problem_at(self.uplink.services[0], burst)
        return problem.book.scaled(float(self._resources)).codewords

    def superposed(
        self,
        station: str,
        burst: int,
        parts: Sequence[UplinkBurst],
        channels: NDArray[np.complex64],
        gains: NDArray[np.float32],
    ) -> Heard:
        """See `base.Reception.superposed`: all users may have sent, and their channels are known of all."""
        uplink, seed = self.uplink, self.scenario.seed
        antennas, users = channels.shape[:2]
        h = channels.reshape(antennas, users, -1)  # on each resource, or on all of them
        y = air.noise_of(seed, station, burst, uplink.slots, antennas * self._resources)
        if parts:
            sent = np.concatenate([part.codewords for part in parts], axis=1) * np.float32(noise_mw(uplink) ** -0.5)
            over = np.broadcast_to(h[:, np.concatenate([part.users for part in parts])], (antennas, *sent.shape[1:]))
            y += np.einsum("sik,tik->stk", sent, over).reshape(y.shape)  # not BLAS, as in `air.received`
        amplitude = self.amplitudes(burst, gains)
        power = gains[self.network.stations.index(station)] * amplitude**2
        known = air.known_channels(
            np.moveaxis(h, 2, 0) * amplitude, power, uplink.csi_error_db, seed, station, burst
        )  # [1 or K, T, N]
        samples = np.broadcast_to(known.transpose(2, 1, 0), (users, antennas, self._resources))
        return Heard(burst, np.arange(users, dtype=np.int32), y, samples.reshape(users, -1), power)

    def request(self, heard: Heard, served: NDArray[np.bool_], at_s: float) -> Request:
        """See `base.Reception.request`: all users are served everywhere, as none can be told from noise alone."""
        assert served.all()
        return Request(heard.burst, heard.users, heard.y, heard.h, at_s)

    def signal(self, request: Request, service: str) -> ReceivedSignal:
        """See `base.Reception.signal`: a channel that is the same on all resources is sent once."""
        signal = request.y.reshape(len(request.y), -1, self._resources).swapaxes(1, 2)
        channel = request.h.reshape(len(request.h), -1, self._resources).transpose(2, 0, 1)
        if not self.uplink.selective:
            channel = channel[:1]
        flat = signal.reshape(-1, signal.shape[2])
        return ReceivedSignal(flat, np.ascontiguousarray(channel), request.users, service)

    def joined(self, parts: Mapping[int, ReceivedSignal], burst: int, at_s: float) -> Request:
        """See `base.Reception.joined`: the antennas of all, one after the other."""
        users = next(iter(parts.values())).users
        signal = np.concatenate([part.signal for part in parts.values()], axis=1)
        channel = np.concatenate([part.channel for part in parts.values()], axis=2)
        y = signal.reshape(-1, self._resources, signal.shape[1]).swapaxes(1, 2)
        h = np.broadcast_to(channel.transpose(1, 2, 0), (len(users), signal.shape[1], self._resources))
        return Request(burst, users, y.reshape(len(y), -1), h.reshape(len(users), -1), at_s)

    def sizes(self, request: Request) -> tuple[int, int]:
        """See `base.Reception.sizes`."""
        users, samples = request.h.shape
        return samples // self._resources, users

    def stacked(self, requests: Sequence[Request]) -> tuple[NDArray[np.complex64], NDArray[Any], NDArray[np.float32]]:
        """See `base.Reception.stacked`: scaled so that the channels of a request have the mean power 1, and codewords
        the energy 1, as in `NomaProblem`."""
        h = np.stack([each.h for each in requests])
        power = (h.real**2 + h.imag**2).mean(axis=(1, 2))
        power[power == 0] = 1.0
        energy = power * np.float32(self._resources)
        y = np.stack([each.y for each in requests]) / np.sqrt(energy)[:, None, None]
        return y.reshape(-1, h.shape[2]), h / np.sqrt(power)[:, None, None], (1 / energy).astype(np.float32)

    def log_prior(self, users: NDArray[np.int32], burst: int, service: Service) -> NDArray[np.float64] | None:
        """See `base.Reception.log_prior`."""
        key = self.model(self.uplink.services.index(service), burst)
        if key not in self._log_priors:
            self._log_priors[key] = self.problem_at(service, burst).log_prior.double().numpy()
        return self._log_priors[key][users]

    def facts(self) -> dict[str, Any]:
        """See `base.Reception.facts`."""
        return self._facts
