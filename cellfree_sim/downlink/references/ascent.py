"""Gradient ascent on each realisation by itself, all stations' channels known: what learning is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cellfree_sim.downlink.reference import Reference
from cellfree_sim.scenario.extensions import REFERENCES

if TYPE_CHECKING:
    from torch import Tensor


@REFERENCES.register
class Ascent(Reference):
    """Adam on the beams of one realisation at a time, on sum rate minus `penalty` times the shortfall below r_min.

    It starts at GSA+ZF, keeps the best point of each realisation, and so never ends below its start. The problem is not
    convex: this is a strong reference, not a bound. Beams that end with next to no power are switched off.
    """

    name: Literal["ascent"] = "ascent"
    steps: int = Field(250, ge=0, le=100_000, description="Adam steps on each realisation")
    learning_rate: float = Field(0.05, gt=0, le=10, description="first step size, falling to 0 along a cosine")
    penalty: float = Field(20.0, ge=0, le=1e6, description="of a rate below r_min; bit/s/Hz per bit/s/Hz")
    margin: float = Field(1.5, ge=0, le=1e3, description="r_min is multiplied by this in the penalty")

    def solve(self, channel: Tensor, *, min_rate: float, seed: int) -> tuple[Tensor, Tensor]:
        """See `Reference.solve`."""
        from cellfree_sim.downlink.ascent import ascend

        return ascend(
            channel,
            min_rate=min_rate,
            seed=seed,
            steps=self.steps,
            learning_rate=self.learning_rate,
            penalty=self.penalty,
            margin=self.margin,
        )
