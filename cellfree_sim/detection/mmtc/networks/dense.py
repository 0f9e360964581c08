"""DL-mAMPnet (Ma, Wu, Gao and Shen): AMP over real entries unfolded, with a dense matched filter in each layer.

Frames are split into real and imaginary parts, stacked over all antennas: 2 L M numbers received, 2 N Q M to estimate,

    Z = X + B_t R,    t2 = ||R||^2 / (2 L M),
    eta_j = Z_j / (1 + t2/b_j) * sigmoid(Z_j^2 / (2 (t2 + t2^2/b_j)) - log(1 + b_j/t2) / 2 - a_j),
    X' = v_t eta(Z),    R' = Y - S X' + R (v_t / (2 L M)) sum_j eta'_j,

(44)-(48), (56)-(57), with learned B_t (dense, or the same for all antennas), v_t, a (log-odds) and b (gains) of all
entries. The refinement module makes one number of each pilot out of |X|: a filter over the antennas, a soft threshold
from their mean, the largest of each device's pilots (MaxPool and MaxUnpool, real and imaginary parts apart), a hard
threshold (50)-(55). It measures |X| in units of sqrt(b), so that near and far devices are alike.

Where the printed formulas cannot be meant they are read as follows: t2 is a variance; the correction is the mean slope
over 2 L M; the last step gives log-odds and is not cut off below zero, as what is cut off cannot learn; and since two
parts may choose different pilots, a device's decision is the largest of its log-odds, silence having zero.

Shape letters: S frames, N devices, Q pilots of a device, L samples, M antennas, T layers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

MAX_NUMBERS = 2**28
"""Learned numbers of a network: half a gigabyte in a file, four gigabytes while it is trained."""
PACE = 10.0
"""How much faster the log-odds and log-gains of entries are learned than the filters."""
FIRST_THRESHOLD = 0.3
LEAST_VARIANCE = 1e-12  # of the noise: where nothing at all was received
_SHARPNESS = 4.0  # of the hard threshold: rho
_FIRST_SHARE = -4.0  # of the mean in the soft threshold: its logit


def learned_numbers(devices: int, per_device: int, length: int, antennas: int, layers: int, shared: bool) -> int:
    """Learned numbers of a network: the published sizes have 35.8 million.

    >>> learned_numbers(100, 2, 40, 16, layers=4, shared=False)
    35781021
    """
    pilots, filters = devices * per_device, 1 if shared else antennas
    layer = 4 * pilots * filters * length * filters + 2 * (2 * pilots * antennas) + 1
    square = (2 * pilots) * (2 * pilots + 1)
    refinement = antennas + 1 + 2 * square + 2 * pilots * (2 * pilots * antennas + 2) + pilots * (2 * pilots + 1)
    return layers * layer + refinement


class DenseNet(nn.Module):
    """DL-mAMPnet for one set of pilots.

    Args:
        pilots: complex64 [N, Q, L], of unit norm.
        antennas: M.
        layers: T.
        log_odds: first value of a, the log-odds of a silent pilot.
        gain: first value of b, the mean gain of an active device over the noise, in each part.
        shared: whether B_t is the same for all antennas.
    """

    mixing: Tensor
    pilots: Tensor

    def __init__(
        self, pilots: Tensor, antennas: int, layers: int, *, log_odds: float, gain: float, shared: bool
    ) -> None:
        super().__init__()
        self.devices, self.per_device = pilots.shape[:2]
        self.register_buffer("pilots", pilots, persistent=False)
        flat = pilots.flatten(0, 1)  # S^T [N Q, L]
        parts = torch.cat([torch.cat([flat.real, flat.imag], -1), torch.cat([-flat.imag, flat.real], -1)], 0)
        self.register_buffer("mixing", parts.contiguous(), persistent=False)  # [2 N Q, 2 L], transposed
        self.antennas = antennas
        self.layers = nn.ModuleList(DenseLayer(parts, antennas, log_odds, gain, shared) for _ in range(layers))
        self.refinement = Refinement(self.devices, self.per_device, antennas)
        self.phase = layers + 1

    @property
    def states(self) -> int:
        """Pilots of all devices."""
        return self.devices * self.per_device

    def forward(self, y: Tensor, h: Tensor | None, noise_variance: Tensor) -> list[Tensor]:
        """Scores [S, N, 1 + Q], the first entry that of silence. Gains are not looked at: they are learned."""
        estimates, variance = self.estimates(y, noise_variance, len(self.layers))
        last = self.layers[-1]
        assert isinstance(last, DenseLayer)
        odds = self.refinement(estimates[-1], last.log_gain, variance)
        return [torch.cat([torch.zeros_like(odds[..., :1]), odds], dim=-1)]

    def estimates(self, y: Tensor, noise_variance: Tensor, layers: int) -> tuple[list[Tensor], Tensor]:
        """X after each of the first `layers`, float32 [S, M, 2 N Q], and the last variance [S]."""
        scaled = (y / noise_variance.sqrt().reshape(-1, 1, 1)).mT
        received = torch.cat([scaled.real, scaled.imag], dim=-1)  # [S, M, 2 L]
        residual, variance = received, received.new_ones(len(y))
        x = received.new_zeros(len(y), self.antennas, len(self.mixing))
        found = []
        for layer in self.layers[:layers]:
            x, slope, variance = layer(x, residual)
            residual = received - x @ self.mixing + slope.reshape(-1, 1, 1) * residual
            found.append(x)
        return found, variance

    def begin_phase(self, phase: int) -> None:
        """Let only what phase 0 … T + 1 of the layer-wise training changes be learned: layer t, refinement, all."""
        self.phase = phase
        parts = [*self.layers, self.refinement]
        for number, part in enumerate(parts):
            part.requires_grad_(phase in (number, len(parts)))


class DenseLayer(nn.Module):
    """A layer of AMP over real entries; see the module."""

    def __init__(self, parts: Tensor, antennas: int, log_odds: float, gain: float, shared: bool) -> None:
        super().__init__()
        self.shared = shared
        start = parts if shared else torch.kron(torch.eye(antennas), parts)
        self.filter = nn.Parameter(start.clone())  # B_t
        self.log_scale = nn.Parameter(torch.zeros(()))  # ln v_t
        self.paced_odds = nn.Parameter(torch.full((antennas, len(parts)), log_odds / PACE))
        self.paced_gain = nn.Parameter(torch.full((antennas, len(parts)), math.log(gain) / PACE))

    @property
    def log_odds(self) -> Tensor:
        """a, the log-odds that an entry is silent, [M, 2 N Q]."""
        return PACE * self.paced_odds

    @property
    def log_gain(self) -> Tensor:
        """ln b of each entry, [M, 2 N Q]."""
        return PACE * self.paced_gain

    def forward(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """X' [S, M, 2 N Q], the factor of the correction [S], and t2 [S]."""
        pulled = residual @ self.filter.T if self.shared else (residual.flatten(1) @ self.filter.T).view_as(x)
        z = x + pulled
        variance = residual.square().mean(dim=(1, 2)).clamp_min(LEAST_VARIANCE)
        t2 = variance.reshape(-1, 1, 1)
        ratio = self.log_gain.exp() / t2  # b / t2
        shrink = ratio / (1 + ratio)
        pull = shrink / t2
        chance = (z.square() * pull / 2 - torch.log1p(ratio) / 2 - self.log_odds).sigmoid()
        slope = shrink * chance * (1 + (1 - chance) * pull * z.square())
        scale = self.log_scale.exp()
        return scale * shrink * chance * z, scale * slope.sum(dim=(1, 2)) / residual[0].numel(), variance


