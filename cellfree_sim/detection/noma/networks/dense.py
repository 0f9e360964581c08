"""Receivers that are told nothing of how signals add up: one network for all users, on what was received.

Shape letters: see `words`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellfree_sim.detection.noma.networks.words import Words, masked, real_parts


class DenseNet(nn.Module):
    """Fully connected layers on y, all channels and the noise, with one output for each message of each user.

    With ReLU, and channels that fade, it is the FCNN beside SICNN; with tanh the decoder of an autoencoder (E2E). It
    knows the codebook only from training.

    Args:
        users, messages: N and M with silence.
        samples: R.
        widths: of the hidden layers.
        faded: whether it is shown the channels; without fading they are all alike.
        activation: of the hidden layers.
    """

    def __init__(
        self, users: int, messages: int, samples: int, widths: list[int], *, faded: bool, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        self.users, self.faded = users, faded
        inputs = 2 * samples * (1 + users * faded) + 1
        layers: list[nn.Module] = []
        for before, after in zip([inputs, *widths], widths, strict=False):
            layers += [nn.Linear(before, after), activation()]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1] if widths else inputs, users * messages))

    def forward(self, words: Words, y: Tensor, h: Tensor, noise_variance: Tensor) -> list[Tensor]:
        """Scores [S, N, M], the only element of a list."""
        seen = [real_parts(y), noise_variance.log().unsqueeze(-1) / 4]
        if self.faded:
            seen.append(real_parts(h).flatten(1))
        scores = self.net(torch.cat(seen, dim=-1)).unflatten(-1, (self.users, -1))
        return [masked(scores, words.log_prior)]
