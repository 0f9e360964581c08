"""Dense policies: the paper's network as printed, and with the choices that make it work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from cellfree_sim.downlink.policy import Policy, PolicyShape
from cellfree_sim.scenario.extensions import POLICIES

if TYPE_CHECKING:
    from torch import nn

Cells = Annotated[int, Field(ge=1, le=65536)]


@POLICIES.register
class Dense(Policy):
    """Fully connected network on log gains and directions; soft allocation in training; power normalised to P_max."""

    name: Literal["dense"] = "dense"
    hidden: tuple[Cells, ...] = Field(
        (512, 1024, 512), min_length=1, max_length=16, description="cells of each hidden layer"
    )
    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="soft allocation above which a link is served with the amplitude it had in training; by default, "
        "what is above 1/2 is served in full, as printed",
    )

    def build(self, shape: PolicyShape, seed: int) -> nn.Module:
        """See `Policy.build`."""
        from cellfree_sim.downlink.networks.common import seeded
        from cellfree_sim.downlink.networks.dense import DenseNetwork

        return seeded(seed, lambda: DenseNetwork(shape, self.hidden, self.threshold))

    def build_central(self, shape: PolicyShape, seed: int) -> nn.Module:
        """See `Policy.build_central`."""
        from cellfree_sim.downlink.networks.central_dense import CentralDenseNetwork
        from cellfree_sim.downlink.networks.common import seeded

        return seeded(seed, lambda: CentralDenseNetwork(shape, self.hidden, self.threshold))


@POLICIES.register
class Paper(Policy):
    """The paper's network to the letter: straight-through binary allocation, power left to the Huber task."""

    keeps_budget: ClassVar[bool] = False

    name: Literal["paper"] = "paper"
    hidden: tuple[Cells, ...] = Field(
        (512, 1024, 512), min_length=1, max_length=16, description="cells of each hidden layer"
    )
    input_scale: float = Field(
        1.0, gt=0, le=1e12, description="factor on the channel (in units of sqrt(sigma^2 / P_max))"
    )
    beam_scale: float = Field(
        0.316,
        gt=0,
        le=1e3,
        description="largest real or imaginary part of a beam's entry, in sqrt(P_max); 0.316 is 1 sqrt(W) at 40 dBm",
    )

    def build(self, shape: PolicyShape, seed: int) -> nn.Module:
        """See `Policy.build`."""
        from cellfree_sim.downlink.networks.common import seeded
        from cellfree_sim.downlink.networks.dense import PaperNetwork

        return seeded(seed, lambda: PaperNetwork(shape, self.hidden, self.input_scale, self.beam_scale))

    def build_central(self, shape: PolicyShape, seed: int) -> nn.Module:
        """See `Policy.build_central`."""
        from cellfree_sim.downlink.networks.central_dense import CentralPaperNetwork
        from cellfree_sim.downlink.networks.common import seeded

        return seeded(seed, lambda: CentralPaperNetwork(shape, self.hidden, self.input_scale, self.beam_scale))
