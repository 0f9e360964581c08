"""DetNet: projected gradient descent whose projection is a small network in each layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellfree_sim.detection.mimo.algorithms.common import Alphabet, apply, real_form, statistics


class ProjectedNet(nn.Module):
    """Layers of DetNet (Samuel, Diskin and Wiesel, 2019) in the real form, with one-hot outputs.

    In layer t, with the memory m and the mean x of the probabilities of the levels,

        q = x - d1_t u + d2_t G x,   z = relu(W1_t [q, m] + b1_t),   scores = W2_t z + b2_t,   m = W3_t z + b3_t,

    each of scores and m mixed with `kept` of the layer before. The scores of a part are those of its levels.

    Args:
        alphabet: of square QAM.
        users: N, which shapes the weights.
        layers: number of layers.
        hidden: width of z, and of m, in multiples of 2 N.
        memory: see `hidden`.
        kept: weight of the layer before.
    """

    def __init__(self, alphabet: Alphabet, users: int, layers: int, hidden: int, memory: int, kept: float) -> None:
        super().__init__()
        assert alphabet.levels is not None
        self._alphabet, self._kept = alphabet, kept
        self._shape = (2 * users, len(alphabet.levels))
        parts, self._memory = 2 * users, memory * 2 * users
        self.steps = nn.Parameter(torch.full((layers, 2), 0.1))
        self.inner = nn.ModuleList(nn.Linear(parts + self._memory, hidden * parts) for _ in range(layers))
        self.score = nn.ModuleList(nn.Linear(hidden * parts, parts * self._shape[1]) for _ in range(layers))
        self.remember = nn.ModuleList(nn.Linear(hidden * parts, self._memory) for _ in range(layers - 1))

    def forward(self, y: Tensor, h: Tensor, noise_variance: Tensor) -> list[Tensor]:
        """Scores [S, N, M] of each layer. The noise variance is not used."""
        alphabet = self._alphabet.to(y.device)
        levels = alphabet.levels
        assert levels is not None
        gram, matched = real_form(statistics(y, h))
        users = h.shape[-1]
        mean = torch.zeros_like(matched)
        memory = matched.new_zeros(len(matched), self._memory)
        parts = matched.new_zeros(len(matched), *self._shape)
        scores = []
        for layer, inner in enumerate(self.inner):
            pull, push = self.steps[layer]
            point = mean - pull * matched + push * apply(gram, mean)
            hidden = inner(torch.cat([point, memory], dim=-1)).relu()
            new = self.score[layer](hidden).float().unflatten(-1, self._shape)
            parts = torch.lerp(new, parts, self._kept) if layer else new
            mean = parts.softmax(dim=-1) @ levels
            if layer < len(self.remember):
                memory = torch.lerp(self.remember[layer](hidden).float(), memory, self._kept)
            scores.append(alphabet.joined(parts[:, :users], parts[:, users:]))
        return scores
