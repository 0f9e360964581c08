"""The decoder of Mul-VAE: decoupling attention, then blocks of all users that a sluice connects.

Shape letters: see `words`; W width of the blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellfree_sim.detection.noma.networks.words import UserLinear, Words, masked, real_parts, user_layers

LEAST_GAIN = 0.1  # |h| below which a channel is not divided by: it would only amplify noise


class SluiceNet(nn.Module):
    """Attention a_n = h_n^mu y to each user (zero forcing with mu = -1), and a two-layer sluice network.

    Block 1 of user n maps a_n to z_n; block 2 gets sum_k alpha_kn z_k of all users and gives z'_n; the scores are those
    of beta_n z_n + z'_n. Every block has the same width, so that outputs of users with unlike rates can be mixed; the
    published widths 2^rate cannot. All users' blocks are one product of matrices.

    Args:
        users, messages: N and M with silence.
        samples: R.
        width, layers: of a block: W, and how many hidden ones.
        attention: mu, or None: each block gets y and its own channel as they are.
        sluice: whether users' outputs are mixed.
    """

    def __init__(
        self,
        users: int,
        messages: int,
        samples: int,
        *,
        width: int,
        layers: int,
        attention: float | None,
        sluice: bool,
    ) -> None:
        super().__init__()
        self.attention = attention
        inputs = 2 * samples * (1 if attention is not None else 2)
        self.first = user_layers(users, [inputs, *[width] * (layers + 1)], nn.Tanh)
        self.second = user_layers(users, [width] * (layers + 2), nn.Tanh)
        self.alpha = nn.Parameter(torch.eye(users)) if sluice else None
        self.beta = nn.Parameter(torch.ones(users, 1, 1))
        self.head = UserLinear(users, width, messages)

    def forward(self, words: Words, y: Tensor, h: Tensor, noise_variance: Tensor) -> list[Tensor]:
        """Scores [S, N, M], the only element of a list."""
        of_user = h.transpose(0, 1)
        if self.attention is None:
            seen = torch.cat([real_parts(y).expand(len(of_user), -1, -1), real_parts(of_user)], dim=-1)
        else:
            seen = real_parts(_power(of_user, self.attention) * y)
        first = self.first(seen)
        mixed = first if self.alpha is None else torch.einsum("kn,ksw->nsw", self.alpha, first)
        scores = self.head(self.beta * first + self.second(mixed))
        return [masked(scores.transpose(0, 1), words.log_prior)]


def _power(h: Tensor, mu: float) -> Tensor:
    """h^mu, of the phase of h* where mu < 0; gains below `LEAST_GAIN` count as it."""
    gain = h.abs()
    phase = h / gain.clamp_min(1e-12)
    return gain.clamp_min(LEAST_GAIN).pow(mu) * (phase.conj() if mu < 0 else phase)
