"""What every policy network is: options that build a module, the shape it is built for, and what it returns."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from cellfree_sim.errors import ScenarioError
from cellfree_sim.registry import Named

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class PolicyShape:
    """Sizes a policy network is built for.

    Attributes:
        subcarriers: N.
        tx_antennas: T, antennas of the station that owns the policy.
        users: I.
        rx_antennas: R, antennas of each user.
        stations: B, stations of the network; only the loss weights depend on it.
        loss_weights: K = 1 + I + B learned weights of the joint loss (16), or 0 where the loss scheme has none.
    """

    subcarriers: int
    tx_antennas: int
    users: int
    rx_antennas: int
    stations: int
    loss_weights: int = 0


class PolicyOutputs(NamedTuple):
    """What the policy of one station decides for a batch of S realisations (19).

    What a central network decides for all stations (17) has their axis B after S in `beams` and `allocation`.

    Attributes:
        beams: w^b, [S, N, T, I] complex64, in units of sqrt(P_max).
        allocation: v^b, [S, N, I] float32; in [0, 1] in training, 0 or 1 in evaluation.
        beta: beta^b, [S, K] float32, positive; empty where K = 0.
    """

    beams: Tensor
    allocation: Tensor
    beta: Tensor


class Policy(Named):
    """Options of a policy network; `build` makes the network itself, `build_central` one for all stations at once.

    Attributes:
        central_serves_any_roster: whether a central network goes on as it is when stations come and go.
    """

    central_serves_any_roster: ClassVar[bool] = False

    @abstractmethod
    def build(self, shape: PolicyShape, seed: int) -> nn.Module:
        """A network in training mode for `shape`, initialised from `seed` alone.

        Its ``forward(channel)`` takes the station's own scaled channel [S, N, T, I, R] complex64 and returns
        `PolicyOutputs`.
        """

    def build_central(self, shape: PolicyShape, seed: int) -> nn.Module:
        """As `build`, a network whose ``forward(channel)`` takes the channels [S, B, N, T, I, R] of all stations.

        Raises:
            ScenarioError: there is none of this kind, which is the default.
        """
        raise ScenarioError(f"downlink.policy: {no_central_network(self.name)}")

    @classmethod
    def has_central(cls) -> bool:
        """Whether `build_central` makes a network."""
        return cls.build_central is not Policy.build_central


def no_central_network(name: str) -> str:
    """Why the policy called `name` cannot decide for all stations at once, and which can."""
    from cellfree_sim.scenario.extensions import POLICIES

    central = [each for each in POLICIES.names() if POLICIES.type_of(each).has_central()]
    return f"found '{name}', which has no network for all stations at once; allowed here: {', '.join(central)}"
