"""MIMO: stations know who is active and over which channel; what the users send is a symbol in each slot.

Shape letters: S slots, T antennas of a station, R antennas of all stations that take part, N users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.backhaul.messages import ReceivedSignal, UplinkBurst
from cellfree_sim.detection.serving.receptions import base
from cellfree_sim.detection.serving.receptions.base import Heard
from cellfree_sim.detection.serving.requests import Request
from cellfree_sim.scenario.uplink_mimo import MimoUplink
from cellfree_sim.uplink import air
from cellfree_sim.uplink.population import mean_active
from cellfree_sim.uplink.power import noise_mw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.network import Network
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.scenario.uplink import Service
    from cellfree_sim.uplink.mimo import MimoProblem


class Reception(base.Reception):
    """See `base.Reception`."""

    def __init__(self, scenario: Scenario, network: Network) -> None:
        super().__init__(scenario, network)
        assert isinstance(self.uplink, MimoUplink)
        self._constellation = self.uplink.constellation

    def problem(self, service: Service) -> MimoProblem:
        """See `base.Reception.problem`: all antennas that it sees, and as many users as are active on average."""
        from cellfree_sim.uplink.mimo import MAX_ANTENNAS, MimoProblem

        antennas = self.scenario.network.sbs.antennas.count
        if service.cooperation == "centralized":
            antennas *= len(self.scenario.station_names) if service.stations == "all" else len(service.stations)
        antennas = min(antennas, MAX_ANTENNAS)
        users = round(mean_active(self.scenario))
        return MimoProblem(n_rx=antennas, n_tx=max(1, min(users, antennas)), constellation=self._constellation)

    def superposed(
        self,
        station: str,
        burst: int,
        parts: Sequence[UplinkBurst],
        channels: NDArray[np.complex64],
        gains: NDArray[np.float32],
    ) -> Heard:
        """See `base.Reception.superposed`."""
        uplink, seed = self.uplink, self.scenario.seed
        users = np.concatenate([part.users for part in parts])
        codewords: NDArray[np.complex64] = np.concatenate([part.codewords[:, :, 0] for part in parts], axis=1)
        h, theirs = channels[:, users], gains[:, users]
        amplitude = self.amplitudes(burst, theirs)
        power = theirs[self.network.stations.index(station)] * amplitude**2
        noise = air.noise_of(seed, station, burst, uplink.slots, len(h))
        known = air.known_channels(h * amplitude, power, uplink.csi_error_db, seed, station, burst)
        unit = np.float32(noise_mw(uplink) ** -0.5)
        return Heard(burst, users, air.received(codewords * unit, h, noise), known, power)

    def request(self, heard: Heard, served: NDArray[np.bool_], at_s: float) -> Request:
        """See `base.Reception.request`: what the others are received with, on average, is noise, and it is scaled to
        the power 1."""
        scale = np.float32((1 + heard.power[~served].sum(dtype=np.float64)) ** -0.5)
        return Request(heard.burst, heard.users[served], heard.y * scale, heard.h[:, served] * scale, at_s)

    def signal(self, request: Request, service: str) -> ReceivedSignal:
        """See `base.Reception.signal`."""
        return ReceivedSignal(request.y, request.h.T[None], request.users, service)

    def joined(self, parts: Mapping[int, ReceivedSignal], burst: int, at_s: float) -> Request:
        """See `base.Reception.joined`: the antennas of all, one below the other."""
        users = np.unique(np.concatenate([part.users for part in parts.values()])).astype(np.int32)
        y = np.concatenate([part.signal for part in parts.values()], axis=1)
        h = np.zeros((y.shape[1], len(users)), np.complex64)
        row = 0
        for part in parts.values():
            antennas = part.signal.shape[1]
            h[row : row + antennas, np.searchsorted(users, part.users)] = part.channel[0].T
            row += antennas
        return Request(burst, users, y, h, at_s)

    def sizes(self, request: Request) -> tuple[int, int]:
        """See `base.Reception.sizes`."""
        antennas, users = request.h.shape
        return antennas, users

    def stacked(self, requests: Sequence[Request]) -> tuple[NDArray[np.complex64], NDArray[Any], NDArray[np.float32]]:
        """See `base.Reception.stacked`: scaled so that the channels of a request have the mean power 1 per user, as in
        `MimoProblem`."""
        h = np.stack([each.h for each in requests])
        _, antennas, users = h.shape
        power = (h.real**2 + h.imag**2).sum(axis=(1, 2)) / np.float32(users)
        power[power == 0] = 1.0
        scale = (1 / np.sqrt(power))[:, None, None]
        y = (np.stack([each.y for each in requests]) * scale).reshape(-1, antennas)
        return y, h * scale, (1 / power).astype(np.float32)

    def facts(self) -> dict[str, Any]:
        """See `base.Reception.facts`."""
        return {"constellation": self._constellation}
