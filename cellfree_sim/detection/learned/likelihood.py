"""What RE-MIMO's blocks are told of y and H, given the prediction of the block before: its likelihood modules.

Shape letters: S slots, R receive antennas, N users, M points, L levels of a real part, F features.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from cellfree_sim.detection.mimo.algorithms.common import (
    Alphabet,
    apply,
    diagonal,
    inverse_to_learn_through,
    level_scores,
    loaded,
    real_form,
    statistics,
)

LEAST_VARIANCE = 1e-5  # of a message to expectation propagation, for points of unit power
QUICK = 20.0  # the few numbers that scale all users' messages learn so many times faster than weights


class Seen(NamedTuple):
    """What a likelihood module tells the next block.

    Attributes:
        features: of each user, in pieces [S, N, ...] with F columns in all; one that stays is the same tensor again.
        prior: scores [S, N, M] that the predictor corrects; None: it starts from nothing.
        pairs: correlations [S, 2N, 2N] of the parts of all users' symbols, 0 on the diagonal; None: nothing.
    """

    features: list[Tensor]
    prior: Tensor | None = None
    pairs: Tensor | None = None


class Run(Protocol):
    """A likelihood module at work on the slots that were received."""

    def first(self) -> Tensor:
        """What the embedding gets of each user [S, N, F]."""

    def next(self, probability: Tensor, steering: Tensor) -> Seen:
        """What the next block gets after the prediction `probability` [S, N, M], with what it said beside it."""


class Vectors(nn.Module):
    """Likelihood module of the inputs paper and gradient: dy = y - H E[x] and h_i, and what they make for each user.

    Attributes:
        first, known: numbers of features that the embedding and the blocks get.
        paired: whether blocks are told of pairs of users.
        steered: how many numbers a block says beside its prediction.
    """

    paired = False
    steered = 0

    def __init__(self, alphabet: Alphabet, antennas: int, *, gradient: bool) -> None:
        super().__init__()
        self.alphabet = alphabet
        self.gradient = gradient
        self.known = 4 * antennas + (7 if gradient else 0)
        self.first = 4 * antennas + 1 + antennas

    def start(self, y: Tensor, h: Tensor, noise_variance: Tensor) -> Run:
        """For slots that were received."""
        return _VectorsRun(self.alphabet, y, h, noise_variance, gradient=self.gradient)


class _VectorsRun:
    def __init__(self, alphabet: Alphabet, y: Tensor, h: Tensor, noise_variance: Tensor, *, gradient: bool) -> None:
        self._y, self._h, self._noise, self._gradient = y, h, noise_variance, gradient
        self._adjoint = h.conj().resolve_conj().mT
        self._points = torch.view_as_real(alphabet.to(y.device).points).to(noise_variance)
        self._users = h.shape[-1]
        self._columns = _parts(h.mT)
        self._power = self._columns.square().sum(dim=-1, keepdim=True)

    def first(self) -> Tensor:
        """See `Run.first`: (22)."""
        deviation = (self._noise / (2 * self._users)).sqrt().unsqueeze(-1)
        encoding = transmitter_encoding(self._users, self._y.shape[-1]).to(deviation)
        common = torch.cat([self._shrunk(self._y), deviation, encoding.expand(len(deviation), -1)], dim=-1)
        return torch.cat([self._columns, self._to_all(common)], dim=-1)

    def next(self, probability: Tensor, steering: Tensor) -> Seen:
        """See `Run.next`: (20)."""
        residual = self._y - apply(self._h, torch.view_as_complex(probability.to(self._points) @ self._points))
        features = [self._to_all(self._shrunk(residual)), self._columns]
        if self._gradient:
            matched = _parts(apply(self._adjoint, residual).unsqueeze(-1))
            features += [matched, matched / self._power.clamp_min(1e-6)]
            energy = residual.abs().square().mean(dim=-1)
            scales = torch.stack([energy, self._noise], dim=-1).clamp_min(1e-12).log()
            features += [self._power, self._to_all(scales)]
        return Seen(features)

    def _shrunk(self, vector: Tensor) -> Tensor:
        return _parts(vector) / math.sqrt(2 * self._users)

    def _to_all(self, common: Tensor) -> Tensor:
        return common.unsqueeze(1).expand(-1, self._users, -1)


class Cavities(nn.Module):
    """Likelihood module of the inputs cavity: one iteration of expectation propagation for each block.

    `scales` are logarithms in units of `QUICK`, for each block: of the factor of the posterior variances, the logit of
    the share of the new messages, and of the factors of the noise and of the cavities' variances. A block adds its own
    to the first two, for each user.

    Attributes: see `Vectors`.
    """

    first = 4
    paired = True
    steered = 2

    def __init__(self, alphabet: Alphabet, blocks: int) -> None:
        super().__init__()
        if alphabet.levels is None:
            raise ValueError("expectation propagation in the real form takes square QAM only")
        self.alphabet = alphabet
        self.known = 2 * len(alphabet.levels) + 12
        self.scales = nn.Parameter(torch.zeros(blocks, 4))

    def start(self, y: Tensor, h: Tensor, noise_variance: Tensor) -> Run:
        """For slots that were received."""
        return _CavitiesRun(self.alphabet, self.scales * QUICK, y, h, noise_variance)


class _CavitiesRun:
    """Messages of the real-valued model: parts of symbols have precisions a and weighted means b [S, 2N]."""

    def __init__(self, alphabet: Alphabet, scales: Tensor, y: Tensor, h: Tensor, noise_variance: Tensor) -> None:
        self._alphabet = alphabet.to(y.device)
        points, levels = self._alphabet.points, self._alphabet.levels
        assert levels is not None
        moments = torch.stack([points.real, points.imag, points.real.square(), points.imag.square()], dim=-1)
        self._point_moments, self._levels = moments.to(noise_variance), levels.to(noise_variance)
        self._power = 0.5 * self._alphabet.power
        self._least = LEAST_VARIANCE * self._power
        self._antennas, self._users = h.shape[1:]
        self._energy = y.abs().square().sum(dim=-1, keepdim=True)
        self._gram, self._matched = real_form(statistics(y, h))
        self._noise = 0.5 * noise_variance.unsqueeze(-1)
        self._precision = torch.full_like(self._matched, 1 / self._power)
        self._weighted = torch.zeros_like(self._matched)
        self._cavity: tuple[Tensor, Tensor] | None = None
        self._scales = iter(scales)

    def first(self) -> Tensor:
        """See `Run.first`: logarithms of the power of the user and of all, of the noise, and of the number of users."""
        power = diagonal(self._gram)[:, : self._users]
        mean = power.mean(dim=-1, keepdim=True).expand_as(power)
        users = torch.full_like(power, math.log(self._users) - 3)
        levels = [power.clamp_min(1e-6).log(), mean.clamp_min(1e-6).log(), self._noise.expand_as(power).log(), users]
        return torch.stack(levels, dim=-1)

    def next(self, probability: Tensor, steering: Tensor) -> Seen:
        """See `Run.next`. The cavities say which points are likely; the features are they, and the prediction's."""
        doubt, stride, noise, trust = next(self._scales)
        mean, variance = self._moments(probability)
        if self._cavity is not None:
            of_user, stride_of_user = steering.repeat(1, 2, 1).unbind(-1)
            kept = (variance * (of_user + doubt).exp()).clamp_min(self._least)
            self._send(mean, kept, (stride_of_user + stride).sigmoid())
        covariance, centre, spread = self._propagated(self._noise * noise.exp())
        spread = spread * trust.exp()
        self._cavity = centre, spread
        parts = level_scores(centre, spread, self._levels).log_softmax(dim=-1)
        real, imaginary = parts[:, : self._users], parts[:, self._users :]
        means = [self._by_user(one / math.sqrt(self._power)) for one in (centre, mean)]
        widths = [self._by_user((one.clamp_min(0) / self._power + 1e-6).log()) / 4 for one in (spread, variance)]
        excess, matched = self._residual(mean)
        common = torch.stack([self._noise.log() / 4, excess], dim=-1).expand(-1, self._users, -1)
        own = [real.clamp_min(-20) / 4, imaginary.clamp_min(-20) / 4, *means, *widths, self._by_user(matched)]
        return Seen([*own, common], self._alphabet.joined(real, imaginary), _correlation(covariance))

    def _send(self, mean: Tensor, variance: Tensor, step: Tensor) -> None:
        """Move by a `step` to the messages with which the last cavities would have these moments, where there are."""
        assert self._cavity is not None
        centre, spread = self._cavity
        precision = 1 / variance - 1 / spread
        step = step * (precision > 0)
        self._precision = torch.lerp(self._precision, precision, step)
        self._weighted = torch.lerp(self._weighted, mean / variance - centre / spread, step)

    def _propagated(self, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Covariance of all parts over the noise [S, 2N, 2N]; means and variances [S, 2N] of their cavities."""
        covariance = inverse_to_learn_through(loaded(self._gram, noise * self._precision))
        mean = apply(covariance, self._matched + noise * self._weighted)
        own = noise * diagonal(covariance)
        spread = (own / (1 - own * self._precision).clamp_min(1e-6)).clamp_min(self._least)
        return covariance, spread * (mean / own - self._weighted), spread

    def _moments(self, probability: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances [S, 2N] of the parts."""
        found = (probability @ self._point_moments).view(*probability.shape[:2], 2, 2).permute(2, 0, 3, 1).flatten(-2)
        mean, square = found.unbind(0)
        return mean, square - mean.square()

    def _residual(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """What the prediction's means [S, 2N] leave of y: log of the energy over the noise's [S, 1], and (12) [S, 2N].

        Beyond the noise, they tell of wrong decisions, however sure.
        """
        matched = self._matched - apply(self._gram, mean)
        energy = self._energy - ((self._matched + matched) * mean).sum(dim=-1, keepdim=True)
        ratio = energy / (2 * self._antennas * self._noise)
        return ratio.clamp_min(1e-2).log(), matched / self._noise.sqrt() / 2

    def _by_user(self, parts: Tensor) -> Tensor:
        """[S, N, 2] of parts [S, 2N]."""
        return parts.view(-1, 2, self._users).mT


def _correlation(covariance: Tensor) -> Tensor:
    """Correlations of the parts [S, 2N, 2N] but for those of a part with itself."""
    scale = diagonal(covariance).rsqrt()
    correlation = covariance * scale.unsqueeze(-1) * scale.unsqueeze(-2)
    return correlation * (1 - torch.eye(scale.shape[-1], dtype=scale.dtype, device=scale.device))


def _parts(vector: Tensor) -> Tensor:
    """Real parts, then imaginary parts, along the last axis."""
    return torch.cat([vector.real, vector.imag], dim=-1)


def transmitter_encoding(users: int, antennas: int) -> Tensor:
    """What tells the network the number of users: sines and cosines of it [R] (23), (24).

    >>> [round(value, 3) for value in transmitter_encoding(1, 2).tolist()]
    [0.841, 0.54]
    """
    place = torch.arange(antennas)
    angle = users / (2 * antennas) ** ((place - place % 2) / antennas)
    return torch.where(place % 2 == 0, angle.sin(), angle.cos())
