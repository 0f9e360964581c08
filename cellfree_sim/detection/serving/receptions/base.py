"""What is asked of a family of problems while its users' bursts are received, detected, fused and counted.

Shape letters: S slots, T antennas of a station, R observations of a slot, I users that were sent to, N users that are
decided for, M messages of a user (and silence, last, where users may be silent), B stations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cellfree_sim.backhaul.messages import ReceivedSignal, SoftDecision, UplinkBurst
from cellfree_sim.detection.serving.reports import SILENT, Errors, errors_of, messages_of
from cellfree_sim.detection.serving.requests import Request
from cellfree_sim.uplink.geometry import path_gains
from cellfree_sim.uplink.population import drop_of, section, snr_db_of
from cellfree_sim.uplink.power import amplitudes, noise_mw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.detection.serving.changes import Change
    from cellfree_sim.network import Network
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.scenario.uplink import Service
    from cellfree_sim.uplink.population import Transmissions
    from cellfree_sim.uplink.problem import Problem


class Heard(NamedTuple):
    """A burst as a station has it.

    Attributes:
        burst: number of the burst.
        users: those that may be decided for, int32 [N] ascending.
        y: received signals, complex64 [S, …], the noise on each antenna of power 1.
        h: what the station knows of their channels; for MIMO complex64 [T, N].
        power: mean power that each is received with, float32 [N].
    """

    burst: int
    users: NDArray[np.int32]
    y: NDArray[np.complex64]
    h: NDArray[Any]
    power: NDArray[np.float32]


class Reception(ABC):
    """A family of problems at the stations and the MBS of a scenario."""

    def __init__(self, scenario: Scenario, network: Network) -> None:
        self.scenario = scenario
        self.network = network
        self.uplink = section(scenario)
        self.changes: list[Change] = []

    def model(self, service: int, burst: int | None = None) -> str:
        """Name of the model that serves requests of a burst, by the index of the service; without a burst, the last."""
        name = self.uplink.service_names[service]
        told = [
            change.burst
            for change in self.changes
            if (burst is None or change.burst <= burst) and (change.service == name or change.codebook is not None)
        ]
        return f"{name}@{max(told)}" if told else name

    def problem_at(self, service: Service, burst: int) -> Problem:
        """What the model is made for that serves requests of a burst."""
        return self.problem(service)

    def codewords(self, burst: int) -> NDArray[np.complex64]:
        """What all users send for their messages from a burst on, complex64 [N, M, L], where they are assigned that."""
        raise NotImplementedError

    def gains(self, station: str, channels: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Path gains of a station to all users [drops, users], from its channels [drops, T, users]: those by which
        users control their power and choose their stations."""
        return path_gains(channels)

    def tune(self, gains: NDArray[np.float32]) -> None:  # noqa: B027 - most families have no use for it
        """Learn the path gains of all stations, [stations, drops, users]; stations and MBS know them."""

    @abstractmethod
    def problem(self, service: Service) -> Problem:
        """What a service is made for; requests may have other numbers of antennas and users."""

    @abstractmethod
    def superposed(
        self,
        station: str,
        burst: int,
        parts: Sequence[UplinkBurst],
        channels: NDArray[np.complex64],
        gains: NDArray[np.float32],
    ) -> Heard:
        """What a station hears of a burst: all that was sent, over its channels, and noise.

        Args:
            station: which.
            burst: which.
            parts: what the groups sent; none where nobody is active.
            channels: between the station's antennas and all users, complex64 [T, users of the network].
            gains: path gains of all stations to all users, float32 [B, users of the network].
        """

    @abstractmethod
    def request(self, heard: Heard, served: NDArray[np.bool_], at_s: float) -> Request:
        """What a service is asked that serves so many of the users heard, bool [N], at a simulated time."""

    @abstractmethod
    def signal(self, request: Request, service: str) -> ReceivedSignal:
        """What a station sends to the MBS instead of detecting by itself."""

    @abstractmethod
    def joined(self, parts: Mapping[int, ReceivedSignal], burst: int, at_s: float) -> Request:
        """The request that the MBS makes of what stations sent, by their index in the roster, ascending."""

    @abstractmethod
    def sizes(self, request: Request) -> tuple[int, int]:
        """Antennas and users of a request."""

    @abstractmethod
    def stacked(self, requests: Sequence[Request]) -> tuple[NDArray[np.complex64], NDArray[Any], NDArray[np.float32]]:
        """Requests of one shape as a detector takes them: y of all slots, h and noise variance of each request."""

    def told(
        self, request: Request, logits: NDArray[np.float32], served: NDArray[np.bool_], service: Service
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """What a station tells the MBS of its log-probabilities: of which users int32 [I], and those [S, I, M].

        `served` says which users of the request the service serves here, bool [N]; here all are.
        """
        return request.users, logits

    def fused(
        self, parts: Mapping[int, SoftDecision], burst: int, service: Service
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Users int32 [N] and unnormalised log-probabilities [S, N, M]: those of the stations, added.

        `parts` are by the station's index in the roster, ascending. What was believed before anything was received is
        in the decision of each station, and must count once.
        """
        users = np.unique(np.concatenate([part.users for part in parts.values()]))
        slots, _, messages = next(iter(parts.values())).log_probabilities.shape
        total = np.zeros((slots, len(users), messages), np.float32)
        told = np.zeros(len(users), np.int64)
        for part in parts.values():
            place = np.searchsorted(users, part.users)
            total[:, place] += part.log_probabilities
            told[place] += 1
        prior = self.log_prior(users, burst, service)
        if prior is not None:
            possible = np.isfinite(prior)  # on the wire, what is impossible is only improbable
            total -= ((told - 1)[:, None] * np.where(possible, prior, 0)).astype(np.float32)
            total[:, ~possible] = -np.inf
        return users, total

    def log_prior(self, users: NDArray[np.int32], burst: int, service: Service) -> NDArray[np.float64] | None:
        """Log-probabilities of the messages of users, before anything is received [N, M]; None where all are alike."""
        return None

    def answered(
        self, users: NDArray[np.int32], messages: NDArray[np.int32], asked: NDArray[np.int32]
    ) -> NDArray[np.int64]:
        """Which of the decisions, messages [S, N] for users [N], a station is told that sent something of users
        `asked`: their places, ascending."""
        return np.searchsorted(users, asked)

    def decided_for(self, sent: Transmissions) -> NDArray[np.int32]:
        """Users that are decided for in a burst: those that are active, or all, where stations must find that out."""
        if not self.uplink.silence:
            return sent.users
        return np.arange(self.scenario.network.users.count, dtype=np.int32)

    def decide(self, logits: NDArray[np.float32]) -> NDArray[np.int64]:
        """The most probable messages [S, N] of log-probabilities [S, N, M]; `SILENT` for silence."""
        decided = np.asarray(logits.argmax(axis=-1), np.int64)
        if self.uplink.silence:
            decided[decided == logits.shape[-1] - 1] = SILENT
        return decided

    def errors(self, logits: NDArray[np.float32], users: NDArray[np.int32], sent: Transmissions) -> Errors:
        """How many of the decisions for users are wrong."""
        likeliest = logits[..., :-1].argmax(axis=-1) if self.uplink.silence else None
        return errors_of(self.decide(logits), messages_of(sent, users), self.uplink.bits_of(users), likeliest)

    def facts(self) -> dict[str, Any]:
        """What the summary says of it beside its name."""
        return {}

    def amplitudes(self, burst: int, gains: NDArray[np.float32]) -> NDArray[np.float32]:
        """Amplitudes of users [I] by power control, from the gains of all stations to them [B, I]; noise of power 1."""
        unit = np.float32(noise_mw(self.uplink) ** -0.5)
        return amplitudes(self.uplink, snr_db_of(self.uplink, burst), gains.max(axis=0)) * unit

    def drop(self, burst: int) -> int:
        """The drop of the users in a burst."""
        return drop_of(self.uplink, burst)
