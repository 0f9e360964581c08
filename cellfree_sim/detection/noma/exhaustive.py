"""The optimal receiver: the exact posterior of each user, by enumeration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cellfree_sim.detection.detector import Algorithm, Detection, DetectorOptions
from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario.extensions import NOMA_DETECTORS

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.uplink.noma import NomaProblem

MAX_COMBINATIONS = 1 << 22


@NOMA_DETECTORS.register
class Exhaustive(DetectorOptions):
    """All combinations of the users' messages (and silence) weighed: each user's most probable answer given y."""

    name: Literal["ml"] = "ml"

    def build(self, problem: NomaProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        from cellfree_sim.detection.noma.algorithms.common import Code
        from cellfree_sim.detection.noma.algorithms.exhaustive import combinations, posterior

        code = Code.of(problem)
        found = combinations(code.log_prior)
        if found > MAX_COMBINATIONS:
            raise DetectorError(
                f"detector 'ml': found {found} combinations of {problem.users} users' messages; "
                f"allowed: at most {MAX_COMBINATIONS} (use kbest, ep or pda)"
            )

        def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
            here = code.to(y.device)
            return Detection(posterior(y, here.received(h), noise_variance, here.log_prior))

        return detect
