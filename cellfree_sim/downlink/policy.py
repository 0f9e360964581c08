"""What every policy network is: options that build a module, the shape it is built for, and what it returns."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, ValidationInfo, model_validator

from cellfree_sim.errors import ScenarioError
from cellfree_sim.registry import Named

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cellfree_sim.scenario.schema import Scenario


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


def policy_shape(scenario: Scenario, stations: int) -> PolicyShape:
    """The sizes of the policies of a scenario in a network of `stations` stations."""
    users = scenario.network.users
    return PolicyShape(
        subcarriers=scenario.radio.subcarriers,
        tx_antennas=scenario.network.sbs.antennas.count,
        users=users.count,
        rx_antennas=users.antennas,
        stations=stations,
        loss_weights=1 + users.count + stations if scenario.downlink.loss_scheme.uses_beta else 0,
    )


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
        any_size: fields of `PolicyShape` in which a trained network serves any other size as well.
        keeps_budget: whether beams of its networks never send more than the station's budget.
        trained: what its networks start from; options that are not given are then those of the trained policy.
    """

    central_serves_any_roster: ClassVar[bool] = False
    any_size: ClassVar[frozenset[str]] = frozenset()
    keeps_budget: ClassVar[bool] = True

    trained: str | None = Field(
        None,
        description="start from this trained policy: a name that 'cellfree policies list' gives, or a file, which is "
        "read when the run starts, at the same path on every node of a cluster",
    )
    _settled: bool = PrivateAttr(False)

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

    @model_validator(mode="wrap")
    @classmethod
    def _as_trained(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Options that are not given are the trained policy's; where all are written out, nothing is read."""
        if not isinstance(data, dict) or not isinstance(data.get("trained"), str):
            return handler(data)
        context = info.context or {}
        folder = context.get("folder")
        if (folder is None or context.get("begun")) and set(cls.model_fields) <= set(data):
            policy = handler(data)
            policy._settled = True
            return policy
        from cellfree_sim.downlink.trained import check_options, with_trained_options

        options, trained = with_trained_options(data, None if folder is None else Path(folder))
        policy = handler(options)
        check_options(policy, trained, data["trained"])
        return policy

    @property
    def settled(self) -> bool:
        """Whether all options came written out, as in the folder of a run that has begun: the trained policy was
        checked then, and may be gone since.
        """
        return self._settled

    @classmethod
    def has_central(cls) -> bool:
        """Whether `build_central` makes a network."""
        return cls.build_central is not Policy.build_central


def check_start(scenario: Scenario, *, central: bool) -> None:
    """`MisfitError` where the scenario starts from a trained policy that does not fit it."""
    if scenario.downlink.policy.trained is not None and not scenario.downlink.policy.settled:
        from cellfree_sim.downlink.trained import check_fits

        check_fits(scenario, central=central)


def no_central_network(name: str) -> str:
    """Why the policy called `name` cannot decide for all stations at once, and which can."""
    from cellfree_sim.scenario.extensions import POLICIES

    central = [each for each in POLICIES.names() if POLICIES.type_of(each).has_central()]
    return f"found '{name}', which has no network for all stations at once; allowed here: {', '.join(central)}"
