"""Soft covariance message passing, unfolded: every device is weighed against the covariance that all others explain.

Over the M antennas of a station a frame is M draws from CN(0, C), C = sum_n g_n s_(n,q_n) s_(n,q_n)^H + I, where device
n sent its pilot q_n, or nothing. A layer knows what each device sent with the probabilities p_(n,q) and

 1. adds up the soft covariance C = I + sum_(n,q) p_(n,q) g_n s_(n,q) s_(n,q)^H,
 2. removes each device's own part from it: C_n = C - S_n D_n S_n^H, D_n = diag(p_(n,q) g_n), by the inversion lemma,
 3. compares "n sent q" with "n sent nothing" given C_n, where a = s^H C_n^-1 s, v = s^H C_n^-1 (Y Y^H / M) C_n^-1 s:

        ln Lambda_(n,q) = M (g v / (1 + g a) - ln(1 + g a)),

 4. sets p_(n,q) to the softmax of temperature * ln Lambda + log-prior, mixed with the value before.

Each layer learns the three scalars of step 4. Antennas of several stations are as many independent sets of draws: their
log-ratios add. A gain that is not known is averaged over, under its probabilities (`gains`).

Shape letters: S frames, B stations, N devices, Q pilots of a device, L samples, M antennas of a station, K gain values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellfree_sim.detection.mmtc.networks.gains import GainBelief

LARGE_GAIN = 1e6
"""Gain over the noise above which complex64 does not suffice for the inverse of the covariance."""
MAX_LENGTH = 2048
"""Longest pilots: the covariance of a frame is a matrix of that size."""
MOST_MOVES = 1000
_TEMPERATURE, _LOG_PRIOR = (-1.2, 0.0), (-1.0, 1.0)  # first and last layer
_DAMPING = -2.0


class CovarianceNet(nn.Module):
    """Unfolded soft covariance message passing with three scalars in each layer.

    Args:
        pilots: complex64 [N, Q, L], of unit norm.
        activities: probability that each device is active, float32 [N].
        belief: of the gains.
        layers: T.
        precision: of the covariances: single, double, or auto: double only where gains are large.
    """

    pilots: Tensor
    prior: Tensor

    def __init__(self, pilots: Tensor, activities: Tensor, belief: GainBelief, layers: int, precision: str) -> None:
        super().__init__()
        self.belief, self.precision = belief, precision
        self.register_buffer("pilots", pilots.transpose(0, 2).transpose(1, 2).contiguous(), persistent=False)
        self.register_buffer("prior", activities / pilots.shape[1], persistent=False)  # of each pilot
        self.log_temperature = nn.Parameter(torch.linspace(*_TEMPERATURE, layers))
        self.log_prior = nn.Parameter(torch.linspace(*_LOG_PRIOR, layers))
        self.damping = nn.Parameter(torch.full((layers,), _DAMPING))

    @property
    def states(self) -> int:
        """Pilots of all devices at all stations."""
        return self.pilots[0].numel() * self.belief.stations

    def forward(self, y: Tensor, h: Tensor | None, noise_variance: Tensor) -> list[Tensor]:
        """Scores [S, N, 1 + Q] of each layer, the first entry that of silence."""
        frames = Frames(self, y, h, noise_variance)
        chance = self.prior.to(frames.real).unsqueeze(-1).expand(len(y), -1, self.pilots.shape[2])
        power = chance.unsqueeze(1) * frames.mean_gains.unsqueeze(-1)
        outputs = []
        for temperature, log_prior, damping in zip(
            self.log_temperature.exp(), self.log_prior, self.damping.sigmoid(), strict=True
        ):
            scores, gains = frames.weighed(power, temperature, log_prior)
            outputs.append(scores)
            fresh = scores.softmax(dim=-1)[..., 1:].unsqueeze(1) * gains
            power = damping * power + (1 - damping) * fresh
        return outputs

    def finished(self, y: Tensor, h: Tensor | None, noise_variance: Tensor, states: Tensor) -> Tensor:
        """Scores [S, N, 1 + Q] after coordinate ascent of the likelihood from `states` int64 [S, N].

        Each step moves the one device of a frame whose move gains most, given the states of all others, and a frame is
        done when no move gains anything. The scores are those of each device given the others' last states.
        """
        frames = Frames(self, y, h, noise_variance)
        states, answer = states.clone(), None
        going = torch.arange(len(y), device=y.device)
        for _ in range(MOST_MOVES):
            some = frames.some(going)
            sent = nn.functional.one_hot(states[going], self.pilots.shape[2] + 1)[..., 1:].to(frames.real)
            _, gains = some.weighed(sent.unsqueeze(1) * some.mean_gains.unsqueeze(-1), 1.0, 0.0)
            scores, _ = some.weighed(sent.unsqueeze(1) * gains, 1.0, 0.0)
            answer = scores if answer is None else answer.index_copy(0, going, scores)
            best, state = scores.max(dim=-1)
            gain, device = (best - scores.gather(-1, states[going].unsqueeze(-1)).squeeze(-1)).max(dim=-1)
            moves = gain > 0
            going, device = going[moves], device[moves]
            if len(going) == 0:
                break
            states[going, device] = state[moves, device]
        assert answer is not None
        return answer


class Frames:
    """Received frames over their noise, with what is believed of the gains."""

    def __init__(self, net: CovarianceNet, y: Tensor, h: Tensor | None, noise_variance: Tensor) -> None:
        stations = net.belief.stations
        gains, log_weights = net.belief(h, noise_variance)
        largest = float(gains.detach().max()) if net.precision == "auto" else 0.0
        double = net.precision == "double" or largest > LARGE_GAIN
        self.real = torch.float64 if double else torch.float32
        kind = torch.complex128 if double else torch.complex64
        scaled = y / noise_variance.sqrt().reshape(-1, 1, 1)
        self.y = scaled.reshape(*y.shape[:2], stations, -1).movedim(2, 1).to(kind)  # [S, B, L, M]
        self.gains = gains.to(self.real).unsqueeze(3)  # [S, B, N, 1, K]
        self.pilots = net.pilots.to(kind)  # [L, N, Q]
        self.log_weights = log_weights.to(self.real).unsqueeze(3)
        prior = net.prior.to(self.real)
        self.log_odds = (prior.log() - torch.log1p(-prior * self.pilots.shape[2])).unsqueeze(-1)

    @property
    def mean_gains(self) -> Tensor:
        """Mean gains before anything was received, [S, B, N]."""
        mean: Tensor = (self.gains * self.log_weights.exp()).sum(dim=(3, 4))
        return mean

    def some(self, index: Tensor) -> Frames:
        """The frames with the numbers `index`."""
        part = object.__new__(Frames)
        part.__dict__.update(self.__dict__)
        part.y, part.gains, part.log_weights = self.y[index], self.gains[index], self.log_weights[index]
        return part

    def weighed(self, power: Tensor, temperature: Tensor | float, log_prior: Tensor | float) -> tuple[Tensor, Tensor]:
        """Scores [S, N, 1 + Q], and mean gains [S, B, N, Q] of those who sent, given `power` [S, B, N, Q] = p g."""
        a, v = self._without_itself(power)
        a, v = a.unsqueeze(-1), v.unsqueeze(-1)
        gains = self.gains
        ratio = self.y.shape[-1] * temperature * (gains * v / (1 + gains * a) - torch.log1p(gains * a))
        if gains.shape[-1] == 1:
            evidence, mean = ratio.squeeze(-1), gains.squeeze(-1)
        else:
            joint = ratio + self.log_weights
            evidence = joint.logsumexp(dim=-1)
            mean = (joint.softmax(dim=-1) * gains).sum(dim=-1)
        scores = evidence.sum(dim=1) + self.log_odds + log_prior
        return torch.cat([torch.zeros_like(scores[..., :1]), scores], dim=-1), mean

    def _without_itself(self, power: Tensor) -> tuple[Tensor, Tensor]:
        """a and v of each pilot, [S, B, N, Q], given the covariance without the part of its own device."""
        length, devices, per_device = self.pilots.shape
        flat = self.pilots.flatten(1)
        covariance = (flat * power.flatten(2).unsqueeze(2)) @ flat.mH
        covariance = covariance + torch.eye(length, dtype=flat.dtype, device=flat.device)
        factor = torch.linalg.cholesky(covariance)
        white_pilots = torch.linalg.solve_triangular(factor, flat.expand(*factor.shape[:2], -1, -1), upper=False)
        white = torch.linalg.solve_triangular(factor, self.y, upper=False)
        matched = (white.mH @ white_pilots).unflatten(-1, (devices, per_device)).movedim(3, 2)  # [S, B, N, M, Q]
        sections = white_pilots.unflatten(-1, (devices, per_device)).movedim(3, 2)  # [S, B, N, L, Q]
        inner = sections.mH @ sections
        energy = matched.mH @ matched / self.y.shape[-1]
        eye = torch.eye(per_device, dtype=flat.dtype, device=flat.device)
        lift = torch.linalg.inv(eye - power.unsqueeze(-1) * inner)
        a = (inner * lift.mT).sum(dim=-1).real
        v = ((energy @ lift) * lift.conj()).sum(dim=-2).real
        return a.clamp_min(0), v.clamp_min(0)
