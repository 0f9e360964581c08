"""A policy network: matched beams, and a small network that says how much of the power each link gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cellfree_sim.downlink.policy import Policy, PolicyShape

if TYPE_CHECKING:
    from torch import nn


class MatchedShares(Policy):
    """Beams along the first antenna's channel of each user; shares of power from gains of the link and of the others.

    The same network serves every link, so that it is for any number of users, subcarriers and antennas.
    """

    any_size: ClassVar[frozenset[str]] = frozenset({"rx_antennas", "tx_antennas", "users", "subcarriers", "stations"})

    width: int = Field(16, ge=1, le=1024, description="cells of both hidden layers")

    def build(self, shape: PolicyShape, seed: int) -> nn.Module:
        """See `Policy.build`."""
        from my_shares import Shares

        from cellfree_sim.downlink.networks.common import seeded

        return seeded(seed, lambda: Shares(shape, self.width))
