"""What the learned receivers of NOMA share: effective codewords, Gaussian interference, one linear layer for each user.

Shape letters: S slots, N users, M messages (silence, where users may be silent, is the last), K samples of a codeword,
R received samples (K, or K for each antenna), D = 2R real parts.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

LEAST = 1e-30
"""Probability below which a logarithm is not taken."""


class Words(NamedTuple):
    """What each user may send, and how likely it is.

    Attributes:
        codewords: complex [N, M, K]; that of silence is 0.
        log_prior: [N, M], -inf for a message that a user does not have.
        silence: whether users may be silent: then it is the last message.
    """

    codewords: Tensor
    log_prior: Tensor
    silence: bool

    @classmethod
    def of(cls, codebook: Tensor, log_prior: Tensor) -> Words:
        """Of a codebook [N, M', K]: silence is appended where `log_prior` [N, M] has one message more."""
        silence = log_prior.shape[1] > codebook.shape[1]
        if silence:
            codebook = torch.cat([codebook, torch.zeros_like(codebook[:, :1])], dim=1)
        return cls(codebook, log_prior, silence)

    @property
    def activity(self) -> Tensor:
        """How often each user sends, [N]."""
        prior = self.log_prior.exp()
        return 1 - prior[:, -1] if self.silence else torch.ones_like(prior[:, -1])

    def effective(self, h: Tensor) -> Tensor:
        """What each message looks like behind channels `h` [S, N, R]: complex [S, N, M, R]."""
        repeats = h.shape[-1] // self.codewords.shape[-1]
        return h.unsqueeze(2) * self.codewords.repeat(1, 1, repeats)


def real_parts(values: Tensor) -> Tensor:
    """Real parts, then imaginary parts: [..., 2R] of complex [..., R]."""
    return torch.cat([values.real, values.imag], dim=-1)


def masked(scores: Tensor, log_prior: Tensor) -> Tensor:
    """`scores` [S, N, M] with -inf for messages that a user does not have."""
    return scores.masked_fill(log_prior.isneginf(), -math.inf)


class UserLinear(nn.Module):
    """A linear layer [N, S, inputs] -> [N, S, outputs] for each of N users, all in one product.

    Weights begin as Xavier's, biases as 0.
    """

    def __init__(self, users: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = math.sqrt(6 / (inputs + outputs))
        self.weight = nn.Parameter(torch.empty(users, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(users, 1, outputs))

    def forward(self, values: Tensor) -> Tensor:
        """The layer of each user on its own values."""
        return torch.baddbmm(self.bias, values, self.weight)


def user_layers(users: int, widths: list[int], activation: type[nn.Module]) -> nn.Sequential:
    """Layers of `widths` for each user, with `activation` between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [UserLinear(users, inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])
