"""Detectors that search the tree of symbol vectors: K-best and sphere."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cellfree_sim.detection.detector import Algorithm, Detection, DetectorOptions
from cellfree_sim.detection.mimo.scoring import Scoring
from cellfree_sim.scenario.extensions import DETECTORS

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.detection.mimo.algorithms.common import Alphabet
    from cellfree_sim.uplink.mimo import MimoProblem


@DETECTORS.register
class KBest(Scoring):
    """Breadth-first search that keeps the best partial vectors, the users sorted by how sure they are.

    Log-probabilities are max-log over the survivors.
    """

    overloaded: ClassVar[bool] = False
    name: Literal["kbest"] = "kbest"
    survivors: int = Field(64, ge=1, le=1 << 20, description="partial vectors kept at each user")

    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet) -> Tensor:
        """See `Scoring.scores`."""
        from cellfree_sim.detection.mimo.algorithms.tree import k_best

        return k_best(y, h, noise_variance, alphabet, survivors=self.survivors)


@DETECTORS.register
class Sphere(DetectorOptions):
    """Maximum likelihood, exact: the nearest of all symbol vectors. Hard decisions.

    It takes the time that the slot needs, which at low signal-to-noise ratio grows exponentially with the users.
    """

    overloaded: ClassVar[bool] = False
    name: Literal["sphere"] = "sphere"

    def build(self, problem: MimoProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        from cellfree_sim.detection.mimo.algorithms.common import Alphabet
        from cellfree_sim.detection.mimo.algorithms.tree import sphere

        alphabet = Alphabet(problem.constellation)

        def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
            return Detection.hard(sphere(y, h, alphabet.to(y.device)), len(alphabet.points))

        return detect
