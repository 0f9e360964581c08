"""A learned detector: gradient steps whose lengths and noise levels are trained, one of each for every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cellfree_sim.detection.learned.base import Learned

if TYPE_CHECKING:
    from torch import nn

    from cellfree_sim.uplink.mimo import MimoProblem


class Unfolded(Learned):
    """x <- soft decision of x + a_t D^-1 H^H (y - H x), D the diagonal of H^H H, with a_t learned in layer t.

    The network is in a module of its own, so that whoever only lists options need not import torch.
    """

    family: ClassVar = "mimo"

    layers: int = Field(6, ge=1, le=100, description="of gradient step and soft decision")

    def network(self, problem: MimoProblem) -> nn.Module:
        """A network for the constellation of `problem`; it serves any number of antennas and users."""
        from my_layers import Layers

        return Layers(problem.constellation, self.layers)
