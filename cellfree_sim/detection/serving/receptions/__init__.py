"""How stations and MBS deal with what each family of problems sends: one module for each family, named after it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from cellfree_sim.detection.serving.receptions.base import Heard, Reception
from cellfree_sim.uplink.population import section

if TYPE_CHECKING:
    from cellfree_sim.network import Network
    from cellfree_sim.scenario.schema import Scenario

__all__ = ["Heard", "Reception", "reception_of"]


def reception_of(scenario: Scenario, network: Network) -> Reception:
    """That of the family of a scenario's `uplink`."""
    module = importlib.import_module(f"{__name__}.{section(scenario).problem}")
    return cast("Reception", module.Reception(scenario, network))
