"""Iterative detectors without training: AMP, OAMP and expectation propagation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cellfree_sim.detection.mimo.scoring import Scoring
from cellfree_sim.scenario.extensions import DETECTORS

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.detection.mimo.algorithms.common import Alphabet


@DETECTORS.register
class Amp(Scoring):
    """Approximate message passing: no inverse at all, for many independent antennas; it fails where they correlate."""

    name: Literal["amp"] = "amp"
    iterations: int = Field(50, ge=1, le=10_000, description="of the message passing")
    damping: float = Field(0.0, ge=0, lt=1, description="weight of the old messages; 0 is undamped AMP")
    as_published: bool = Field(
        False, description="as in published curves: start as if symbols were known, and take columns for unit vectors"
    )

    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
        """See `Scoring.scores`."""
        from cellfree_sim.detection.mimo.algorithms.message_passing import amp

        return amp(
            y,
            h,
            noise_variance,
            alphabet,
            iterations=self.iterations,
            damping=self.damping,
            as_published=self.as_published,
        )


@DETECTORS.register
class Oamp(Scoring):
    """Orthogonal approximate message passing: LMMSE filters between the denoising steps (what OAMPNet unfolds)."""

    name: Literal["oamp"] = "oamp"
    iterations: int = Field(10, ge=1, le=10_000, description="of filter and denoiser")

    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
        """See `Scoring.scores`."""
        from cellfree_sim.detection.mimo.algorithms.message_passing import oamp

        return oamp(y, h, noise_variance, alphabet, iterations=self.iterations)


@DETECTORS.register
class ExpectationPropagation(Scoring):
    """Expectation propagation, damped: robust under correlation. `iterations: 30, damping: 0.7` is the yardstick.

    The circular form takes half the time. It is as good on independent channels, and worse on correlated ones: by a
    third in symbol error rate with 32 users, 64 antennas and a receive correlation of 0.7 at 15 dB.

    `undecided: 5` ends it with the list that `epnet` ends with, untrained: it shows what the list alone is worth.
    """

    name: Literal["ep"] = "ep"
    iterations: int = Field(30, ge=1, le=10_000, description="each with one inverse")
    damping: float = Field(0.7, ge=0, lt=1, description="weight of the old messages")
    form: Literal["real", "circular"] = Field("real", description="the two parts of a symbol apart, or together")
    undecided: int = Field(
        0, ge=0, le=8, description="real parts whose two likeliest levels are tried jointly at the end"
    )

    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
        """See `Scoring.scores`."""
        from cellfree_sim.detection.mimo.algorithms.message_passing import expectation_propagation

        return expectation_propagation(
            y,
            h,
            noise_variance,
            alphabet,
            iterations=self.iterations,
            damping=self.damping,
            form=self.form,
            undecided=self.undecided,
        )
