"""Greedy subcarrier allocation with maximum ratio transmission: what nulling interference is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cellfree_sim.downlink.reference import Reference
from cellfree_sim.scenario.extensions import REFERENCES

if TYPE_CHECKING:
    from torch import Tensor


@REFERENCES.register
class MaximumRatio(Reference):
    """MRT: each station gives each subcarrier to its strongest users; beams matched to each by itself; equal power.

    The counterpart of `gsa2-zf`: the same users, without nulling. With one user on a subcarrier there is nothing to
    null, and it is `gsa-zf`.
    """

    name: Literal["mrt"] = "mrt"
    users_per_subcarrier: int = Field(2, ge=1, le=64, description="users that a station serves on one subcarrier")

    def solve(self, channel: Tensor, *, min_rate: float, seed: int) -> tuple[Tensor, Tensor]:
        """See `Reference.solve`; `min_rate` and `seed` are not used."""
        from cellfree_sim.downlink.mrt import matched_beams
        from cellfree_sim.downlink.zero_forcing import greedy_allocation

        allocation = greedy_allocation(channel, self.users_per_subcarrier)
        return matched_beams(channel, allocation), allocation
