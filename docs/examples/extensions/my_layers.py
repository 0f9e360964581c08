"""The network of `my_network`."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Layers(nn.Module):
    """Called with y [S, R], h [S, R, N] and the noise variance [S], it returns scores [S, N, M] of each layer."""

    def __init__(self, points: Tensor, layers: int) -> None:
        super().__init__()
        self.register_buffer("points", points, persistent=False)
        self.step = nn.Parameter(torch.full((layers,), 0.7))
        self.log_noise = nn.Parameter(torch.linspace(-1.0, -3.0, layers))

    def forward(self, y: Tensor, h: Tensor, noise_variance: Tensor) -> list[Tensor]:
        """Unnormalised log-probabilities of each layer; the last one decides."""
        energy = h.abs().square().sum(1).clamp_min(1e-12)
        mean = torch.zeros_like(h[:, 0])
        scores = []
        for step, log_noise in zip(self.step, self.log_noise, strict=True):
            residual = y - (h @ mean.unsqueeze(-1)).squeeze(-1)
            estimate = mean + step * (h.mH @ residual.unsqueeze(-1)).squeeze(-1) / energy
            noise = noise_variance.unsqueeze(-1) / energy + log_noise.exp()
            scores.append(-(estimate.unsqueeze(-1) - self.points).abs().square() / noise.unsqueeze(-1))
            mean = (scores[-1].softmax(-1) + 0j) @ self.points
        return scores
