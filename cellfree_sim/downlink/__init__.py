"""Joint subcarrier allocation and beamforming of a cell-free downlink: rates, losses, policies, references.

Everything here is in normalised units: channels are scaled by sqrt(P_max / sigma^2) and beams by 1 / sqrt(P_max), so
that noise power and the power budget of each station are 1. Rates are bit/s/Hz, summed over subcarriers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellfree_sim.downlink.batching import draw_batch as draw_batch
    from cellfree_sim.downlink.batching import take_batch as take_batch
    from cellfree_sim.downlink.flops import flops_per_realisation as flops_per_realisation
    from cellfree_sim.downlink.policy import PolicyOutputs as PolicyOutputs
    from cellfree_sim.downlink.policy import PolicyShape as PolicyShape
    from cellfree_sim.downlink.rates import project_to_budget as project_to_budget
    from cellfree_sim.downlink.rates import station_power as station_power
    from cellfree_sim.downlink.rates import sum_rate as sum_rate
    from cellfree_sim.downlink.rates import user_rates as user_rates

_HOMES = {
    "PolicyOutputs": "policy",
    "PolicyShape": "policy",
    "draw_batch": "batching",
    "flops_per_realisation": "flops",
    "project_to_budget": "rates",
    "station_power": "rates",
    "sum_rate": "rates",
    "take_batch": "batching",
    "user_rates": "rates",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
