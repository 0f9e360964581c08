"""Learned detectors: options of a network, and the trained weights that it is loaded with."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from cellfree_sim.detection.detector import Algorithm, Detection, DetectorOptions
from cellfree_sim.errors import DetectorError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from cellfree_sim.uplink.problem import Batch

SLOTS_AT_ONCE = 4096
"""Slots that a network is given at once, so that memory does not grow with the slots."""


class Learned(DetectorOptions):
    """Options of a detector that is a network, and where its trained weights are.

    A subclass has the options of its network as fields and makes it in `network`; the trainer, the files and the
    checks are the same for all. It is registered like any other detector.
    """

    learned: ClassVar[bool] = True
    """What tells it from the other detectors."""
    sizes: ClassVar[frozenset[str]] = frozenset()
    """Sizes of the problem that shape the weights, for MIMO of n_rx and n_tx: the network serves no others."""
    of_use: ClassVar[frozenset[str]] = frozenset({"name", "checkpoint"})
    """Fields that say how the network is used, and may differ from those that it was trained with."""

    checkpoint: str | None = Field(
        None, description="trained weights: a file or the name of a shipped one; by default a shipped one that fits"
    )

    @abstractmethod
    def network(self, problem: Any) -> nn.Module:
        """A new network for the constellation of `problem` (and its sizes, where they matter), in float32.

        Called with (y [S, R] complex64, h [S, R, N] complex64, noise_variance [S] float32) it returns a list of
        unnormalised log-probabilities [S, N, M]: the last one decides, and all of them are supervised in training.
        Random weights come from torch's own generator, which the trainer has seeded.
        """

    def loss(self, scores: list[Tensor], messages: Tensor) -> Tensor:
        """What training minimises: the mean cross-entropy of all `scores` with the `messages` int64 [S, N] sent."""
        return cross_entropies(scores, messages).mean()

    @property
    def phases(self) -> tuple[int, ...]:
        """Lengths of the phases of training, as parts of the whole; each has its own cycle of the learning rate."""
        return (1,)

    def begin_phase(self, network: Any, phase: int) -> None:
        """Prepare the network for the iterations of a phase, for example by freezing a part of it."""

    def learn(self, network: Any, slots: Batch) -> tuple[Tensor, Tensor]:
        """The loss of an iteration of training, which is minimised, and the share of wrong decisions (no gradient)."""
        scores = network(slots.y, slots.h_known, slots.noise_variance)
        wrong = (scores[-1].detach().argmax(dim=-1) != slots.messages).float().mean()
        return self.loss(scores, slots.messages), wrong

    def detect(self, network: Any, y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
        """The detection of a trained network in evaluation mode, on the device of `y`, piece by piece."""
        import torch

        pieces = zip(*(torch.split(value, SLOTS_AT_ONCE) for value in (y, h, noise_variance)), strict=True)
        scores = torch.cat([network(*piece)[-1] for piece in pieces])
        return Detection.of(scores, iterations=getattr(self, "layers", None))

    def restore(self, network: nn.Module, weights: dict[str, Tensor]) -> None:
        """Give a new network the weights of a file; RuntimeError where they are another network's."""
        network.load_state_dict(weights)

    def prepared(self, network: Any) -> Any:
        """The trained network as `detect` gets it, for example with its weights quantised."""
        return network

    def build(self, problem: Any) -> Algorithm:
        """See `DetectorOptions.build`. The weights are those of `checkpoint`."""
        from cellfree_sim.detection.learned.trained import load

        options, network = load(self, problem)
        return options.algorithm(network, problem)

    def algorithm(self, network: nn.Module, problem: Any) -> Algorithm:
        """The detector that a trained network is. It follows the device of what is received."""
        ready = self.prepared(copy.deepcopy(network).eval().requires_grad_(False))
        on: dict[torch.device, Any] = {}

        def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
            self.check_sizes(problem, y, h)
            if y.device not in on:
                on[y.device] = copy.deepcopy(ready).to(y.device)
            return self.detect(on[y.device], y, h, noise_variance)

        return detect

    def check_sizes(self, problem: Any, y: Tensor, h: Any) -> None:
        """DetectorError where what was received has other sizes than the network of `problem` can serve."""
        for size, found in (("n_rx", h.shape[1]), ("n_tx", h.shape[2])):
            if size in self.sizes and found != getattr(problem, size):
                what, expected = "antennas" if size == "n_rx" else "users", getattr(problem, size)
                raise DetectorError(f"detector '{self.name}': h: found {found} {what}; its network has {expected}")

    def architecture(self) -> dict[str, Any]:
        """The options that shape the network, by name."""
        return self.model_dump(mode="json", exclude=set(self.of_use))


def cross_entropies(scores: list[Tensor], messages: Tensor) -> Tensor:
    """Mean cross-entropy [T] of each of T outputs [S, N, M] with the `messages` int64 [S, N] sent."""
    import torch

    target = messages.flatten()
    return torch.stack([torch.nn.functional.cross_entropy(one.float().flatten(0, 1), target) for one in scores])
