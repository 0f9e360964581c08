"""WMMSE on each realisation by itself, all stations' channels known: the standard algorithm for sum rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cellfree_sim.downlink.reference import Reference
from cellfree_sim.scenario.extensions import REFERENCES

if TYPE_CHECKING:
    from torch import Tensor


@REFERENCES.register
class WeightedMmse(Reference):
    """Weighted minimum mean square error beamforming: block coordinate steps that never lower the sum rate.

    It knows nothing of r_min. The problem is not convex: it ends at a stationary point that depends on the start, which
    is a strong reference, not a bound. It agrees with `ascent` without penalty, at less cost; where rates reach tens of
    bit/s/Hz on a stream it takes more iterations. The model and its derivation are in `cellfree_sim.downlink.wmmse`. A
    station is left below its budget where more power would only disturb others.
    """

    name: Literal["wmmse"] = "wmmse"
    iterations: int = Field(200, ge=0, le=100_000, description="at most; each updates every station once")
    tolerance: float = Field(
        1e-5, ge=0, lt=1, description="a realisation is done when its sum rate grows by no more than this part"
    )
    start: Literal["matched", "gsa-zf", "random"] = Field(
        "matched", description="beams matched to all users, or greedy zero-forcing, with a little noise; or noise alone"
    )

    def solve(self, channel: Tensor, *, min_rate: float, seed: int) -> tuple[Tensor, Tensor]:
        """See `Reference.solve`; `min_rate` is not used."""
        from cellfree_sim.downlink.wmmse import wmmse

        beams, allocation, _ = wmmse(
            channel, seed=seed, iterations=self.iterations, tolerance=self.tolerance, start=self.start
        )
        return beams, allocation
