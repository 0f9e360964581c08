"""Codes that are learned: modules which make codebooks, in a way that a gradient goes through.

What a code learns is stored over its `quick`, so that it learns so many times faster than the receiver beside it.

Shape letters: N users, M messages of a user, K samples of a codeword.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cellfree_sim.detection.noma.networks.words import user_layers
from cellfree_sim.uplink.codebook import symbols
from cellfree_sim.uplink.codebooks.learned import LearnedCode, MapTrained, Quantised

if TYPE_CHECKING:
    from cellfree_sim.uplink.noma import NomaProblem

FIRST_SPREAD = 0.5


def transmitter(code: LearnedCode, problem: NomaProblem, quick: float) -> nn.Module:
    """The module that learns `code` for `problem`. Its random weights come from torch's own generator."""
    counts = torch.tensor(problem.counts)
    samples, energy = problem.resources, problem.book.energy
    if isinstance(code, Quantised):
        points = torch.zeros(problem.users, int(counts.max()), dtype=torch.complex64)
        for user, rate in enumerate(problem.rates):
            points[user, : 2**rate] = torch.from_numpy(symbols(rate))
        return SignatureCode(points, counts, samples, energy, code.levels, quick)
    if isinstance(code, MapTrained):
        return FreeCode(counts, samples, energy, quick)
    shape = code.shape()
    return EncodedCode(counts, samples, energy, shape["width"], shape["layers"])


def of_energy(codewords: Tensor, counts: Tensor, energy: float) -> Tensor:
    """`codewords` [N, M, K] scaled so that each user's have the mean square `energy`; those it does not have are 0.

    Args:
        codewords: complex.
        counts: messages of each user, int64 [N].
        energy: mean over a user's messages of ||c||^2.
    """
    kept = torch.arange(codewords.shape[1], device=codewords.device) < counts.unsqueeze(-1)
    words = codewords * kept.unsqueeze(-1)
    mean = words.abs().square().sum(dim=(1, 2), keepdim=True) / counts.view(-1, 1, 1)
    return words * (energy / mean.clamp_min(1e-12)).sqrt()


class FreeCode(nn.Module):
    """Every sample of every codeword is a parameter: what trains through an exact posterior, or any receiver."""

    def __init__(self, counts: Tensor, samples: int, energy: float, quick: float = 1.0) -> None:
        super().__init__()
        self.counts, self.energy, self.quick = counts, energy, quick
        first = torch.randn(len(counts), int(counts.max()), samples, 2) * FIRST_SPREAD
        self.parts = nn.Parameter(first / quick)

    def forward(self) -> Tensor:
        """The codebook, complex64 [N, M, K]."""
        words = torch.view_as_complex(self.parts * self.quick)
        return of_energy(words, self.counts.to(words.device), self.energy)


class EncodedCode(nn.Module):
    """A network for each user, from the one-hot message to the codeword, as autoencoders of communication have.

    It is only ever asked for the 2^rate words, so that what it has learned is a codebook.

    Args:
        counts: messages of each user, int64 [N].
        samples: K.
        energy: see `of_energy`.
        width: of a hidden layer.
        layers: hidden ones, with tanh.
    """

    def __init__(self, counts: Tensor, samples: int, energy: float, width: int, layers: int) -> None:
        super().__init__()
        self.counts, self.energy = counts, energy
        words = int(counts.max())
        self.net = user_layers(len(counts), [words, *[width] * layers, 2 * samples], nn.Tanh)
        self.register_buffer("one_hot", torch.eye(words).repeat(len(counts), 1, 1), persistent=False)

    def forward(self) -> Tensor:
        """The codebook, complex64 [N, M, K]."""
        out: Tensor = self.net(self.one_hot)
        words = torch.view_as_complex(out.reshape(*out.shape[:-1], -1, 2))
        return of_energy(words, self.counts.to(words.device), self.energy)


class SignatureCode(nn.Module):
    """Signatures of a finite alphabet: parts of all samples are integers from -Q to Q (the quantised network, QNN).

        c_n(m) = sqrt(energy) s_n / ||s_n|| x_n(m),    s_n = round(clip(w_n, -Q, Q)),

    and the gradient passes the rounding as if it were not there. A signature that would be all zero, a silent user,
    takes the sign of its largest part instead.

    Args:
        points: what signatures are multiplied by, complex64 [N, M], of unit mean square; 0 where a user has none.
        counts: messages of each user, int64 [N].
        samples: K.
        energy: see `of_energy`.
        levels: Q; None does not quantise.
    """

    def __init__(
        self, points: Tensor, counts: Tensor, samples: int, energy: float, levels: int | None, quick: float = 1.0
    ) -> None:
        super().__init__()
        self.counts, self.energy, self.levels, self.quick = counts, energy, levels, quick
        first = torch.empty(len(points), samples, 2).uniform_(-(levels or 1), levels or 1)
        self.latent = nn.Parameter(first / quick)
        self.register_buffer("points", points.to(torch.complex64), persistent=False)

    def signatures(self) -> Tensor:
        """The signatures as sent but for their norm, complex64 [N, K]."""
        latent = self.latent * self.quick
        if self.levels is None:
            return torch.view_as_complex(latent)
        clipped = latent.clamp(-self.levels, self.levels)
        parts = latent + (audible(clipped.round(), clipped) - latent).detach()
        return torch.view_as_complex(parts)

    def forward(self) -> Tensor:
        """The codebook, complex64 [N, M, K]."""
        words = self.signatures().unsqueeze(1) * self.get_buffer("points").unsqueeze(-1)
        return of_energy(words, self.counts.to(words.device), self.energy)


def audible(quantised: Tensor, exact: Tensor) -> Tensor:
    """`quantised` signatures [N, K, 2], of which none is all zero: its largest part as in `exact` becomes +1 or -1.

    >>> audible(torch.zeros(1, 2, 2), torch.tensor([[[0.1, 0.2], [-0.4, 0.0]]])).tolist()
    [[[0.0, 0.0], [-1.0, 0.0]]]
    """
    parts, whole = quantised.flatten(1), exact.flatten(1)
    largest = torch.zeros_like(parts).scatter_(1, whole.abs().argmax(dim=1, keepdim=True), 1.0)
    sign = torch.where(whole < 0, -1.0, 1.0)
    silent = ~parts.any(dim=1, keepdim=True)
    return torch.where(silent, largest * sign, parts).view_as(quantised)
