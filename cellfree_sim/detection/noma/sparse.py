"""Message passing on the factor graph of a sparse codebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cellfree_sim.detection.detector import Algorithm, Detection, DetectorOptions
from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario.extensions import NOMA_DETECTORS

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.uplink.noma import NomaProblem

MAX_COMBINATIONS = 4096


@NOMA_DETECTORS.register
class MessagePassing(DetectorOptions):
    """Sum-product algorithm between users and resources, for codebooks with few users on each resource (SCMA)."""

    name: Literal["mpa"] = "mpa"
    iterations: int = Field(5, ge=1, le=1000, description="each from users to resources and back")

    def build(self, problem: NomaProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        import torch

        from cellfree_sim.detection.noma.algorithms import factor_graph
        from cellfree_sim.detection.noma.algorithms.common import Code, normalised

        code = Code.of(problem)
        found = factor_graph.most_combinations(factor_graph.graph_of(code))
        if found > MAX_COMBINATIONS:
            what = f"found {found} combinations of messages on one resource of the codebook '{problem.book.name}'"
            raise DetectorError(f"detector 'mpa': {what}; allowed: {MAX_COMBINATIONS}, as sparse codebooks have")
        step = max(1, factor_graph.VALUES_AT_ONCE // found)

        def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
            here = code.to(y.device)
            graph = factor_graph.graph_of(here)
            received = here.received(h)
            parts = []
            for start in range(0, len(y), step):
                some = slice(start, start + step)
                arriving = received if len(received) == 1 else received[some]
                parts.append(
                    factor_graph.message_passing(
                        y[some], arriving, noise_variance[some], here, graph, iterations=self.iterations
                    )
                )
            return Detection(normalised(torch.cat(parts), here.log_prior), iterations=self.iterations)

        return detect
