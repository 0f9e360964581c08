"""AMP by sections, unfolded: the exact denoiser of a device's pilots, with seven learned scalars in each layer.

A layer turns the estimate X of what every pilot carries, and the residual R, into the next ones:

    Z = X + u S^H R,    t = w ||R||_F^2 / (L M),
    L_q = a (||z_q||^2 c - M ln(1 + k g / t)),    c = k g / (t (k g + t)),
    P(q) = softmax over the states of a device (L_q + log-odds of the prior + b; 0 for silence),
    X' = (1 - d) P(q) k g / (k g + t) Z + d X,    R' = Y - S X' + o R <dX'/dZ> N Q / L,

where u, w, k, a, b, d and o are learned. S^H stays the adjoint of the pilots: any pilots do, implicit ones, too.
Antennas of several stations have their own t and g, and their log-ratios add; gains that are not known are averaged
over (see `gains`).

Shape letters: S frames, B stations, A antennas of a station, N devices, Q pilots of a device, L samples, K gain values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from cellfree_sim.detection.mmtc.networks.gains import GainBelief
    from cellfree_sim.uplink.pilots import Pilots

LEAST_VARIANCE = 1e-12  # of the noise: where nothing at all was received
STARTS = {
    "step": 0.0,
    "variance": 0.0,
    "gain": 0.0,
    "temperature": 0.0,
    "log_prior": 0.0,
    "damping": -1.0,
    "onsager": 0.0,
}
"""The learned scalars with their first values: logarithms, but for the log-prior itself and the logit of damping."""


class Scalars(NamedTuple):
    """The scalars of a layer, as the formulas have them: u, w, k, a, b, d, o."""

    step: Tensor
    variance: Tensor
    gain: Tensor
    temperature: Tensor
    log_prior: Tensor
    damping: Tensor
    onsager: Tensor


class MessagePassingNet(nn.Module):
    """Unfolded AMP by sections.

    Args:
        pilots: the operator S.
        activities: probability that each device is active, float32 [N].
        belief: of the gains.
        antennas: A.
        layers: T.
    """

    log_odds: Tensor

    def __init__(self, pilots: Pilots, activities: Tensor, belief: GainBelief, antennas: int, layers: int) -> None:
        super().__init__()
        self.belief, self.antennas = belief, antennas
        self._pilots = {pilots.device: pilots}
        self.register_buffer("log_odds", (activities / pilots.per_device / (1 - activities)).log(), persistent=False)
        self.scalars = nn.ParameterDict(
            {name: nn.Parameter(torch.full((layers,), start)) for name, start in STARTS.items()}
        )

    @property
    def states(self) -> int:
        """Pilots of all devices."""
        return next(iter(self._pilots.values())).count

    def forward(self, y: Tensor, h: Tensor | None, noise_variance: Tensor) -> list[Tensor]:
        """Scores [S, N, 1 + Q] of each layer, the first entry that of silence."""
        pilots = self._on(y.device)
        values, log_weights = self.belief(h, noise_variance)
        gains, log_weights = values.unsqueeze(3), log_weights.unsqueeze(3)  # [S, B, N, 1, K]
        received = (y / noise_variance.sqrt().reshape(-1, 1, 1)).mT.reshape(
            len(y), self.belief.stations, -1, pilots.length
        )
        estimate = received.new_zeros(*received.shape[:3], pilots.count)  # [S, B, A, N Q]
        residual, outputs = received, []
        for layer in self._layers():
            noisy = estimate + layer.step * pilots.adjoint(residual)
            variance = (layer.variance * residual.abs().square().mean(dim=(2, 3))).clamp_min(LEAST_VARIANCE)  # [S, B]
            energy = noisy.abs().square().sum(dim=2).reshape(*variance.shape, pilots.devices, -1)
            scores, weight, slope = self._denoised(energy, gains * layer.gain, log_weights, variance, layer)
            outputs.append(scores)
            shrunk = noisy * weight.flatten(2).unsqueeze(2)
            derivative = (weight + slope * energy / self.antennas).sum(dim=(2, 3)) / pilots.length
            estimate = shrunk + layer.damping * (estimate - shrunk)
            memory = (layer.onsager * (1 - layer.damping) * derivative).unsqueeze(-1).unsqueeze(-1)
            residual = received - pilots.forward(estimate) + memory * residual
        return outputs

    def _denoised(
        self, energy: Tensor, gains: Tensor, log_weights: Tensor, variance: Tensor, layer: Scalars
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores [S, N, 1 + Q], and the weight of each pilot with its slope over the energy [S, B, N, Q]."""
        noise = variance[..., None, None, None]
        shrink = gains / (gains + noise)
        pull = layer.temperature * shrink / noise
        ratios = energy.unsqueeze(-1) * pull - layer.temperature * self.antennas * torch.log1p(gains / noise)
        joint = ratios + log_weights  # [S, B, N, Q, K]
        evidence = joint.logsumexp(dim=-1).sum(dim=1) + self.log_odds.unsqueeze(-1) + layer.log_prior
        scores = torch.cat([torch.zeros_like(evidence[..., :1]), evidence], dim=-1)
        chance = scores.softmax(dim=-1)[..., 1:].unsqueeze(1)
        if joint.shape[-1] == 1:
            weight = chance * shrink.squeeze(-1)
            return scores, weight, weight * (1 - chance) * pull.squeeze(-1)
        share = joint.softmax(dim=-1)
        mean_shrink, mean_pull = (share * shrink).sum(dim=-1), (share * pull).sum(dim=-1)
        together = (share * shrink * pull).sum(dim=-1)
        return scores, chance * mean_shrink, chance * (together - chance * mean_shrink * mean_pull)

    def _layers(self) -> list[Scalars]:
        values = {name: self.scalars[name] for name in STARTS}
        shown = {name: value if name == "log_prior" else value.exp() for name, value in values.items()}
        shown["damping"] = values["damping"].sigmoid()
        return [Scalars(*each) for each in zip(*(shown[name].unbind() for name in STARTS), strict=True)]

    def _on(self, device: torch.device) -> Pilots:
        if device not in self._pilots:
            self._pilots[device] = next(iter(self._pilots.values())).to(device)
        return self._pilots[device]
