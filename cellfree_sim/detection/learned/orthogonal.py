"""OAMPNet and OAMPNet-2: orthogonal AMP, unfolded into layers with two or four learned scalars each."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from cellfree_sim.detection.mimo.algorithms.common import LEAST_VARIANCE, Alphabet, apply, statistics
from cellfree_sim.detection.mimo.algorithms.message_passing import JUST_SEEN


class OrthogonalNet(nn.Module):
    """Layers of OAMP with LMMSE filters (He, Wen, Jin and Li, 2018 and 2020).

    With the filter W of OAMP, in layer t

        r = x + gamma_t W (y - H x),   x' = phi_t (E[symbol | r, tau^2] - xi_t r),
        tau^2 = |I - theta_t W H|^2 v^2 / N + theta_t^2 |W|^2 s / N,

    where v^2 is the error variance of x, measured from y - H x. Two scalars are gamma and theta; four are also phi and
    xi. All layers share one eigendecomposition of H^H H, which nothing learned changes.

    Args:
        alphabet: the points.
        layers: number of layers.
        scalars: learned in each layer.
    """

    def __init__(self, alphabet: Alphabet, layers: int, scalars: Literal[2, 4]) -> None:
        super().__init__()
        self._alphabet = alphabet
        self.gamma = nn.Parameter(torch.ones(layers))
        self.theta = nn.Parameter(torch.ones(layers))
        self.phi = nn.Parameter(torch.ones(layers - 1)) if scalars == 4 else None
        self.xi = nn.Parameter(torch.zeros(layers - 1)) if scalars == 4 else None

    def forward(self, y: Tensor, h: Tensor, noise_variance: Tensor) -> list[Tensor]:
        """Scores [S, N, M] of each layer; without a gradient only those of the last one."""
        alphabet = self._alphabet.to(y.device)
        gram, matched = statistics(y, h)
        value, vector = torch.linalg.eigh(gram)
        value = value.clamp_min(0)
        seen = value > JUST_SEEN * value[:, -1:]
        received = apply(vector.mH, matched)
        root = torch.where(seen, value, 1).sqrt()
        noise = noise_variance.unsqueeze(-1)
        dimensions = seen.sum(dim=-1, keepdim=True)
        energy = value.sum(dim=-1, keepdim=True)
        mean = torch.zeros_like(matched)
        scores = []
        last = len(self.gamma) - 1
        for layer in range(last + 1):
            residual = received - value * apply(vector.mH, mean)
            left = torch.where(seen, residual / root, 0).abs().square().sum(dim=-1, keepdim=True)
            spread = ((left - dimensions * noise) / energy).clamp_min(LEAST_VARIANCE)
            weight = spread / (spread * value + noise)
            weight = weight / (weight * value).mean(dim=-1, keepdim=True)
            estimate = mean + self.gamma[layer] * apply(vector, weight * residual)
            passed = self.theta[layer] * weight * value
            leak = self.theta[layer].square() * noise * weight.square() * value
            error = (spread * (1 - passed).square() + leak).mean(dim=-1, keepdim=True)
            error = error.clamp_min(LEAST_VARIANCE).expand_as(estimate.real)
            if layer == last or torch.is_grad_enabled():
                scores.append(alphabet.scores(estimate, error))
            if layer == last:
                break
            mean, _ = alphabet.moments(estimate, error)
            if self.phi is not None and self.xi is not None:
                mean = self.phi[layer] * (mean - self.xi[layer] * estimate)
        return scores
