"""MMNet for independent channels: a step along the gradient and a denoiser, with two learned scalars in each layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellfree_sim.detection.mimo.algorithms.common import LEAST_VARIANCE, Alphabet, apply


class MatchedNet(nn.Module):
    """Layers of MMNet in its form for i.i.d. channels (Khani, Alizadeh, Hoydis and Fleming, 2020, section IV).

    With A = a_t H^H, in layer t

        r = x + A (y - H x),   x' = E[symbol | r, tau^2],
        tau^2 = b_t / N (|I - A H|^2 / |H|^2 max(|y - H x|^2 - R s, 0) + |A|^2 s).

    No inverse, no decomposition: a layer costs two products of H with a vector.

    Args:
        alphabet: the points.
        layers: number of layers.
    """

    def __init__(self, alphabet: Alphabet, layers: int) -> None:
        super().__init__()
        self._alphabet = alphabet
        self.step = nn.Parameter(torch.full((layers,), 0.5))
        self.log_variance = nn.Parameter(torch.zeros(layers))

    def forward(self, y: Tensor, h: Tensor, noise_variance: Tensor) -> list[Tensor]:
        """Scores [S, N, M] of each layer; without a gradient only those of the last one."""
        alphabet = self._alphabet.to(y.device)
        antennas, users = h.shape[1:]
        adjoint = h.mH
        gram = adjoint @ h
        noise = noise_variance.unsqueeze(-1)
        trace = gram.diagonal(dim1=-2, dim2=-1).real.sum(dim=-1, keepdim=True)
        squares = gram.abs().square().sum(dim=(-2, -1)).unsqueeze(-1)
        energy = trace.clamp_min(torch.finfo(torch.float32).tiny)
        mean = torch.zeros_like(gram[..., 0])
        scores = []
        last = len(self.step) - 1
        for layer in range(last + 1):
            step = self.step[layer]
            residual = y - apply(h, mean)  # not through the Gram matrix, which in float32 would lose small energies
            left = residual.abs().square().sum(dim=-1, keepdim=True)
            missed = users - 2 * step * trace + step.square() * squares
            error = missed / energy * (left - antennas * noise).clamp_min(0) + step.square() * trace * noise
            error = (self.log_variance[layer].exp() * error / users).clamp_min(LEAST_VARIANCE)
            estimate = mean + step * apply(adjoint, residual)
            error = error.expand_as(estimate.real)
            if layer == last or torch.is_grad_enabled():
                scores.append(alphabet.scores(estimate, error))
            if layer < last:
                mean, _ = alphabet.moments(estimate, error)
        return scores
