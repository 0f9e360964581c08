"""A receiver that searches the tree of all users' answers: K-best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cellfree_sim.detection.noma.receiver import ByCoordinates
from cellfree_sim.scenario.extensions import NOMA_DETECTORS

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.detection.noma.algorithms.gaussian import Coordinates


@NOMA_DETECTORS.register
class KBest(ByCoordinates):
    """Breadth-first search with silence as a symbol, the surest user first: nearly exact with few survivors."""

    name: Literal["kbest"] = "kbest"
    survivors: int = Field(16, ge=1, le=1 << 16, description="partial paths kept at each user")

    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, code: Coordinates) -> Tensor:
        """See `ByCoordinates.scores`."""
        from cellfree_sim.detection.noma.algorithms.tree import k_best

        return k_best(y, h, noise_variance, code, survivors=self.survivors)
