"""No downlink at all: the stations are there for what users send to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from cellfree_sim.downlink.roles import Algorithm, Context
from cellfree_sim.registry import MisfitError
from cellfree_sim.scenario.extensions import ALGORITHMS

if TYPE_CHECKING:
    from cellfree_sim.downlink.idle import IdleCoordinator, IdleStation
    from cellfree_sim.scenario.schema import Scenario


@ALGORITHMS.register
class NoDownlink(Algorithm):
    """Nothing is allocated, learned or tested: no channels, no training steps, and no frames of the downlink.

    Only for a scenario with an uplink, whose bursts are then the whole run.
    """

    learns: ClassVar[bool] = False
    transfers_models: ClassVar[bool] = False

    name: Literal["none"] = "none"

    def station(self, context: Context, name: str) -> IdleStation:
        """A station without a policy."""
        from cellfree_sim.downlink.idle import IdleStation

        return IdleStation(context, name)

    def coordinator(self, context: Context) -> IdleCoordinator:
        """An MBS without anything to coordinate."""
        from cellfree_sim.downlink.idle import IdleCoordinator

        return IdleCoordinator(context)

    def check(self, scenario: Scenario) -> None:
        """Without an uplink, nothing would happen."""
        if scenario.uplink is None:
            raise MisfitError(
                ("downlink", "algorithm"), "found 'none' without a section uplink; allowed: with one only"
            )
