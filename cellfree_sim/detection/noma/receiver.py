"""What the options of NOMA receivers share: a code made ready once, and slots taken piece by piece."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from cellfree_sim.detection.detector import Algorithm, Detection, DetectorOptions
from cellfree_sim.errors import DetectorError

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.detection.noma.algorithms.gaussian import Coordinates
    from cellfree_sim.uplink.noma import NomaProblem

SLOTS_AT_ONCE = 2048


class ByCoordinates(DetectorOptions):
    """A receiver that works on the coordinates of the codewords, few slots at once."""

    @abstractmethod
    def scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, code: Coordinates) -> Tensor:
        """Unnormalised log-probabilities [S, N, A] of the answers of each user."""

    def check(self, problem: NomaProblem) -> None:
        """Raise `DetectorError` where this receiver cannot serve `problem`."""

    def build(self, problem: NomaProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        import torch

        from cellfree_sim.detection.noma.algorithms.common import Code, normalised, precise
        from cellfree_sim.detection.noma.algorithms.gaussian import Coordinates

        self.check(problem)
        code = Coordinates(Code.of(problem))

        def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
            here = code.to(y.device)
            given = precise(y, h, noise_variance)
            pieces = zip(*(torch.split(value, SLOTS_AT_ONCE) for value in given), strict=True)
            found = torch.cat([self.scores(some, channels, noise, here) for some, channels, noise in pieces])
            return Detection(normalised(found, here.log_prior).float())

        return detect


class Spread(ByCoordinates):
    """A receiver of symbols that were spread: every codeword of a user is its signature times a symbol."""

    def check(self, problem: NomaProblem) -> None:
        """See `ByCoordinates.check`."""
        if problem.book.spreading() is None:
            found = f"found the codebook '{problem.book.name}', whose codewords are no signature times a symbol"
            allowed = "a codebook that spreads symbols (any suits ml, kbest, ep and pda)"
            raise DetectorError(f"detector '{self.name}': {found}; allowed: {allowed}")
