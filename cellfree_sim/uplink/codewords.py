"""What the users of a scenario of grant-free NOMA send, and the problem that its receivers have with that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellfree_sim.scenario.uplink_noma import NomaUplink
from cellfree_sim.uplink.noma import LEAST_ACTIVITY, MAX_ANTENNAS, NomaProblem
from cellfree_sim.uplink.population import activity_prior, section

if TYPE_CHECKING:
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.uplink.codebook import Codebook


def noma_problem(scenario: Scenario, antennas: int = 1) -> NomaProblem:
    """What a receiver with so many antennas (at most `MAX_ANTENNAS`) knows of the users.

    Raises:
        CodebookError: the codebook does not fit users, resources or rates.
    """
    uplink = section(scenario)
    assert isinstance(uplink, NomaUplink)
    return NomaProblem(
        users=scenario.network.users.count,
        resources=uplink.resources,
        rates=uplink.rates if isinstance(uplink.rates, int) else tuple(uplink.rates),
        activity=tuple(max(float(p), LEAST_ACTIVITY) for p in activity_prior(scenario)),
        channel="rayleigh" if uplink.selective else "flat",
        codebook=uplink.codebook,
        csi_error=0.0 if uplink.csi_error_db is None else float(10 ** (uplink.csi_error_db / 10)),
        antennas=min(antennas, MAX_ANTENNAS),
    )


def codebook_of(scenario: Scenario) -> Codebook:
    """The codewords of all users, of mean power 1 on each resource."""
    problem = noma_problem(scenario)
    return problem.book.scaled(float(problem.resources))
