"""RE-MIMO: a network whose users attend to each other; one model for any number of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from cellfree_sim.detection.detector import Detection
from cellfree_sim.detection.learned.base import SLOTS_AT_ONCE, Learned, cross_entropies
from cellfree_sim.scenario.extensions import DETECTORS

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.detection.learned.re_mimo import ReMimo
    from cellfree_sim.uplink.mimo import MimoProblem


@DETECTORS.register
class ReMimoOptions(Learned):
    """RE-MIMO (Pratik, Rao and Welling, 2020): recurrent, permutation equivariant, for any number of users.

    `inputs: paper, width: 512, blocks: 12` (16 for correlated channels) with 8 heads comes close to the paper's own
    network, of 59 million weights and days of training on a GPU. With `inputs: cavity` the network starts as
    expectation propagation, and learns to do better.
    """

    of_use: ClassVar[frozenset[str]] = Learned.of_use | {"precision", "attention"}

    name: Literal["re-mimo"] = "re-mimo"
    inputs: Literal["paper", "gradient", "cavity"] = Field(
        "gradient",
        description="what a block is told of y and H: vectors, also their products, or what EP makes of them",
    )
    width: int = Field(64, ge=1, le=8192, description="of the state of a user")
    blocks: int = Field(8, ge=1, le=1000, description="encoder-predictor blocks, each with its own weights")
    heads: int = Field(4, ge=1, le=1024, description="of the attention")
    precision: Literal["float32", "bfloat16", "int8"] = Field(
        "float32", description="of weights and products with them; int8 on the CPU only (see `packed_layer`)"
    )
    attention: bool = Field(False, description="keep who attends to whom, as details['attention'] of a detection")

    @property
    def sizes(self) -> frozenset[str]:  # type: ignore[override]
        """See `Learned.sizes`: vectors have as many entries as there are antennas."""
        return frozenset() if self.inputs == "cavity" else frozenset({"n_rx"})

    def network(self, problem: MimoProblem) -> ReMimo:
        """See `Learned.network`."""
        from cellfree_sim.detection.learned.re_mimo import ReMimo

        return ReMimo(
            problem.constellation,
            antennas=problem.n_rx,
            inputs=self.inputs,
            width=self.width,
            blocks=self.blocks,
            heads=self.heads,
        )

    def loss(self, scores: list[Tensor], messages: Tensor) -> Tensor:
        """See `Learned.loss`: (11) with weights that grow as the square of the block's number; the paper's are equal.

        Equal weights make the first blocks hasty, at the price of the last.
        """
        import torch

        each = cross_entropies(scores, messages)
        weights = torch.arange(1, len(each) + 1, device=each.device).square()
        return (weights / weights.sum() * each).sum()

    def prepared(self, network: Any) -> Any:
        """See `Learned.prepared`: the network with its weights in the precision wanted."""
        from cellfree_sim.detection.learned.quick import QuickReMimo

        return network if self.precision == "float32" else QuickReMimo(network, self.precision)

    def detect(self, network: Any, y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
        """See `Learned.detect`. With `attention`, `details["attention"]` is float32 [blocks, S, heads, N, N].

        Entry [t, s, a, i, j] is the weight that user i gives to user j in head a of block t; over j they add to 1.
        """
        import torch

        scores, maps = [], []
        for piece in zip(*(torch.split(value, SLOTS_AT_ONCE) for value in (y, h, noise_variance)), strict=True):
            kept: list[Tensor] | None = [] if self.attention else None
            scores.append(network(*piece, kept)[-1])
            if kept is not None:
                maps.append(torch.stack(kept).float())
        details = {"attention": torch.cat(maps, dim=1)} if maps else {}
        found = Detection.of(torch.cat(scores), iterations=self.blocks)
        return replace(found, details=details)
