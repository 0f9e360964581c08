"""Probabilistic data association, unfolded into layers with learned scales, for any number of users.

Shape letters: see `words`; L candidates of a list.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellfree_sim.detection.noma.networks.gaussian import distances, moments
from cellfree_sim.detection.noma.networks.words import LEAST, Words, masked, real_parts

QUICK = 20.0  # the few numbers that a layer has learn so many times faster than weights
FIRST_DAMPING = 0.3


class AssociationNet(nn.Module):
    """Layers of probabilistic data association (PDA), then a joint look at the likeliest combinations.

    In each layer every user's interference is Gaussian, with the mean and covariance that the messages of the others
    have by what is believed of them, and

        score_n(m) = log P(m) - t |y - mean - g_n(m)|^2 / 2   in the metric of (C - V_n)^-1,  C = sum_n V_n + f s^2/2 I;

    it is mixed with d of the score before. t, f and d are learned, three numbers in a layer, the same for all users:
    the order of users is of no matter, and their number may be any. The last layer lists the `listed` combinations that
    are likeliest if users were independent of each other, weighs each by its exact likelihood, and adds what PDA says
    of messages that are in none of them, with a learned weight.

    Args:
        layers: with one inverse for each user.
        listed: combinations L; 0 leaves the last layer as the others.
    """

    def __init__(self, layers: int, listed: int) -> None:
        super().__init__()
        self.listed = listed
        self.scales = nn.Parameter(torch.zeros(layers, 2))
        self.damping = nn.Parameter(torch.full((layers,), FIRST_DAMPING).logit() / QUICK)
        self.opinions = nn.Parameter(torch.tensor([-6.0, 0.0]) / QUICK) if listed else None

    def forward(self, words: Words, y: Tensor, h: Tensor, noise_variance: Tensor) -> list[Tensor]:
        """Scores [S, N, M] of each layer, and of the list; without a gradient only those of the last one."""
        g = real_parts(words.effective(h))
        received = real_parts(y)
        scores = masked(words.log_prior.expand(g.shape[:3]), words.log_prior)
        found = []
        for scales, damping in zip(self.scales * QUICK, (self.damping * QUICK).sigmoid(), strict=True):
            new = interfered(g, received, scores, 0.5 * noise_variance * scales[0].exp()) * scales[1].exp()
            mixed = torch.lerp(_finite(words.log_prior) + new, _finite(scores), damping)
            scores = masked(mixed, words.log_prior).log_softmax(dim=-1)
            found.append(scores)
        if self.opinions is not None:
            found.append(self._by_list(words, g, received, noise_variance, scores))
        return found if torch.is_grad_enabled() else found[-1:]

    def _by_list(self, words: Words, g: Tensor, y: Tensor, noise_variance: Tensor, scores: Tensor) -> Tensor:
        assert self.opinions is not None
        rest, weight = (self.opinions * QUICK).unbind()
        with torch.no_grad():
            chosen = likeliest(scores, self.listed)
        metric, chooses = weighed(words, g, y, noise_variance, chosen)
        share = (metric - metric.amax(dim=-1, keepdim=True).detach()).exp()
        within = torch.einsum("sl,slnm->snm", share, chooses)
        beside = (rest + weight.exp() * _finite(scores)).exp()
        return masked((within + beside).clamp_min(LEAST).log(), words.log_prior)


def interfered(g: Tensor, y: Tensor, scores: Tensor, noise: Tensor) -> Tensor:
    """Log-likelihood [S, N, M] of each message, if all other users were Gaussian with the moments that `scores` give.

    Args:
        g: effective codewords [S, N, M, D].
        y: what was received [S, D].
        scores: log-probabilities of the messages [S, N, M].
        noise: variance of each real part [S].
    """
    mean, apart, own = moments(g, scores.softmax(dim=-1))
    total = own.sum(dim=1) + torch.diag_embed(noise.unsqueeze(-1).expand_as(y))
    left = (y - mean.sum(dim=1)).view(len(y), 1, 1, -1) - apart
    found = distances((total.unsqueeze(1) - own).flatten(0, 1), left.flatten(0, 1))
    return -0.5 * found.view(g.shape[:3])


def likeliest(scores: Tensor, count: int) -> Tensor:
    """The `count` likeliest combinations of messages that are independent of each other: int64 [S, L, N].

    A combination is among them only if its beginning is among the likeliest beginnings, so that one pass over the users
    finds them all.
    """
    slots, users, messages = scores.shape
    total = scores.new_zeros(slots, 1)
    chosen = torch.empty(slots, 1, 0, dtype=torch.long, device=scores.device)
    for user in range(users):
        sums = (total.unsqueeze(-1) + scores[:, user].unsqueeze(1)).flatten(1)
        total, at = sums.topk(min(count, sums.shape[1]), dim=1)
        before = chosen.gather(1, (at // messages).unsqueeze(-1).expand(-1, -1, user))
        chosen = torch.cat([before, (at % messages).unsqueeze(-1)], dim=-1)
    return chosen


def weighed(words: Words, g: Tensor, y: Tensor, noise_variance: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """log P(y | combination) P(combination) [S, L] but for a constant, and which messages it has [S, L, N, M]."""
    chooses = torch.nn.functional.one_hot(chosen, g.shape[2]).to(g.dtype)
    sums = chooses.flatten(2) @ g.flatten(1, 2)
    prior = chooses.flatten(2) @ _finite(words.log_prior).flatten()
    distance = (y.unsqueeze(1) - sums).square().sum(dim=-1)
    return prior - distance / noise_variance.unsqueeze(-1), chooses


def _finite(values: Tensor) -> Tensor:
    return values.clamp_min(-1e4)
