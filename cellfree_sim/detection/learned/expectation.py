"""EPNet: expectation propagation, unfolded into layers with a few learned scalars each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cellfree_sim.detection.mimo.algorithms.common import (
    Alphabet,
    Statistics,
    apply,
    diagonal,
    inverse,
    level_moments,
    level_scores,
    real_form,
    statistics,
)
from cellfree_sim.detection.mimo.algorithms.message_passing import LEAST_MESSAGE

FIRST_DAMPING = 0.5
UNLISTED = 10.0  # log-likelihood that a level lacks at most


class _Inverse(torch.autograd.Function):
    """Inverses P of Hermitian positive definite matrices by Cholesky factors; their gradient is -P g P."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        inverted = inverse(matrix)
        ctx.save_for_backward(inverted)
        return inverted

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (inverted,) = ctx.saved_tensors
        gradient: Tensor = -(inverted @ gradients[0] @ inverted)
        return gradient


def _inverse(matrix: Tensor) -> Tensor:
    result: Tensor = _Inverse.apply(matrix)  # type: ignore[no-untyped-call]
    return result


class ExpectationNet(nn.Module):
    """Layers of expectation propagation in the real form (see `expectation_propagation`), with learned scales.

    In layer t the noise variance is n_t s, what the cavities say of a part has c_t times their variance, and the
    variance of a part given its cavity is v_t times the posterior one; the new messages are mixed with d_t of the old
    ones. EP is n = c = v = 1. Noise and variances that are taken for larger than they are keep the messages from hasty
    decisions, by which EP goes wrong where columns of H are alike.

    The last layer then tries the two likeliest levels of the `undecided` parts that it is least sure of, jointly: each
    choice moves the Gaussian posterior of the other parts, which are sliced, and |y - H x|^2 ranks the results (see
    `_ranked`). What the list says and what the cavities say are two opinions with learned weights.

    Args:
        alphabet: of square QAM.
        layers: number of layers, with one inverse each.
        undecided: number of parts tried jointly; 0 leaves the last layer as the others.
    """

    def __init__(self, alphabet: Alphabet, layers: int, undecided: int) -> None:
        super().__init__()
        assert alphabet.levels is not None
        self._alphabet, self._undecided = alphabet, undecided
        self.log_noise = nn.Parameter(torch.zeros(layers))
        self.log_cavity = nn.Parameter(torch.zeros(layers))
        self.log_posterior = nn.Parameter(torch.zeros(layers - 1))
        self.damping_logit = nn.Parameter(torch.full((layers - 1,), FIRST_DAMPING).logit())
        self.log_opinions = nn.Parameter(torch.tensor([0.5, 0.5]).log()) if undecided else None

    def forward(self, y: Tensor, h: Tensor, noise_variance: Tensor) -> list[Tensor]:
        """Scores [S, N, M] of each layer; without a gradient only those of the last one."""
        alphabet = self._alphabet.to(y.device)
        levels, power = alphabet.levels, 0.5 * alphabet.power
        assert levels is not None
        known = real_form(statistics(y, h))
        matched, least = known.matched, LEAST_MESSAGE * power
        precision = torch.full_like(matched, 1 / power)
        weighted = torch.zeros_like(matched)
        scores = []
        last = len(self.log_noise) - 1
        for layer in range(last + 1):
            noise = 0.5 * noise_variance.unsqueeze(-1) * self.log_noise[layer].exp()
            covariance = _inverse(known.gram + torch.diag_embed(noise * precision))
            mean = apply(covariance, matched + noise * weighted)
            own = noise * diagonal(covariance)
            unexplained = (1 - own * precision).clamp_min(1e-6)
            cavity = (mean - own * weighted) / unexplained
            spread = (own / unexplained).clamp_min(least) * self.log_cavity[layer].exp()
            if layer == last or torch.is_grad_enabled():
                scores.append(level_scores(cavity, spread, levels))
            if layer == last:
                break
            centre, variance = level_moments(cavity, spread, levels)
            variance = (variance * self.log_posterior[layer].exp()).clamp_min(least)
            new = 1 / variance - 1 / spread
            step = (1 - self.damping_logit[layer].sigmoid()) * (new > 0)
            precision = precision + step * (new - precision)
            weighted = weighted + step * (centre / variance - cavity / spread - weighted)
        if self.log_opinions is not None:
            list_weight, cavity_weight = self.log_opinions.exp()
            with torch.no_grad():
                ranked = _ranked(known, noise_variance, mean, covariance, scores[-1], levels, self._undecided)
            scores[-1] = list_weight * ranked + cavity_weight * scores[-1]
        users = h.shape[-1]
        return [alphabet.joined(parts[:, :users], parts[:, users:]) for parts in scores]


def _ranked(
    known: Statistics,
    noise_variance: Tensor,
    mean: Tensor,
    covariance: Tensor,
    scores: Tensor,
    levels: Tensor,
    undecided: int,
) -> Tensor:
    """Max-log scores [S, 2N, L] from a list of vectors around the decisions of `scores`, in the real form.

    The best vector's levels get 0, those of others the log-likelihood that they lack, at most `UNLISTED`; so do levels
    that no vector has.

    Args:
        known: statistics in the real form.
        noise_variance: s [S].
        mean, covariance: Gaussian posterior [S, 2N] and, but for a factor, [S, 2N, 2N].
        scores: of the levels of each part [S, 2N, L].
        levels: of a part, equally spaced [L].
        undecided: parts of which two levels are tried.
    """
    parts = mean.shape[1]
    count = min(undecided, parts)
    top = scores.topk(2, dim=-1)
    decided = levels[top.indices[..., 0]]
    chosen = (top.values[..., 0] - top.values[..., 1]).topk(count, dim=-1, largest=False).indices  # [S, K]
    two = levels[top.indices.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 2))]  # [S, K, 2]
    which = torch.arange(2**count, device=mean.device).unsqueeze(-1) >> torch.arange(count, device=mean.device) & 1
    tried = torch.where(which.bool(), two[:, None, :, 1], two[:, None, :, 0])  # [S, C, K]
    beside = covariance.gather(2, chosen.unsqueeze(1).expand(-1, parts, -1))  # [S, 2N, K]
    among = beside.gather(1, chosen.unsqueeze(-1).expand(-1, -1, count))
    shift = (tried - mean.gather(1, chosen).unsqueeze(1)) @ torch.linalg.solve(among, beside.mT)  # [S, C, 2N]
    place = (mean.unsqueeze(1) + shift - levels[0]) / (levels[1] - levels[0])
    vectors = levels[place.round().clamp(0, len(levels) - 1).long()]
    vectors.scatter_(2, chosen.unsqueeze(1).expand(-1, 2**count, -1), tried)
    vectors = torch.cat([decided.unsqueeze(1), vectors], dim=1)
    change = vectors - decided.unsqueeze(1)  # |y - H x|^2 is counted from that of the decisions, which keeps its digits
    residual = known.matched - apply(known.gram, decided)
    energy = ((change @ known.gram - 2 * residual.unsqueeze(1)) * change).sum(dim=-1)
    lacking = (energy - energy.amin(dim=1, keepdim=True)) / noise_variance.unsqueeze(-1)
    listed = (-lacking).clamp_min(-UNLISTED).unsqueeze(-1).expand_as(vectors)
    at = ((vectors - levels[0]) / (levels[1] - levels[0])).round().long()
    result = torch.full_like(scores, -UNLISTED)
    return result.scatter_reduce(-1, at.movedim(1, -1), listed.movedim(1, -1), "amax")
