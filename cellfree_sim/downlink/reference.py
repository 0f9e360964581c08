"""What every reference algorithm is: options with a solver for given channels, without learning."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from cellfree_sim.registry import Named

if TYPE_CHECKING:
    from torch import Tensor


class Reference(Named):
    """Options of a reference algorithm. Noise power and the budget of each station are 1."""

    @abstractmethod
    def solve(self, channel: Tensor, *, min_rate: float, seed: int) -> tuple[Tensor, Tensor]:
        """Beams and allocation of each realisation.

        Args:
            channel: H, [S, B, N, T, I, R] complex64, scaled by sqrt(P_max / sigma^2).
            min_rate: r_min, bit/s/Hz; only algorithms that look at it use it.
            seed: of whatever is random in the algorithm.

        Returns:
            w [S, B, N, T, I] complex64 in units of sqrt(P_max) and v [S, B, N, I] float32, 0 or 1.
        """
