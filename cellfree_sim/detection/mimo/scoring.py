"""Detectors that score every point of the constellation for every user: what they share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from cellfree_sim.detection.detector import Algorithm, Detection, DetectorOptions

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.detection.mimo.algorithms.common import Alphabet
    from cellfree_sim.uplink.mimo import MimoProblem


class Scoring(DetectorOptions):
    """Options of a detector that says by `scores` how likely each point is.

    One that iterates has an option `iterations`, which its detections repeat.
    """

    @abstractmethod
    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
        """Unnormalised log-probabilities [S, N, M] of the points of `alphabet`; for the others see `Algorithm`."""

    def build(self, problem: MimoProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        from cellfree_sim.detection.mimo.algorithms.common import Alphabet

        alphabet = Alphabet(problem.constellation)
        iterations: int | None = getattr(self, "iterations", None)

        def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
            return Detection.of(self.scores(y, h, noise_variance, alphabet.to(y.device)), iterations=iterations)

        return detect
