"""A detector: Jacobi's iterations instead of the inverse of the LMMSE filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cellfree_sim.detection.detector import Algorithm, Detection, DetectorOptions

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.uplink.mimo import MimoProblem


class Jacobi(DetectorOptions):
    """x <- x + w D^-1 (u - A x) with A = H^H H + s I, D its diagonal and u = H^H y; for many more antennas than users.

    What is left of the interference after the last iteration is not known, and taken for that of the exact filter.
    """

    family: ClassVar = "mimo"

    iterations: int = Field(8, ge=1, le=1000, description="products of the Gram matrix with a vector")
    relaxation: float = Field(0.8, gt=0, le=1, description="w")

    def build(self, problem: MimoProblem) -> Algorithm:
        """The detector for the constellation of `problem`."""
        points = problem.constellation

        def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
            matched = (h.mH @ y.unsqueeze(-1)).squeeze(-1)
            gram = h.mH @ h
            diagonal = gram.diagonal(dim1=-2, dim2=-1).real + noise_variance.unsqueeze(-1)
            estimate = matched / diagonal
            for _ in range(self.iterations):
                product = (gram @ estimate.unsqueeze(-1)).squeeze(-1) + noise_variance.unsqueeze(-1) * estimate
                estimate = estimate + self.relaxation * (matched - product) / diagonal
            error = (noise_variance.unsqueeze(-1) / diagonal).clamp(1e-9, 1 - 1e-6).unsqueeze(-1)
            distances = ((estimate / (1 - error[..., 0])).unsqueeze(-1) - points.to(y.device)).abs().square()
            return Detection.of(-distances * (1 - error) / error, iterations=self.iterations)

        return detect
