"""EPNet: expectation propagation, unfolded into layers with a few learned scalars each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellfree_sim.detection.mimo.algorithms.common import (
    Alphabet,
    apply,
    diagonal,
    inverse_to_learn_through,
    level_moments,
    level_scores,
    real_form,
    statistics,
)
from cellfree_sim.detection.mimo.algorithms.listing import ranked_by_list
from cellfree_sim.detection.mimo.algorithms.message_passing import LEAST_MESSAGE

FIRST_DAMPING = 0.5


class ExpectationNet(nn.Module):
    """Layers of expectation propagation in the real form (see `expectation_propagation`), with learned scales.

    In layer t the noise variance is n_t s, what the cavities say of a part has c_t times their variance, and the
    variance of a part given its cavity is v_t times the posterior one; the new messages are mixed with d_t of the old
    ones. EP is n = c = v = 1. Noise and variances that are taken for larger than they are keep the messages from hasty
    decisions, by which EP goes wrong where columns of H are alike.

    The last layer then tries the two likeliest levels of the `undecided` parts that it is least sure of, jointly: each
    choice moves the Gaussian posterior of the other parts, which are sliced, and |y - H x|^2 ranks the results (see
    `ranked_by_list`). What the list says and what the cavities say are two opinions with learned weights.

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
            covariance = inverse_to_learn_through(known.gram + torch.diag_embed(noise * precision))
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
                ranked = ranked_by_list(known, noise_variance, mean, covariance, scores[-1], levels, self._undecided)
            scores[-1] = list_weight * ranked + cavity_weight * scores[-1]
        users = h.shape[-1]
        return [alphabet.joined(parts[:, :users], parts[:, users:]) for parts in scores]
