"""Successive interference cancellation with networks (SICNN): one stage after the other, each for one user.

Shape letters: see `words`.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from cellfree_sim.detection.mimo.algorithms.common import inverse
from cellfree_sim.detection.noma.networks.gaussian import distances, moments
from cellfree_sim.detection.noma.networks.words import Words, real_parts

LARGEST = 20.0  # of a log-likelihood ratio that a network is shown
FEATURES = 5


class CancellationNet(nn.Module):
    """Stages that an MMSE front end feeds, in the order of each slot's own SINRs.

    A stage takes the user of the highest SINR that is left (all that are not cancelled are Gaussian interference with
    the covariance of what they send), and tells its network the log-likelihoods of that user's messages, its SINR, the
    noise and how often it sends. What the network makes of them is added to them; the expected codeword is subtracted,
    and what is not certain of it stays as interference. In a second pass, everybody is decided anew, in the same order.

    Args:
        users: N, the stages of a pass.
        messages: M with silence.
        widths: of the hidden layers of a stage.
        passes: over all users.
    """

    def __init__(self, users: int, messages: int, widths: list[int], passes: int) -> None:
        super().__init__()
        self.users, self.passes = users, passes
        self.stages = nn.ModuleList(_stage([messages + FEATURES, *widths], messages) for _ in range(users * passes))
        self.trust = nn.Parameter(torch.zeros(users * passes))

    def forward(self, words: Words, y: Tensor, h: Tensor, noise_variance: Tensor) -> list[Tensor]:
        """Scores [S, N, M] after each pass; without a gradient only those of the last one."""
        here = _Left(words, y, h, noise_variance)
        order: list[Tensor] = []
        scores = torch.zeros_like(here.g[..., 0])
        found = []
        for step, stage in enumerate(self.stages):
            if step < self.users:
                order.append(here.strongest())
            user = order[step % self.users]
            likelihood, features = here.seen(user)
            log_prior = words.log_prior[user]
            made = log_prior.clamp_min(-1e4) + likelihood * self.trust[step].exp() + stage(features)
            made = made.masked_fill(log_prior.isneginf(), -math.inf).log_softmax(dim=-1)
            chosen = torch.nn.functional.one_hot(user, self.users).to(made.dtype)
            scores = torch.where(chosen.bool().unsqueeze(-1), made.unsqueeze(1), scores)
            here.cancel(user, chosen, made.exp())
            if (step + 1) % self.users == 0:
                found.append(scores)
        return found if torch.is_grad_enabled() else found[-1:]


class _Left:
    """What is left of y, and what is believed of each user's part of it.

    Attributes:
        g: effective codewords [S, N, M, D].
        mean, own: of each user's part as far as it is known [S, N, D], and its covariance [S, N, D, D].
        left: of y without the means [S, D].
        total: covariance of what is left, with the noise [S, D, D].
    """

    def __init__(self, words: Words, y: Tensor, h: Tensor, noise_variance: Tensor) -> None:
        self.g, received = real_parts(words.effective(h)), real_parts(y)
        self.mean, _, self.own = moments(self.g, words.log_prior.exp().expand(self.g.shape[:3]))
        self._noise, self._often = 0.5 * noise_variance, words.activity
        self.total = self.own.sum(dim=1) + torch.diag_embed(self._noise.unsqueeze(-1).expand_as(received))
        self.left = received - self.mean.sum(dim=1)
        self._at = torch.arange(len(y), device=y.device)
        self._waiting = torch.ones(self.g.shape[:2], dtype=torch.bool, device=y.device)

    @torch.no_grad()
    def strongest(self) -> Tensor:
        """The user of the highest SINR while it sends, of those that were not asked for yet: int64 [S]."""
        share = 0.5 * (inverse(self.total).unsqueeze(1) * self.own).sum(dim=(-2, -1))
        sinr = share / (1 - share).clamp_min(1e-6) / self._often
        user = sinr.masked_fill(~self._waiting, -1).argmax(dim=1)
        self._waiting[self._at, user] = False
        return user

    def seen(self, user: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihoods [S, M] of a user's messages, the others Gaussian, and what the network is shown [S, F]."""
        mine, own = self.g[self._at, user], self.own[self._at, user]
        gap = (self.left + self.mean[self._at, user]).unsqueeze(1) - mine
        both = distances(self.total - own, torch.cat([gap, mine], dim=1))
        likelihood, power = -0.5 * both[:, : gap.shape[1]], 0.5 * both[:, gap.shape[1] :].amax(dim=-1)
        spread = self.own.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
        others = spread.sum(dim=1) - spread[self._at, user]
        best = likelihood.amax(dim=-1)
        levels = [power.clamp_min(1e-6).log() / 4, self._noise.log() / 4, self._often[user], best / -8]
        levels.append(others.clamp_min(1e-6).log() / 4)
        ratios = (likelihood - best.unsqueeze(-1)).clamp_min(-LARGEST) / 4
        return likelihood, torch.cat([ratios, torch.stack(levels, dim=-1)], dim=-1)

    def cancel(self, user: Tensor, chosen: Tensor, probability: Tensor) -> None:
        """Believe that `user` (`chosen` [S, N] is 1 for it) sends its messages with this `probability` [S, M]."""
        mean, _, own = moments(self.g[self._at, user], probability)
        self.left = self.left + self.mean[self._at, user] - mean
        self.total = self.total - self.own[self._at, user] + own
        picked = chosen.unsqueeze(-1)
        self.mean = self.mean + picked * (mean.unsqueeze(1) - self.mean)
        self.own = self.own + picked.unsqueeze(-1) * (own.unsqueeze(1) - self.own)


def _stage(widths: list[int], outputs: int) -> nn.Sequential:
    """Layers of `widths` and an output that begins with zeros, so that the first decisions are those of plain SIC."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    last = nn.Linear(widths[-1], outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)
