"""OAMPNet and OAMPNet-2: orthogonal AMP, unfolded into layers with two or four learned scalars each."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from cellfree_sim.detection.mimo.algorithms.common import LEAST_VARIANCE, Alphabet
from cellfree_sim.detection.mimo.algorithms.message_passing import OrthogonalFilters


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
        filters = OrthogonalFilters(y, h, noise_variance)
        mean, noise, value = filters.zero, filters.noise, filters.value
        scores = []
        last = len(self.gamma) - 1
        for layer in range(last + 1):
            correction, weight, spread = filters.around(mean)
            estimate = mean + self.gamma[layer] * correction
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
