"""Learned detectors that unfold an iterative algorithm into layers: OAMPNet, MMNet, DetNet, EPNet."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cellfree_sim.detection.learned.base import Learned, cross_entropies
from cellfree_sim.scenario.extensions import DETECTORS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cellfree_sim.uplink.mimo import MimoProblem


@DETECTORS.register
class OampNet(Learned):
    """Orthogonal AMP with two learned scalars in each layer (He, Wen, Jin and Li, 2018)."""

    name: Literal["oampnet"] = "oampnet"
    layers: int = Field(10, ge=1, le=1000, description="of filter and denoiser")

    def network(self, problem: MimoProblem) -> nn.Module:
        """See `Learned.network`."""
        from cellfree_sim.detection.learned.orthogonal import OrthogonalNet
        from cellfree_sim.detection.mimo.algorithms.common import Alphabet

        return OrthogonalNet(Alphabet(problem.constellation), self.layers, 2)


@DETECTORS.register
class OampNet2(Learned):
    """OAMPNet-2 (He, Wen, Jin and Li, 2020), which has four learned scalars in each layer.

    Curves published as OAMPNet-2 beside RE-MIMO come from a code with two, which are OAMPNet's; so has this, unless it
    is told otherwise. Both have the same symbol error rate.
    """

    name: Literal["oampnet2"] = "oampnet2"
    layers: int = Field(10, ge=1, le=1000, description="of filter and denoiser")
    scalars: Literal[2, 4] = Field(2, description="learned in each layer: as in the published code, or paper")

    def network(self, problem: MimoProblem) -> nn.Module:
        """See `Learned.network`."""
        from cellfree_sim.detection.learned.orthogonal import OrthogonalNet
        from cellfree_sim.detection.mimo.algorithms.common import Alphabet

        return OrthogonalNet(Alphabet(problem.constellation), self.layers, self.scalars)


@DETECTORS.register
class MmNet(Learned):
    """MMNet for independent channels (Khani et al., 2020): no inverse, two learned scalars in each layer."""

    name: Literal["mmnet"] = "mmnet"
    layers: int = Field(10, ge=1, le=1000, description="of gradient step and denoiser")

    def network(self, problem: MimoProblem) -> nn.Module:
        """See `Learned.network`."""
        from cellfree_sim.detection.learned.matched import MatchedNet
        from cellfree_sim.detection.mimo.algorithms.common import Alphabet

        return MatchedNet(Alphabet(problem.constellation), self.layers)


@DETECTORS.register
class DetNet(Learned):
    """Projected gradient descent with a small network in each layer (Samuel, Diskin and Wiesel, 2019)."""

    sizes: ClassVar[frozenset[str]] = frozenset({"n_tx"})
    name: Literal["detnet"] = "detnet"
    layers: int = Field(30, ge=1, le=1000, description="the authors take three for each user")
    hidden: int = Field(8, ge=1, le=1000, description="width of a layer, in multiples of 2 n_tx")
    memory: int = Field(2, ge=1, le=1000, description="what a layer tells the next one, in multiples of 2 n_tx")
    kept: float = Field(0.9, ge=0, lt=1, description="weight of the layer before in the output of a layer")

    def network(self, problem: MimoProblem) -> nn.Module:
        """See `Learned.network`."""
        from cellfree_sim.detection.learned.projected import ProjectedNet
        from cellfree_sim.detection.mimo.algorithms.common import Alphabet

        alphabet = Alphabet(problem.constellation)
        return ProjectedNet(alphabet, problem.n_tx, self.layers, self.hidden, self.memory, self.kept)

    def loss(self, scores: list[Tensor], messages: Tensor) -> Tensor:
        """Cross-entropies with weights ln(t + 1) of layer t, as the authors weigh theirs."""
        import torch

        weights = torch.arange(2, len(scores) + 2, device=messages.device).log()
        return (cross_entropies(scores, messages) * weights).sum() / weights.sum()


@DETECTORS.register
class EpNet(Learned):
    """Expectation propagation with learned damping and scales of noise and variances, four scalars in each layer.

    It is for correlated channels, where it makes fewer errors than `ep` after a third of its iterations. Its last layer
    also tries what it is least sure of jointly, which costs less than one more layer.
    """

    name: Literal["epnet"] = "epnet"
    layers: int = Field(10, ge=2, le=1000, description="each with one inverse, as an iteration of ep")
    undecided: int = Field(5, ge=0, le=12, description="real parts whose two likeliest levels are tried jointly")

    def network(self, problem: MimoProblem) -> nn.Module:
        """See `Learned.network`."""
        from cellfree_sim.detection.learned.expectation import ExpectationNet
        from cellfree_sim.detection.mimo.algorithms.common import Alphabet

        return ExpectationNet(Alphabet(problem.constellation), self.layers, self.undecided)

    def loss(self, scores: list[Tensor], messages: Tensor) -> Tensor:
        """Cross-entropies with weights t^4 of layer t: early layers must not decide in haste."""
        import torch

        weights = torch.arange(1, len(scores) + 1, device=messages.device).float().pow(4)
        return (cross_entropies(scores, messages) * weights).sum() / weights.sum()
