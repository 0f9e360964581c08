"""A link as it is trained, from the code of the users to the receiver, and the receiver alone as it is used.

Shape letters: see `words`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cellfree_sim.detection.noma.networks.words import Words
from cellfree_sim.uplink.noma import superposed
from cellfree_sim.uplink.problem import Batch


class Bound(nn.Module):
    """A receiver network and the words that it detects."""

    def __init__(self, receiver: nn.Module, codebook: Tensor, log_prior: Tensor) -> None:
        super().__init__()
        self.receiver = receiver
        self.register_buffer("codebook", codebook, persistent=False)
        self.register_buffer("log_prior", log_prior, persistent=False)

    def words(self, codebook: Tensor | None = None) -> Words:
        """What users may send, with another `codebook` [N, M, K] than its own."""
        return Words.of(self.get_buffer("codebook") if codebook is None else codebook, self.get_buffer("log_prior"))

    def forward(self, y: Tensor, h: Tensor, noise_variance: Tensor) -> list[Tensor]:
        """Scores [S, N, M] of each output; the last one decides."""
        found: list[Tensor] = self.receiver(self.words(), y, h, noise_variance)
        return found


class Heard(NamedTuple):
    """What a link made of slots: the scores [S, N, M] of each output, the words, and which was sent, int64 [S, N]."""

    scores: list[Tensor]
    words: Words
    sent: Tensor


class Link(nn.Module):
    """A code that learns, the channel, and a receiver that learns: gradients reach both.

    Args:
        transmitter: makes the codebook; None: it is the receiver's own, and `y` of the slots holds it already.
        bound: the receiver.
    """

    def __init__(self, transmitter: nn.Module | None, bound: Bound) -> None:
        super().__init__()
        self.transmitter = transmitter
        self.bound = bound

    def codebook(self) -> Tensor:
        """The codebook as it is now, complex64 [N, M, K]."""
        return self.bound.get_buffer("codebook") if self.transmitter is None else self.transmitter()

    def forward(self, slots: Batch, words: Words | None = None) -> Heard:
        """Send the messages of `slots`, whose y is the noise where the code learns.

        Args:
            slots: of the problem.
            words: of a problem of another size, where the receiver serves any.
        """
        y = slots.y
        if words is None:
            codebook = self.codebook()
            words = self.bound.words(codebook)
            if self.transmitter is not None:
                y = y + superposed(codebook, slots.h, slots.messages)
        sent = torch.where(slots.messages < 0, words.codewords.shape[1] - 1, slots.messages)
        return Heard(self.bound.receiver(words, y, slots.h_known, slots.noise_variance), words, sent)
