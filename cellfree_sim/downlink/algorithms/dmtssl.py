"""DMTSSL: each SBS trains its own policy, the MBS computes the joint loss (Algorithm 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cellfree_sim.downlink.roles import Algorithm, Context
from cellfree_sim.scenario.extensions import ALGORITHMS

if TYPE_CHECKING:
    from cellfree_sim.downlink.dmtssl.coordinator import DmtsslCoordinator
    from cellfree_sim.downlink.dmtssl.station import DmtsslStation


@ALGORITHMS.register
class Dmtssl(Algorithm):
    """Distributed multi-task self-supervised learning: centralised loss, decentralised execution."""

    name: Literal["dmtssl"] = "dmtssl"

    def station(self, context: Context, name: str) -> DmtsslStation:
        """The SBS side."""
        from cellfree_sim.downlink.dmtssl.station import DmtsslStation

        return DmtsslStation(context, name)

    def coordinator(self, context: Context) -> DmtsslCoordinator:
        """The MBS side."""
        from cellfree_sim.downlink.dmtssl.coordinator import DmtsslCoordinator

        return DmtsslCoordinator(context)
