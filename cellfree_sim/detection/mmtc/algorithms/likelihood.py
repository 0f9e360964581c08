"""The exact likelihood of all devices' states, and what it says of one device beside the others.

Given who sends what, and how strongly, the antennas of a station are independent vectors y_a ~ CN(0, V) with

    V = s^2 I + sum_i g_i s_i s_i^H,   log p(Y) = -A log det V - sum_a y_a^H V^-1 y_a  (+ const.),

i = (n, q) the pilots and g_i their gains, 0 where a pilot is not sent. All that one device n can change is seen in the
Q x Q matrices C_n = S_n^H V^-1 S_n and E_n = S_n^H V^-1 Y Y^H V^-1 S_n: to send pilot q with gain b adds

    b E_qq / (1 + b C_qq) - A log(1 + b C_qq)

to log p(Y), and changes V^-1 by a product of two vectors, and all C_n and E_n with it. `Field` keeps them for many
frames at once, so that a change of one state in each frame costs 2 L N Q multiply-adds instead of an inverse.

Shape letters: S frames, B stations of A antennas, N devices, Q pilots of a device, L samples, G gains in question.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cellfree_sim.detection.mmtc.algorithms.denoiser import GainGrid

LEAST_LEFT = 1e-12  # of 1 - g C, which is V without a pilot over V with it, and positive but for rounding


@dataclass(eq=False)
class Field:
    """What is kept of frames while states change (see the module).

    Attributes:
        pilots: S^T, [N Q, L].
        inverse: V^-1, [S, B, L, L].
        filtered: V^-1 Y, [S, B, L, A].
        gram: C_n, [S, B, N, Q, Q].
        energy: E_n, [S, B, N, Q, Q].
    """

    pilots: Tensor
    inverse: Tensor
    filtered: Tensor
    gram: Tensor
    energy: Tensor

    @classmethod
    def silent(cls, received: Tensor, pilots: Tensor, noise: Tensor) -> Field:
        """Nobody sends: `received` [S, B, L, A], `pilots` [N, Q, L], `noise` variances [S]."""
        frames, stations, length, _ = received.shape
        scale = noise[:, None, None, None]
        rows = pilots.flatten(0, 1)
        gram = (pilots.conj() @ pilots.mT).expand(frames, stations, -1, -1, -1) / scale.unsqueeze(-1)
        inverse = torch.eye(length, dtype=received.dtype, device=received.device) / scale
        filtered = received / scale
        return cls(rows, inverse.expand(-1, stations, -1, -1).clone(), filtered, gram, _energies(pilots, filtered))

    @classmethod
    def of(cls, received: Tensor, pilots: Tensor, noise: Tensor, gains: Tensor) -> tuple[Field, Tensor]:
        """Pilots sent with `gains` [S, B, N, Q]; and log p(Y) [S] (without the constant)."""
        rows = pilots.flatten(0, 1)
        flat = gains.flatten(-2)
        sent = int((flat > 0).any(dim=1).sum(dim=-1).max())
        index = (flat > 0).any(dim=1).float().topk(sent, dim=-1).indices  # [S, K]
        chosen = rows[index].unsqueeze(1)  # [S, 1, K, L]
        amounts = flat.gather(-1, index.unsqueeze(1).expand(-1, flat.shape[1], -1))
        covariance = (chosen * amounts.unsqueeze(-1)).mT @ chosen.conj()
        covariance.diagonal(dim1=-2, dim2=-1).add_(noise[:, None, None])
        factor = torch.linalg.cholesky(covariance)
        inverse = torch.cholesky_inverse(factor)
        filtered = inverse @ received
        solved = torch.linalg.solve_triangular(factor, received, upper=False)
        log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).real.log().sum(dim=-1)
        fit = torch.view_as_real(solved).square().sum(dim=(-3, -2, -1))
        towards = (inverse.reshape(-1, len(pilots[0, 0])) @ rows.T).reshape(*inverse.shape[:-1], *pilots.shape[:2])
        gram = torch.einsum("sblnq,nkl->sbnqk", towards.conj(), pilots)
        field = cls(rows, inverse, filtered, gram, _energies(pilots, filtered))
        return field, -(received.shape[-1] * log_det + fit).sum(dim=-1)

    @property
    def antennas(self) -> int:
        """A of each station."""
        return self.filtered.shape[-1]

    def select(self, frames: Tensor) -> Field:
        """The same for some of the frames, a mask or indices."""
        return Field(self.pilots, *(each[frames] for each in (self.inverse, self.filtered, self.gram, self.energy)))

    def add(self, index: Tensor, amount: Tensor) -> None:
        """Let pilot `index` [S] of each frame be sent with `amount` [S, B] more gain, or less where it is negative."""
        pilot = self.pilots[index].unsqueeze(1).unsqueeze(-1)  # [S, 1, L, 1]
        towards = self.inverse @ pilot  # u
        seen = pilot.mH @ self.filtered  # v
        own = (pilot.mH @ towards).real.flatten(1)
        factor = (amount / (1 + amount * own).clamp_min(LEAST_LEFT))[..., None, None]
        both = torch.stack([towards.squeeze(-1), (self.filtered @ seen.mH).squeeze(-1)])
        cross = (both @ self.pilots.mH).reshape(2, *self.gram.shape[:-1])  # a, b
        self.inverse -= factor * towards @ towards.mH
        self.filtered -= factor * towards @ seen
        a, b = cross[0].unsqueeze(-1), cross[1].unsqueeze(-1)
        factor = factor.unsqueeze(-1)
        power = torch.view_as_real(seen).square().sum(dim=(-3, -2, -1))[..., None, None, None]
        scaled = factor * a
        self.gram -= scaled * a.mH
        mixed = scaled * (b - (0.5 * power) * scaled).mH
        self.energy -= mixed + mixed.mH

    def without(self, chosen: Tensor, amount: Tensor) -> tuple[Tensor, Tensor]:
        """C_qq and E_qq [S, B, N, Q] of each device as if it did not send the pilot `chosen` [S, N], 0 … Q - 1.

        `amount` [S, B, N] is the gain with which it sends it, 0 where it does not send.
        """
        at = chosen[:, None, :, None, None].expand(-1, self.gram.shape[1], -1, self.gram.shape[3], 1)
        toward, seen = (each.gather(-1, at).squeeze(-1) for each in (self.gram, self.energy))  # columns [S, B, N, Q]
        pick = chosen[:, None, :, None].expand(-1, self.gram.shape[1], -1, 1)
        own, power = (each.real.gather(-1, pick) for each in (toward, seen))
        amount = amount.unsqueeze(-1)
        factor = -amount / (1 - amount * own).clamp_min(LEAST_LEFT)
        gram, energy = (each.diagonal(dim1=-2, dim2=-1).real for each in (self.gram, self.energy))
        near = torch.view_as_real(toward).square().sum(dim=-1)
        mixed = (torch.view_as_real(toward) * torch.view_as_real(seen)).sum(dim=-1)
        return gram - factor * near, energy - factor * (2 * mixed - factor * power * near)


def removed(gram: Tensor, energy: Tensor, amounts: Tensor) -> tuple[Tensor, Tensor]:
    """C_qq and E_qq [S, B, N, Q] of each device as if it sent nothing, from C_n and E_n [S, B, N, Q, Q].

    `amounts` [S, B, N, Q] are the gains with which it now sends its pilots, any number of them.
    """
    for pilot in range(amounts.shape[-1]):
        toward, seen = gram[..., pilot].unsqueeze(-1), energy[..., pilot].unsqueeze(-1)
        own, power = toward[..., pilot : pilot + 1, :].real, seen[..., pilot : pilot + 1, :].real
        amount = amounts[..., pilot, None, None]
        factor = -amount / (1 - amount * own).clamp_min(LEAST_LEFT)
        gram = gram - factor * toward @ toward.mH
        mixed = factor * toward @ (seen - 0.5 * factor * power * toward).mH
        energy = energy - mixed - mixed.mH
    return gram.diagonal(dim1=-2, dim2=-1).real, energy.diagonal(dim1=-2, dim2=-1).real


def ratios_of(gram: Tensor, energy: Tensor, grid: GainGrid, antennas: int) -> Tensor:
    """log p(Y | device sends q with gain b) - log p(Y | it is silent), [S, N, Q, G], of C_qq and E_qq [S, B, N, Q]."""
    gain = grid.values.unsqueeze(-2)
    load = gain * gram.clamp_min(0).unsqueeze(-1)
    ratio = gain * energy.clamp_min(0).unsqueeze(-1) / (1 + load) - antennas * torch.log1p(load)
    return ratio.sum(dim=1)


def _energies(pilots: Tensor, filtered: Tensor) -> Tensor:
    seen = (pilots.flatten(0, 1).conj() @ filtered).reshape(*filtered.shape[:2], *pilots.shape[:2], -1)
    return seen @ seen.mH
