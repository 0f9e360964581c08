"""Receivers that pass Gaussian messages between users, for any codebook: EP and PDA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from cellfree_sim.detection.detector import Algorithm, Detection, DetectorOptions
from cellfree_sim.scenario.extensions import NOMA_DETECTORS

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.uplink.noma import NomaProblem


class GaussianMessages(DetectorOptions):
    """What the two have in common; see `algorithms.message_passing`."""

    kind: ClassVar[Any]
    iterations: int = Field(10, ge=1, le=1000, description="each with one inverse")
    damping: float = Field(0.7, ge=0, lt=1, description="weight of the old messages")

    def build(self, problem: NomaProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        import torch

        from cellfree_sim.detection.noma.algorithms.common import Code, normalised, precise
        from cellfree_sim.detection.noma.algorithms.message_passing import (
            SLOTS_AT_ONCE,
            RealCoordinates,
            gaussian_messages,
        )

        code = RealCoordinates(Code.of(problem))

        def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
            here = code.to(y.device)
            given = precise(y, h, noise_variance)
            pieces = zip(*(torch.split(value, SLOTS_AT_ONCE) for value in given), strict=True)
            options: dict[str, Any] = {"kind": self.kind, "iterations": self.iterations, "damping": self.damping}
            found = torch.cat([gaussian_messages(some, over, noise, here, **options) for some, over, noise in pieces])
            return Detection(normalised(found, here.log_prior), iterations=self.iterations)

        return detect


@NOMA_DETECTORS.register
class ExpectationPropagation(GaussianMessages):
    """Expectation propagation: the messages are what each user's constellation adds to what the others say of it."""

    kind: ClassVar[Any] = "ep"
    name: Literal["ep"] = "ep"


@NOMA_DETECTORS.register
class ProbabilisticDataAssociation(GaussianMessages):
    """Probabilistic data association: others count as Gaussian interference of their posterior mean and variance."""

    kind: ClassVar[Any] = "pda"
    name: Literal["pda"] = "pda"
    iterations: int = Field(5, ge=1, le=1000, description="each with one inverse")
    damping: float = Field(0.0, ge=0, lt=1, description="weight of the old messages")
