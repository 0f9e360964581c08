"""Detection from the likelihood of the covariance: relaxed and discrete coordinate ascent, and what a genie would know.

Every step changes one coordinate of each frame, that which gains most; frames that have nothing to gain are set aside.

Shape letters: S frames, B stations of A antennas, N devices, Q pilots of a device, L samples, G gains in question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cellfree_sim.detection.mmtc.algorithms.denoiser import GainGrid, Prior
from cellfree_sim.detection.mmtc.algorithms.likelihood import Field, ratios_of, removed

if TYPE_CHECKING:
    from cellfree_sim.uplink.pilots import Pilots


LOUDEST = 1e7
"""Gain over the noise above which double precision loses what the others sent; a louder device counts as so loud."""


@dataclass(frozen=True, eq=False)
class Setting:
    """Frames in the precision (double) and layout that the likelihood wants.

    Attributes:
        received: Y of each station, [S, B, L, A].
        noise: variances [S].
        pilots: [N, Q, L].
        grid: gains in question.
        prior: of the devices.
    """

    received: Tensor
    noise: Tensor
    pilots: Tensor
    grid: GainGrid
    prior: Prior

    @classmethod
    def of(cls, y: Tensor, noise_variance: Tensor, pilots: Pilots, grid: GainGrid, prior: Prior) -> Setting:
        """From y [S, L, M]; all in double precision."""
        stations, real = grid.values.shape[1], torch.float64
        received = y.to(torch.complex128).reshape(*y.shape[:2], stations, -1).transpose(1, 2).contiguous()
        dense = pilots.dense().to(torch.complex128)
        noise = noise_variance.to(real)
        values = grid.values.to(real).minimum(LOUDEST * noise.reshape(-1, 1, 1, 1))
        gains = GainGrid(values, grid.log_weights.to(real))
        return cls(received, noise, dense, gains, prior.to(y.device, real))

    def select(self, frames: Tensor) -> Setting:
        """The same for some of the frames."""
        grid = GainGrid(self.grid.values[frames], self.grid.log_weights)
        return Setting(self.received[frames], self.noise[frames], self.pilots, grid, self.prior)

    def field(self, choices: Tensor) -> tuple[Field, Tensor]:
        """The field of `choices` (see `ascend`), and log p(Y) + log P(choices) [S]."""
        gains = torch.zeros_like(self.grid.values[..., :1]).expand(-1, -1, -1, self.pilots.shape[1]).clone()
        pilot, amount = self.sent(choices)
        gains.scatter_(-1, pilot[:, None, :, None].expand(-1, gains.shape[1], -1, 1), amount.unsqueeze(-1))
        field, fit = Field.of(self.received, self.pilots, self.noise, gains)
        size = self.grid.values.shape[-1]
        active = choices > 0
        weights = self.grid.log_weights.expand(size)[(choices - 1).clamp_min(0) % size]
        chance = torch.where(active, self.prior.each + weights, self.prior.silent)
        return field, fit + chance.sum(dim=-1)

    def sent(self, choices: Tensor) -> tuple[Tensor, Tensor]:
        """Pilot [S, N], 0 … Q - 1, and gain [S, B, N] (0 where nothing is sent) of `choices`."""
        size = self.grid.values.shape[-1]
        place = (choices - 1).clamp_min(0)
        at = (place % size)[:, None, :, None].expand(-1, self.grid.values.shape[1], -1, 1)
        amount = self.grid.values.gather(-1, at).squeeze(-1) * (choices > 0).unsqueeze(1)
        return place // size, amount

    def scores(self, field: Field, choices: Tensor) -> Tensor:
        """Log-posterior [S, N, 1 + Q G], not normalised, of each device's choice, the others' being `choices`."""
        gram, energy = field.without(*self.sent(choices))
        ratios = ratios_of(gram, energy, self.grid, field.antennas) + self.grid.log_weights
        silent = self.prior.silent.expand(ratios.shape[:2]).unsqueeze(-1)
        return torch.cat([silent, (ratios + self.prior.each[:, None, None]).flatten(-2)], dim=-1)

    def logits(self, scores: Tensor) -> Tensor:
        """Log-posterior [S, N, 1 + Q] of states: that of choices, summed over the gains."""
        size = self.grid.values.shape[-1]
        pilots = scores[..., 1:].reshape(*scores.shape[:-1], -1, size).logsumexp(dim=-1)
        return torch.cat([scores[..., :1], pilots], dim=-1)


def genie(setting: Setting, states: Tensor) -> Tensor:
    """Log-posterior [S, N, 1 + Q] of each device, the states of all others being known: `states` [S, N].

    No detector of one device at a time can do better, whatever it knows of the others. Gains must be certain (G = 1).
    """
    field, _ = setting.field(states)
    return setting.scores(field, states)


@dataclass(frozen=True, eq=False)
class Ascent:
    """Where an ascent ended.

    Attributes:
        choices: [S, N], see `ascend`.
        value: log p(Y) + log P(choices), [S].
        scores: log-posterior [S, N, 1 + Q G], not normalised, of each device's choice given the others'.
    """

    choices: Tensor
    value: Tensor
    scores: Tensor

    def better(self, other: Ascent) -> Ascent:
        """The more probable of two, frame by frame."""
        wins = other.value > self.value
        return Ascent(
            torch.where(wins[:, None], other.choices, self.choices),
            torch.where(wins, other.value, self.value),
            torch.where(wins[:, None, None], other.scores, self.scores),
        )


def ascend(setting: Setting, choices: Tensor, *, steps: int) -> Ascent:
    """Discrete coordinate ascent of the posterior, from `choices` [S, N].

    A choice is 0 (not active), or 1 + q G + k: pilot q sent with the gain k of those in question. In each step one
    device of each frame changes its choice, that which gains most; at most `steps` of them.
    """
    choices = choices.clone()
    left = torch.arange(len(choices), device=choices.device)
    field = setting.field(choices)[0] if (choices > 0).any() else _silent(setting)
    here, now = setting, choices.clone()
    for _ in range(steps):
        scores = here.scores(field, now)
        best, chosen = scores.max(dim=-1)
        gain = best - scores.gather(-1, now.unsqueeze(-1)).squeeze(-1)
        most, device = gain.max(dim=-1)
        moving = most > 1e-9
        if not moving.any():
            break
        if moving.sum() <= 0.75 * len(left):
            choices[left] = now
            left, now, here, field = left[moving], now[moving], here.select(moving), field.select(moving)
            chosen, device, moving = chosen[moving], device[moving], moving[moving]
        at = device.unsqueeze(-1)
        new = torch.where(moving.unsqueeze(-1), now.scatter(-1, at, chosen.gather(-1, at)), now)
        _move(here, field, now, new, device)
        now = new
    choices[left] = now
    field, value = setting.field(choices)
    return Ascent(choices, value, setting.scores(field, choices))


def _move(setting: Setting, field: Field, old: Tensor, new: Tensor, device: Tensor) -> None:
    """Let one `device` [S] of each frame change from its `old` choice [S, N] to its `new` one."""
    pick = device[:, None, None].expand(-1, setting.grid.values.shape[1], 1)
    for choices, sign in ((old, -1.0), (new, 1.0)):
        pilot, amount = setting.sent(choices)
        change = sign * amount.gather(-1, pick).squeeze(-1)
        if (change != 0).any():
            number = device * setting.pilots.shape[1] + pilot.gather(-1, device.unsqueeze(-1)).squeeze(-1)
            field.add(number, change)


def relaxed(setting: Setting, *, steps: int, tolerance: float) -> tuple[Tensor, Field]:
    """Maximum likelihood gains of all pilots at all stations, [S, B, N, Q], by coordinate ascent; and their field.

    No gain or prior is needed. Coordinate i moves by d = max((E_ii / A - C_ii) / C_ii^2, -g_i) at each station. A frame
    is done when no coordinate gains more than `tolerance` in log p(Y).
    """
    whole = _silent(setting)
    field = whole
    gains = torch.zeros(field.gram.shape[:-1], dtype=setting.noise.dtype, device=field.gram.device).flatten(-2)
    result, most_gain = gains.clone(), LOUDEST * setting.noise.max()
    left = torch.arange(len(gains), device=gains.device)
    for _ in range(steps):
        own, power = (each.diagonal(dim1=-2, dim2=-1).real.flatten(-2) for each in (field.gram, field.energy))
        own = own.clamp_min(torch.finfo(own.dtype).tiny)
        change = torch.maximum((power / field.antennas - own) / own.square(), -gains)
        change = change.minimum(most_gain - gains)
        load = 1 + change * own
        gain = (change * power / load - field.antennas * load.log()).sum(dim=1)
        most, index = gain.max(dim=-1)
        moving = most > tolerance
        if not moving.any():
            break
        if moving.sum() <= 0.75 * len(left):
            result[left] = gains
            _keep(whole, field, left)
            left, gains, field = left[moving], gains[moving], field.select(moving)
            change, index, moving = change[moving], index[moving], moving[moving]
        at = index[:, None, None].expand(-1, gains.shape[1], 1)
        step = change.gather(-1, at) * moving[:, None, None]
        gains = gains.scatter_add(-1, at, step).clamp_min(0)
        field.add(index, step.squeeze(-1))
    result[left] = gains
    _keep(whole, field, left)
    return result.reshape(whole.gram.shape[:-1]), whole


def relaxed_ratios(setting: Setting, gains: Tensor, field: Field) -> Tensor:
    """Log-likelihood ratio [S, N, Q, G] of each device's pilots to its silence, the others sending with `gains`."""
    gram, energy = removed(field.gram, field.energy, gains)
    return ratios_of(gram, energy, setting.grid, field.antennas) + setting.grid.log_weights


def _silent(setting: Setting) -> Field:
    return Field.silent(setting.received, setting.pilots, setting.noise)


def _keep(whole: Field, part: Field, frames: Tensor) -> None:
    """Write the frames of `part` back to where they came from."""
    if whole is part:
        return
    for name in ("inverse", "filtered", "gram", "energy"):
        getattr(whole, name)[frames] = getattr(part, name)
