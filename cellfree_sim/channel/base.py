"""What a channel model is asked for, and what it is.

Shape letters: R realisations, B stations, N subcarriers, T transmit antennas of a station, I users, r receive
antennas of a user. A channel array is complex64 [R, N, T, I, r], downlink, with path loss and shadowing in it: |H|^2
is the power received for unit power sent.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellfree_sim.registry import Named

if TYPE_CHECKING:
    from pathlib import Path

    from cellfree_sim.network.base import Place
    from cellfree_sim.network.users import Drops, UserDrops
    from cellfree_sim.scenario.schema import Antennas, Radio, Scenario

Channels = NDArray[np.complex64]
Progress = Callable[[int, int], None]
"""Told how many realisations are done, and of how many."""

SPEED_OF_LIGHT_M_PER_S = 299_792_458.0


@dataclass(frozen=True, eq=False)
class ChannelRequest:
    """The channels between one station and all users in all realisations of one split.

    `users` holds the drops [R, I, …]. `seed` is the station's and the split's own, so that a station's channels
    depend on no other station. `station_index` of `stations` (all that ever were in the network, so that an index
    never moves) and `first_realisation` (how many the splits before hold) place the request in a recorded data set.
    """

    station: str
    station_index: int
    stations: int
    site_m: Place
    antennas: Antennas
    user_antennas: int
    radio: Radio
    users: UserDrops
    split: Drops
    first_realisation: int
    seed: int

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Shape [R, N, T, I, r] of the answer."""
        realisations, users = self.users.indoor.shape
        return realisations, self.radio.subcarriers, self.antennas.count, users, self.user_antennas

    def subcarrier_offsets_hz(self) -> NDArray[np.float64]:
        """Centre frequencies of the N subcarriers, relative to the carrier, float64 [N].

        The bandwidth is cut into N equal parts; subcarrier n is the middle of part n: f_n = (n + 1/2 - N/2) W/N.
        """
        count = self.radio.subcarriers
        spacing = np.float64(self.radio.bandwidth_hz / count)
        return (np.arange(count, dtype=np.float64) + 0.5 - count / 2) * spacing


class ChannelModel(Named):
    """A way to make channel realisations. Registered in `CHANNEL_MODELS`."""

    cacheable: ClassVar[bool] = True
    """Whether generated realisations are worth keeping on disk."""
    directional: ClassVar[bool] = False
    """Whether it matters where the antennas of a station look."""

    def check(self, scenario: Scenario) -> None:
        """Raise `ChannelError` where this model cannot serve `scenario`; cheap, nothing is generated."""

    def check_stations(self, scenario: Scenario, stations: int) -> None:
        """Raise `ChannelError` where this model cannot serve so many stations; asked when one joins a network."""

    def files(self) -> list[Path]:
        """Files that this model reads, absolute."""
        return []

    def provenance(self) -> dict[str, str]:
        """What decides the realisations beside the request and the options: versions of the model and its libraries."""
        return {}

    def mean_gains(self, request: ChannelRequest) -> NDArray[np.float64] | None:
        """Path gains without fading, E|H|^2, float64 [R, I]; None where the model does not tell them apart."""
        return None

    @abstractmethod
    def generate(self, request: ChannelRequest, progress: Progress | None = None) -> Channels:
        """Channels of one station, complex64 [R, N, T, I, r]: a function of the request alone.

        Raises `ChannelError` where they cannot be made.
        """
