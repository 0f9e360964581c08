"""DMTSSL: each SBS trains its own policy, the MBS computes the joint loss (Algorithm 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cellfree_sim.downlink.policy import check_start
from cellfree_sim.downlink.roles import Algorithm, Context
from cellfree_sim.registry import MisfitError
from cellfree_sim.scenario.extensions import ALGORITHMS

if TYPE_CHECKING:
    from cellfree_sim.downlink.dmtssl.coordinator import DmtsslCoordinator
    from cellfree_sim.downlink.dmtssl.station import DmtsslStation
    from cellfree_sim.scenario.schema import Scenario


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

    def check(self, scenario: Scenario) -> None:
        """The policies need to fit what they start from, and a loss scheme that adapts stays at the MBS."""
        scheme = scenario.downlink.loss_scheme
        if scheme.adapts and scenario.downlink.feedback == "global_outputs":
            raise MisfitError(
                ("downlink", "loss_scheme"),
                f"found '{scheme.name}' with feedback: global_outputs; allowed: with cut_gradient only, since stations "
                f"that differentiate for themselves do not know what the MBS makes of it",
                because=("downlink", "feedback"),
            )
        check_start(scenario, central=False)