class Refinement(nn.Module):
    """One log-odds for each pilot out of the estimates of its parts at all antennas; see the module."""

    def __init__(self, devices: int, per_device: int, antennas: int) -> None:
        super().__init__()
        self.devices, self.per_device = devices, per_device
        rows = 2 * devices * per_device
        self.over_antennas = nn.Linear(antennas, 1)  # a convolution with a kernel of 1 x M
        self.share_hidden, self.share_output = nn.Linear(rows, rows), nn.Linear(rows, rows)
        self.threshold = nn.Linear(rows * antennas + 1, rows)
        self.decision = nn.Linear(rows, rows // 2)
        self._start()

    def _start(self) -> None:
        """The mean over antennas, hardly a soft threshold, one hard threshold, and the sum of both parts."""
        with torch.no_grad():
            self.over_antennas.weight.fill_(1 / self.over_antennas.in_features)
            self.over_antennas.bias.zero_()
            self.share_output.weight.mul_(0.1)
            self.share_output.bias.fill_(_FIRST_SHARE)
            self.threshold.weight.zero_()
            self.threshold.bias.fill_(FIRST_THRESHOLD)
            self.decision.weight.copy_(torch.eye(self.decision.out_features).repeat(1, 2))
            self.decision.bias.zero_()

    def forward(self, x: Tensor, log_gain: Tensor, variance: Tensor) -> Tensor:
        """Log-odds [S, N, Q] from X [S, M, 2 N Q], ln b [M, 2 N Q] and t2 [S]; thresholds see ln b and ln t2."""
        chosen = self.chosen(x, log_gain)
        known = torch.cat([log_gain.flatten().expand(len(x), -1), variance.log().unsqueeze(-1)], dim=-1)
        known = known / known.shape[-1]
        decided: Tensor = self.decision(chosen - self.threshold(known).relu())
        return _SHARPNESS * decided.reshape(len(x), self.devices, self.per_device)

    def chosen(self, x: Tensor, log_gain: Tensor) -> Tensor:
        """What MaxPool and MaxUnpool leave of the parts of all pilots, [S, 2 N Q], in units of sqrt(b)."""
        magnitude = x.abs() / (log_gain / 2).exp()
        mean = magnitude.mean(dim=1)
        soft = self.share_output(self.share_hidden(mean).relu()).sigmoid() * mean
        kept = (self.over_antennas(magnitude.mT).squeeze(-1) - soft).relu().unsqueeze(1)
        largest, where = nn.functional.max_pool1d(kept, self.per_device, return_indices=True)
        unpooled: Tensor = nn.functional.max_unpool1d(largest, where, (self.per_device,)).squeeze(1)
        return unpooled


def what_was_sent(pilots: Tensor, y: Tensor, gains: Tensor, noise_variance: Tensor, messages: Tensor) -> Tensor:
    """Mean of what the pilots carried, given frame, gains and `messages` [S, N]: float32 [S, M, 2 N Q] over the noise.

    Nothing that is computed from the frame alone comes nearer to it than to what was truly sent but by a constant, so
    that it makes the same target in training, with less noise: X_n = g_n s_n^H (sum_k g_k s_k s_k^H + I)^-1 Y.

    Args:
        pilots: complex64 [N, Q, L].
        y: complex64 [S, L, M].
        gains: float32 [S, N], or [S, N, B] for antennas at B stations.
        noise_variance: float32 [S].
        messages: int64 [S, N], 0 where a device is silent.
    """
    frames, devices = messages.shape
    per_device = pilots.shape[1]
    sent = pilots[torch.arange(devices, device=y.device), (messages - 1).clamp_min(0)]  # [S, N, L]
    power = gains.reshape(frames, devices, -1).transpose(1, 2) / noise_variance.reshape(-1, 1, 1)
    power = power * (messages > 0).unsqueeze(1)  # [S, B, N]
    received = (y / noise_variance.sqrt().reshape(-1, 1, 1)).reshape(*y.shape[:2], power.shape[1], -1).movedim(2, 1)
    columns = sent.mT.unsqueeze(1)
    eye = torch.eye(y.shape[1], dtype=y.dtype, device=y.device)
    covariance = (columns * power.unsqueeze(2)) @ columns.mH + eye
    mean = power.unsqueeze(-1) * (columns.mH @ torch.linalg.solve(covariance, received))  # [S, B, N, M / B]
    rows = mean.movedim(1, 2).flatten(2)  # [S, N, M]
    own = torch.nn.functional.one_hot(messages, per_device + 1)[..., 1:]
    x = (rows.unsqueeze(2) * own.unsqueeze(-1)).flatten(1, 2).mT  # [S, M, N Q]
    return torch.cat([x.real, x.imag], dim=-1)
