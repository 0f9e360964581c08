"""The exact posterior as a network that has nothing to learn: the teacher of codes."""

from __future__ import annotations

from torch import Tensor, nn

from cellfree_sim.detection.noma.algorithms.common import same_in_all_slots
from cellfree_sim.detection.noma.algorithms.exhaustive import log_marginals
from cellfree_sim.detection.noma.networks.words import Words


class ExactNet(nn.Module):
    """`log_marginals` of whatever code there is; their gradient says how that should change."""

    def forward(self, words: Words, y: Tensor, h: Tensor, noise_variance: Tensor) -> list[Tensor]:
        """Scores [S, N, M], the only element of a list."""
        if same_in_all_slots(h):
            h = h[:1]
        return [log_marginals(y, words.effective(h), noise_variance, words.log_prior)]
