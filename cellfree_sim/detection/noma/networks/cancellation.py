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
        g, received = real_parts(words.effective(h)), real_parts(y)
        prior = words.log_prior.exp()
        mean, _, own = moments(g, prior.expand(g.shape[:3]))
        often = words.activity
        noise = 0.5 * noise_variance
        total = own.sum(dim=1) + torch.diag_embed(noise.unsqueeze(-1).expand_as(received))
        left = received - mean.sum(dim=1)
        at = torch.arange(len(y), device=y.device)
        waiting = torch.ones(g.shape[:2], dtype=torch.bool, device=y.device)
        order: list[Tensor] = []
        scores = torch.zeros_like(g[..., 0])
        found = []
        for step, stage in enumerate(self.stages):
            if step < self.users:
                with torch.no_grad():
                    precision = inverse(total)
                    share = 0.5 * (precision.unsqueeze(1) * own).sum(dim=(-2, -1))
                    sinr = share / (1 - share).clamp_min(1e-6) / often
                    user = sinr.masked_fill(~waiting, -1).argmax(dim=1)
                    waiting[at, user] = False
                order.append(user)
            user = order[step % self.users]
            mine, around = g[at, user], total - own[at, user]
            gap = (left + mean[at, user]).unsqueeze(1) - mine
            both = distances(around, torch.cat([gap, mine], dim=1))
            likelihood, power = -0.5 * both[:, : gap.shape[1]], 0.5 * both[:, gap.shape[1] :].amax(dim=-1)
            seen = [power.clamp_min(1e-6).log() / 4, noise.log() / 4, often[user], likelihood.amax(dim=-1) / -8]
            seen += [_interference(own, user).clamp_min(1e-6).log() / 4]
            ratios = (likelihood - likelihood.amax(dim=-1, keepdim=True)).clamp_min(-LARGEST) / 4
            features = torch.cat([ratios, torch.stack(seen, dim=-1)], dim=-1)
            log_prior = words.log_prior[user]
            made = log_prior.clamp_min(-1e4) + likelihood * self.trust[step].exp() + stage(features)
            made = made.masked_fill(log_prior.isneginf(), -math.inf).log_softmax(dim=-1)
            one = torch.nn.functional.one_hot(user, self.users).to(made.dtype)
            scores = torch.where(one.bool().unsqueeze(-1), made.unsqueeze(1), scores)
            mean_new, _, own_new = moments(mine, made.exp())
            left = left + mean[at, user] - mean_new
            total = around + own_new
            picked = one.unsqueeze(-1)
            mean = mean + picked * (mean_new.unsqueeze(1) - mean)
            own = own + picked.unsqueeze(-1) * (own_new.unsqueeze(1) - own)
            if (step + 1) % self.users == 0:
                found.append(scores)
        return found if torch.is_grad_enabled() else found[-1:]


def _interference(own: Tensor, user: Tensor) -> Tensor:
    """Power of what all others than `user` [S] may still send, [S]."""
    power = own.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    return power.sum(dim=1) - power.gather(1, user.unsqueeze(-1)).squeeze(-1)


def _stage(widths: list[int], outputs: int) -> nn.Sequential:
    """Layers of `widths` and an output that begins with zeros, so that the first decisions are those of plain SIC."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    last = nn.Linear(widths[-1], outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)
