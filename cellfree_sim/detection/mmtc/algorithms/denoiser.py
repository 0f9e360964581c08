"""What a pilot in Gaussian noise says about the state of its device: posteriors, and the estimates they give.

Message passing turns y = S X + noise into z_i = x_i + CN(0, t I) for the row x_i of each pilot i = (n, q). Antennas of
one station share the gain b of a device and the variance t, so that all that counts of z_i is its energy
e = ||z_i||^2 at each station. The log-likelihood ratio of "sent" to "not sent" is, summed over the stations with A
antennas each,

    L_q = sum (e_q c - A log(1 + b / t)),   c = b / (t (b + t)),

and the estimate of x_i is w z_i, w = P(q) b / (b + t). The prior of a device's states is P(0) = 1 - a, P(q) = a / Q:

* by sections (exact): P(q) = softmax over the states 0 … Q of the device, since it sends at most one pilot;
* by elements: P(q) = sigmoid(L_q + log(a / (Q - a))), each pilot for itself.

Where the receiver does not know b, it has a grid of G values with prior weights, and w is the posterior mean over it.
All is written with log-odds: nothing overflows, and gradients are finite.

Shape letters: S frames, B stations, N devices, Q pilots of a device, G gains in question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from cellfree_sim.uplink.mmtc import MmtcProblem


NEGLIGIBLE = 1e-10
"""Probabilities below this are 0: otherwise damping makes denormal numbers of them, on which processors crawl."""


class Prior(NamedTuple):
    """What is known beforehand.

    Attributes:
        silent: log-probability that a device is not active, float32 [N].
        each: log-probability of each of its pilots, float32 [N].
        element: log-odds of one pilot, the others left out of sight, float32 [N].
    """

    silent: Tensor
    each: Tensor
    element: Tensor

    @classmethod
    def of(cls, problem: MmtcProblem) -> Prior:
        """The prior of the devices of `problem`."""
        activity = problem.activities().double()
        share = activity / problem.per_device
        values = ((1 - activity).log(), share.log(), (share / (1 - share)).log())
        return cls(*(each.float() for each in values))

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Prior:
        """The same on another device, or in another precision."""
        return Prior(*(value.to(device, dtype) for value in self))


class GainGrid(NamedTuple):
    """Gains in question: `values` [S, B, N, G] and log-weights [G] (or [S, 1, N, 1, G]-broadcastable), sum 1."""

    values: Tensor
    log_weights: Tensor

    @classmethod
    def known(cls, gains: Tensor) -> GainGrid:
        """Gains [S, N] or [S, N, B] that are certain."""
        values = gains.unsqueeze(1) if gains.ndim == 2 else gains.transpose(1, 2)
        return cls(values.unsqueeze(-1), gains.new_zeros(1))


class Denoised(NamedTuple):
    """What a denoiser gives.

    Attributes:
        ratios: L_q, averaged over the gains in question, [S, N, Q].
        weight: w of each pilot at each station, [S, B, N, Q].
        slope: dw / de, [S, B, N, Q].
    """

    ratios: Tensor
    weight: Tensor
    slope: Tensor


def denoise(
    energy: Tensor, grid: GainGrid, variance: Tensor, prior: Prior, *, antennas: int, sections: bool
) -> Denoised:
    """Posterior mean from energies e [S, B, N, Q] in noise of variances t [S, B]; A `antennas` at each station."""
    terms = _Terms(energy, grid, variance, antennas)
    ratios = terms.ratios
    chance = section_posterior(ratios, prior) if sections else (ratios + prior.element[:, None]).sigmoid()
    chance = torch.nn.functional.threshold(chance, NEGLIGIBLE, 0.0).unsqueeze(1)
    shrink, pull, together = terms.means()
    weight = chance * shrink
    return Denoised(ratios, weight, weight * (1 - chance) * pull + chance * together)


def log_ratios(energy: Tensor, grid: GainGrid, variance: Tensor, *, antennas: int) -> Tensor:
    """L_q [S, N, Q] alone, for gains averaged over the grid; see `denoise`."""
    return _Terms(energy, grid, variance, antennas).ratios


def section_posterior(ratios: Tensor, prior: Prior) -> Tensor:
    """P(q) [S, N, Q] of the pilots of each device: the softmax of `state_logits` but for state 0."""
    odds = ratios + (prior.each - prior.silent)[:, None]
    top = odds.detach().amax(dim=-1, keepdim=True).clamp_min(0)  # softmax itself is slow over so few entries
    weights = (odds - top).exp()
    return weights / (weights.sum(dim=-1, keepdim=True) + (-top).exp())


def state_logits(ratios: Tensor, prior: Prior) -> Tensor:
    """Log-posterior [S, N, 1 + Q], not normalised, of the states of devices, from L_q [S, N, Q]."""
    silent = prior.silent.expand(ratios.shape[:2]).unsqueeze(-1)
    return torch.cat([silent, ratios + prior.each[:, None]], dim=-1)


class _Terms:
    """L_q, and means over the gains in question.

    Terms that all gains have in common may be a million, and differences between gains a part of one: they are kept
    apart, since c = 1 / t - 1 / (b + t).
    """

    def __init__(self, energy: Tensor, grid: GainGrid, variance: Tensor, antennas: int) -> None:
        gain = grid.values.unsqueeze(-2)  # [S, B, N, 1, G]
        noise = variance[..., None, None, None]
        self._shrink = gain / (gain + noise)
        self._rest = 1 / (gain + noise)
        self._pull = self._shrink / noise
        self.certain = gain.shape[-1] == 1
        if self.certain:
            own = energy * self._pull.squeeze(-1) - antennas * torch.log1p(gain / noise).squeeze(-1)
            self.ratios = own.sum(dim=1)
            return
        each = -energy.unsqueeze(-1) * self._rest - antennas * torch.log1p(gain / noise)
        joint = each.sum(dim=1) + grid.log_weights  # [S, N, Q, G]
        self._share = joint.softmax(dim=-1).unsqueeze(1)
        self.ratios = (energy / variance[..., None, None]).sum(dim=1) + joint.logsumexp(dim=-1)

    def means(self) -> tuple[Tensor, Tensor, Tensor]:
        """Given q: the means of b / (b + t) and of c, and how the former changes with e; [S, B, N, Q], or 1 for Q."""
        if self.certain:
            shrink, pull = self._shrink.squeeze(-1), self._pull.squeeze(-1)
            return shrink, pull, torch.zeros_like(shrink)
        shrink, pull = ((self._share * each).sum(dim=-1) for each in (self._shrink, self._pull))
        rest = (self._share * self._rest).sum(dim=-1, keepdim=True)
        spread = self._share * (self._shrink - shrink.unsqueeze(-1)) * (rest - self._rest)
        return shrink, pull, spread.sum(dim=-1)
