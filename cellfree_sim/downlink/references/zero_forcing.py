"""Greedy and random subcarrier allocation with zero-forcing beams: the paper's baselines, in several forms."""

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


@REFERENCES.register
class GreedyPairs(Reference):
    """GSA+ZF with two users on each subcarrier of each station: `gsa-zf` with `users_per_subcarrier: 2`, under its own
    name, so that both can be in one run.
    """

    name: Literal["gsa2-zf"] = "gsa2-zf"

    def solve(self, channel: Tensor, *, min_rate: float, seed: int) -> tuple[Tensor, Tensor]:
        """See `Reference.solve`; `min_rate` and `seed` are not used."""
        return GreedyZeroForcing(users_per_subcarrier=2).solve(channel, min_rate=min_rate, seed=seed)


@REFERENCES.register
class RandomPairs(Reference):
    """RSA+ZF with two users on each subcarrier of each station: `rsa-zf` with `users_per_subcarrier: 2`."""

    name: Literal["rsa2-zf"] = "rsa2-zf"

    def solve(self, channel: Tensor, *, min_rate: float, seed: int) -> tuple[Tensor, Tensor]:
        """See `Reference.solve`; `min_rate` is not used."""
        return RandomZeroForcing(users_per_subcarrier=2).solve(channel, min_rate=min_rate, seed=seed)


@REFERENCES.register
class GreedyLiteral(Reference):
    """GSA+ZF as printed: the strongest user on each subcarrier, a pseudo-inverse over the antennas of all users.

    With more user antennas than station antennas, which is the paper's configuration, it nulls nothing, and its beams
    point away from where the energy is: a weak baseline.
    """

    name: Literal["gsa-zf-literal"] = "gsa-zf-literal"

    def solve(self, channel: Tensor, *, min_rate: float, seed: int) -> tuple[Tensor, Tensor]:
        """See `Reference.solve`; `min_rate` and `seed` are not used."""
        from cellfree_sim.downlink import zero_forcing

        allocation = zero_forcing.greedy_allocation(channel, 1)
        return zero_forcing.literal_beams(channel, allocation), allocation


@REFERENCES.register
class RandomLiteral(Reference):
    """RSA+ZF as printed: each entry of the allocation a fair coin, a pseudo-inverse over the antennas of all users."""

    name: Literal["rsa-zf-literal"] = "rsa-zf-literal"

    def solve(self, channel: Tensor, *, min_rate: float, seed: int) -> tuple[Tensor, Tensor]:
        """See `Reference.solve`; `min_rate` is not used."""
        from cellfree_sim.downlink import zero_forcing

        allocation = zero_forcing.random_subsets(channel, seed)
        return zero_forcing.literal_beams(channel, allocation), allocation
