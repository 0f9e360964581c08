"""The set policy: permutation-equivariant over users and subcarriers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cellfree_sim.downlink.policy import Policy, PolicyShape
from cellfree_sim.scenario.extensions import POLICIES

if TYPE_CHECKING:
    from torch import nn


@POLICIES.register
class Set(Policy):
    """A small network shared by all users and subcarriers, with structured beams; serves any number of either."""

    central_serves_any_roster: ClassVar[bool] = True
    any_size: ClassVar[frozenset[str]] = frozenset({"rx_antennas", "users", "subcarriers", "stations", "loss_weights"})

    name: Literal["set"] = "set"
    width: int = Field(48, ge=4, le=4096, multiple_of=4, description="features of each link")
    layers: int = Field(3, ge=1, le=32, description="permutation-equivariant layers")
    threshold: float = Field(
        0.02, gt=0, lt=1, description="power, in units of P_max / N, above which a link counts as allocated"
    )
    refinements: int = Field(
        1, ge=0, le=16, description="weighted-MMSE steps on the beams of all stations, in a central network (cmtssl)"
    )

    def build(self, shape: PolicyShape, seed: int) -> nn.Module:
        """See `Policy.build`."""
        from cellfree_sim.downlink.networks.common import seeded
        from cellfree_sim.downlink.networks.set_network import SetNetwork

        return seeded(seed, lambda: SetNetwork(shape, self.width, self.layers, self.threshold))

    def build_central(self, shape: PolicyShape, seed: int) -> nn.Module:
        """See `Policy.build_central`."""
        from cellfree_sim.downlink.networks.central_set import CentralSetNetwork
        from cellfree_sim.downlink.networks.common import seeded

        return seeded(seed, lambda: CentralSetNetwork(shape, self.width, self.layers, self.threshold, self.refinements))
