"""CMTSSL: the SBSs upload their channels, the MBS trains one network for all of them (Algorithm 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from cellfree_sim.downlink.policy import check_start, no_central_network
from cellfree_sim.downlink.roles import Algorithm, Context
from cellfree_sim.errors import UserError
from cellfree_sim.registry import MisfitError
from cellfree_sim.scenario.extensions import ALGORITHMS

if TYPE_CHECKING:
    from cellfree_sim.downlink.cmtssl.coordinator import CmtsslCoordinator
    from cellfree_sim.downlink.cmtssl.station import CmtsslStation
    from cellfree_sim.network import Network
    from cellfree_sim.scenario.schema import Scenario


@ALGORITHMS.register
class Cmtssl(Algorithm):
    """Centralised multi-task self-supervised learning: one network at the MBS, asked over the backhaul.

    `feedback` and `backhaul.cache_channels` mean nothing here: the MBS learns alone, from channels uploaded once. A
    station that is injected takes over no model, whatever `transfer` says, and the network learns on with `after:
    execute` too.
    """

    transfers_models: ClassVar[bool] = False

    name: Literal["cmtssl"] = "cmtssl"

    def station(self, context: Context, name: str) -> CmtsslStation:
        """The SBS side."""
        from cellfree_sim.downlink.cmtssl.station import CmtsslStation

        return CmtsslStation(context, name)

    def coordinator(self, context: Context) -> CmtsslCoordinator:
        """The MBS side."""
        from cellfree_sim.downlink.cmtssl.coordinator import CmtsslCoordinator

        return CmtsslCoordinator(context)

    def check(self, scenario: Scenario) -> None:
        """The policy needs a network for all stations, and to fit what it starts from."""
        if not scenario.downlink.policy.has_central():
            raise MisfitError(("downlink", "policy"), no_central_network(scenario.downlink.policy.name))
        if scenario.downlink.sharing is not None:
            raise MisfitError(
                ("downlink", "sharing"),
                "found with algorithm 'cmtssl', whose one network serves all stations as it is; leave it out",
                because=("downlink", "algorithm"),
            )
        check_start(scenario, central=True)

    def check_roster(self, scenario: Scenario, network: Network, changed: Network) -> None:
        """A network with a fixed input serves the stations that it was built for, and no others."""
        policy = scenario.downlink.policy
        if changed.stations != network.stations and not policy.central_serves_any_roster:
            raise UserError(
                f"the central network of policy '{policy.name}' is built for {', '.join(network.stations)}, and for no "
                f"other stations; policy 'set' serves any"
            )
