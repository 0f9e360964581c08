"""Probabilistic data association, unfolded into layers with learned scales, for any number of users.

Shape letters: see `words`; L combinations that are tried.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellfree_sim.detection.noma.networks.gaussian import distances, moments
from cellfree_sim.detection.noma.networks.words import Words, masked, real_parts

QUICK = 20.0  # the few numbers that a layer has learn so many times faster than weights
FIRST_DAMPING = 0.3
LARGEST = 10.0  # nats that a search may speak against a message: where it ended wrongly, it is as sure as elsewhere


class AssociationNet(nn.Module):
    """Layers of probabilistic data association (PDA), then a search from the likeliest combinations.

    In each layer every user's interference is Gaussian, with the mean and covariance that the messages of the others
    have by what is believed of them, and

        score_n(m) = log P(m) - t |y - mean - g_n(m)|^2 / 2   in the metric of (C - V_n)^-1,  C = sum_n V_n + f s^2/2 I;

    it is mixed with d of the score before. t, f and d are learned, three numbers in a layer, the same for all users:
    the order of users is of no matter, and their number may be any. The last layer starts from the `listed`
    combinations of messages that are likeliest if users were independent of each other, and changes one user's message
    at a time, `steps` times, each time the one that raises the exact likelihood most. A message's score is then the
    likelihood of the best combination with it that is one change away from where a search ended, with a learned scale.

    Args:
        layers: with one inverse for each user.
        listed: combinations L from which is searched; 0 leaves the last layer as the others.
        steps: changes of a search.
    """

    def __init__(self, layers: int, listed: int, steps: int) -> None:
        super().__init__()
        self.listed, self.steps = listed, steps
        self.scales = nn.Parameter(torch.zeros(layers, 2))
        self.damping = nn.Parameter(torch.full((layers,), FIRST_DAMPING).logit() / QUICK)
        self.trust = nn.Parameter(torch.zeros(())) if listed else None

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
        if self.trust is not None:
            searched = self._searched(words, g, received, noise_variance, scores)
            found.append(masked((self.trust * QUICK).exp() * searched, words.log_prior))
        return found if torch.is_grad_enabled() else found[-1:]

    def _searched(self, words: Words, g: Tensor, y: Tensor, noise_variance: Tensor, scores: Tensor) -> Tensor:
        """Scores [S, N, M] from the ends of all searches."""
        with torch.no_grad():
            chosen = likeliest(scores, self.listed)
            for _ in range(self.steps):
                chosen = improved(chosen, changes(words, g, y, noise_variance, chosen))
        found = changes(words, g, y, noise_variance, chosen).amax(dim=1)
        return (found - found.amax(dim=-1, keepdim=True)).clamp_min(-LARGEST)


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


def changes(words: Words, g: Tensor, y: Tensor, noise_variance: Tensor, chosen: Tensor) -> Tensor:
    """log P(y, combination) but for a constant, of `chosen` [S, L, N] with one user's message changed: [S, L, N, M].

    Where the message is the one that was chosen, the combination is that of `chosen`.
    """
    at = chosen.transpose(1, 2).unsqueeze(-1).expand(-1, -1, -1, g.shape[-1])
    sent = g.gather(2, at).transpose(1, 2)  # [S, L, N, D]
    without = (y.unsqueeze(1) - sent.sum(dim=2)).unsqueeze(2) + sent
    distance = (without.unsqueeze(3) - g.unsqueeze(1)).square().sum(dim=-1)
    prior = _finite(words.log_prior)
    own = prior.expand(len(chosen), -1, -1).gather(2, chosen.transpose(1, 2)).transpose(1, 2)  # [S, L, N]
    others = own.sum(dim=2, keepdim=True) - own
    return others.unsqueeze(-1) + prior - distance / noise_variance.view(-1, 1, 1, 1)


def improved(chosen: Tensor, likelihoods: Tensor) -> Tensor:
    """`chosen` [S, L, N], each with the change that is likeliest of `likelihoods` [S, L, N, M], or none."""
    best = likelihoods.flatten(2).argmax(dim=-1, keepdim=True)
    return chosen.scatter(2, best // likelihoods.shape[-1], best % likelihoods.shape[-1])


def _finite(values: Tensor) -> Tensor:
    return values.clamp_min(-1e4)
