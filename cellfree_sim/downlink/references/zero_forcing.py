"""Greedy and random subcarrier allocation with zero-forcing beams: the paper's baselines, in their strongest form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cellfree_sim.downlink.reference import Reference
from cellfree_sim.scenario.extensions import REFERENCES

if TYPE_CHECKING:
    from torch import Tensor


@REFERENCES.register
class GreedyZeroForcing(Reference):
    """GSA+ZF: each station gives each subcarrier to its strongest users; zero-forcing among them; equal power."""

    name: Literal["gsa-zf"] = "gsa-zf"
    users_per_subcarrier: int = Field(1, ge=1, le=64, description="users that a station serves on one subcarrier")

    def solve(self, channel: Tensor, *, min_rate: float, seed: int) -> tuple[Tensor, Tensor]:
        """See `Reference.solve`; `min_rate` and `seed` are not used."""
        from cellfree_sim.downlink import zero_forcing

        allocation = zero_forcing.greedy_allocation(channel, self.users_per_subcarrier)
        return zero_forcing.zero_forcing_beams(channel, allocation), allocation


@REFERENCES.register
class RandomZeroForcing(Reference):
    """RSA+ZF: each station gives each subcarrier to random users; zero-forcing among them; equal power."""

    name: Literal["rsa-zf"] = "rsa-zf"
    users_per_subcarrier: int = Field(1, ge=1, le=64, description="users that a station serves on one subcarrier")

    def solve(self, channel: Tensor, *, min_rate: float, seed: int) -> tuple[Tensor, Tensor]:
        """See `Reference.solve`; `min_rate` is not used."""
        from cellfree_sim.downlink import zero_forcing

        allocation = zero_forcing.random_allocation(channel, self.users_per_subcarrier, seed)
        return zero_forcing.zero_forcing_beams(channel, allocation), allocation
