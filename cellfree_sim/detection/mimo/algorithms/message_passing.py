"""Iterative detectors that pass Gaussian messages: AMP, OAMP, EP. Each returns scores [S, N, M]."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from cellfree_sim.detection.mimo.algorithms.common import (
    LEAST_VARIANCE,
    Alphabet,
    Statistics,
    apply,
    column_powers,
    diagonal,
    inverse_factor,
    level_moments,
    level_scores,
    real_form,
    solve_by,
    statistics,
)
from cellfree_sim.detection.mimo.algorithms.listing import ranked_by_list

LEAST_MESSAGE = 1e-5  # variance of a symbol of unit power: below it, float32 loses the cavity of EP
JUST_SEEN = 1e-6  # eigenvalues below this part of the largest are rounding
Moments: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def amp(
    y: Tensor,
    h: Tensor,
    noise_variance: Tensor,
    alphabet: Alphabet,
    *,
    iterations: int,
    damping: float,
    as_published: bool = False,
) -> Tensor:
    """Approximate message passing for large random channels (Jeon, Ghods, Maleki and Studer's LAMA).

    z = x + q,  (x, v) = moments of the points at z in noise s (1 + t),  q = u - G x + t' / (1 + t) q with
    t' = N / R mean(v) / s. It presumes columns of norm near 1 and independent entries: columns are scaled by the mean
    norm of a slot, so that only their ratio matters. The new message is mixed with `damping` of the old one. t starts
    from the prior's variance. Published curves are those of a start from 0 without the scale: a third more errors for
    64 x 16 at 13 dB.
    """
    antennas, users = h.shape[1:]
    known = statistics(y, h)
    scale = diagonal(known.gram).mean(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    if as_published:
        scale = torch.ones_like(scale)
    gram, matched = known.gram / scale.unsqueeze(-1), known.matched / scale
    noise = noise_variance.unsqueeze(-1) / scale
    load = users / antennas
    residual = matched
    mean = torch.zeros_like(matched)
    excess = torch.zeros_like(noise) if as_published else load * alphabet.power / noise
    for _ in range(iterations):
        new, spread = alphabet.moments(mean + residual, noise * (1 + excess))
        new_excess = load * spread.mean(dim=-1, keepdim=True) / noise
        mean = torch.lerp(new, mean, damping) if damping else new
        onsager = (new_excess / (1 + excess)).unsqueeze(-1) * torch.view_as_real(residual)
        new_residual = matched - apply(gram, mean) + torch.view_as_complex(onsager)
        residual = torch.lerp(new_residual, residual, damping) if damping else new_residual
        excess = torch.lerp(new_excess, excess, damping)
    return alphabet.scores(mean + residual, (noise * (1 + excess)).expand_as(mean.real))


class OrthogonalFilters:
    """The LMMSE filters of orthogonal AMP for all iterations, from one eigendecomposition G = V diag(l) V^H.

    There the filter for symbols of error variance v is w = v / (v l + s), scaled to mean(w l) = 1. v is measured, from
    the energy that x leaves of y within the range of H, which float32 can tell even where it is far below the energy
    of y.

    Attributes:
        value: l, [S, N].
        noise: s, [S, 1].
        zero: no symbol at all, complex64 [S, N].
    """

    def __init__(self, y: Tensor, h: Tensor, noise_variance: Tensor) -> None:
        gram, matched = statistics(y, h)
        value, vector = torch.linalg.eigh(gram)
        self.value = value.clamp_min(0)
        self.noise = noise_variance.unsqueeze(-1)
        self.zero = torch.zeros_like(matched)
        seen = self.value > JUST_SEEN * self.value[:, -1:]
        self._vector, self._adjoint = vector.contiguous(), vector.mH.contiguous().resolve_conj()
        self._received = apply(self._adjoint, matched)
        self._inverse = torch.where(seen, 1 / self.value, 0)
        self._noise_energy = seen.sum(dim=-1, keepdim=True) * self.noise
        self._energy = self.value.sum(dim=-1, keepdim=True)

    def around(self, mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """V w (V^H u - l V^H x) for x = `mean` [S, N], the weights w [S, N], and the error variance v of x [S, 1]."""
        parts = torch.view_as_real(apply(self._adjoint, mean))
        residual = torch.view_as_real(self._received) - self.value.unsqueeze(-1) * parts
        left = (residual.square().sum(dim=-1) * self._inverse).sum(dim=-1, keepdim=True)
        spread = ((left - self._noise_energy) / self._energy).clamp_min(LEAST_VARIANCE)
        weight = spread / (spread * self.value + self.noise)
        weight = weight / (weight * self.value).mean(dim=-1, keepdim=True)
        return apply(self._vector, torch.view_as_complex(weight.unsqueeze(-1) * residual)), weight, spread


def oamp(y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet, *, iterations: int) -> Tensor:
    """Orthogonal AMP (Ma and Ping) with LMMSE filters and the posterior mean, the form that OAMPNet unfolds.

    The estimate x + V w (V^H u - l V^H x) has the error variance mean((1 - w l)^2) v + mean(w^2 l) s; see
    `OrthogonalFilters` for V, w, l and v.
    """
    filters = OrthogonalFilters(y, h, noise_variance)
    mean, noise = filters.zero, filters.noise
    estimate, error = mean, mean.real
    for step in range(iterations):
        correction, weight, spread = filters.around(mean)
        estimate = mean + correction
        passed = weight * filters.value
        error = (spread * (1 - passed).square() + noise * weight * passed).mean(dim=-1, keepdim=True)
        error = error.clamp_min(LEAST_VARIANCE)
        if step < iterations - 1:
            mean, _ = alphabet.moments(estimate, error)
    return alphabet.scores(estimate, error.expand_as(mean.real))


def expectation_propagation(
    y: Tensor,
    h: Tensor,
    noise_variance: Tensor,
    alphabet: Alphabet,
    *,
    iterations: int,
    damping: float,
    form: Literal["real", "circular"] = "real",
    undecided: int = 0,
) -> Tensor:
    """Expectation propagation (Céspedes, Olmos, Sánchez-Fernández and Pérez-Cruz, 2014), damped.

    Each part of a symbol has a Gaussian message of precision a and weighted mean b. The joint Gaussian of y and all
    messages has the covariance C = (G / s + diag(a))^-1 and the mean C (u / s + b). What it says of a part without
    that part's own message (the cavity), together with the points, gives the part a mean and a variance; the new
    message is the one with which a Gaussian cavity would have both. A message with negative precision is not taken.
    `damping` is the weight of the old message.

    In the real form (square QAM only) the two parts of a symbol have messages of their own; in the circular form,
    which other points always get, they share one precision.

    With square QAM it may end with a list, of the two likeliest levels of the `undecided` parts that it is least sure
    of (see `ranked_by_list`): the scores of the list and those of the cavities are then averaged.
    """
    known, levels = statistics(y, h), alphabet.levels
    if levels is None or form == "circular":
        found = _propagate(known, noise_variance, alphabet.power, alphabet.moments, iterations, damping)
        if levels is None or not undecided:
            return alphabet.scores(found.cavity, found.spread)
        known, found = real_form(known), found.in_parts()
    else:
        known, moments = real_form(known), partial(level_moments, levels=levels)
        found = _propagate(known, 0.5 * noise_variance, 0.5 * alphabet.power, moments, iterations, damping)
    parts = level_scores(found.cavity, found.spread, levels)
    if undecided:
        ranked = ranked_by_list(known, noise_variance, found.mean, found.covariance, parts, levels, undecided)
        parts = 0.5 * (ranked + parts)
    users = h.shape[-1]
    return alphabet.joined(parts[:, :users], parts[:, users:])


class _Propagated(NamedTuple):
    """The last iteration: means and variances [S, N] of its cavities, mean and covariance over s of the posterior.

    Of the covariance T^H T it has `factor` T [S, N, N].
    """

    cavity: Tensor
    spread: Tensor
    mean: Tensor
    factor: Tensor

    @property
    def covariance(self) -> Tensor:
        return self.factor.mH @ self.factor

    def in_parts(self) -> _Propagated:
        """What was found in the circular form, of real parts, then imaginary parts."""
        factor, mean = real_form(Statistics(self.factor, self.mean))
        cavity = torch.cat([self.cavity.real, self.cavity.imag], dim=-1)
        return _Propagated(cavity, 0.5 * self.spread.repeat(1, 2), mean, factor)


def _propagate(
    known: Statistics, noise_variance: Tensor, power: float, moments: Moments, iterations: int, damping: float
) -> _Propagated:
    """So many iterations of expectation propagation; the first starts from messages of the prior's power."""
    matched, loaded_gram = known.matched, known.gram.clone()
    on_diagonal = loaded_gram.diagonal(dim1=-2, dim2=-1)
    own_gram = on_diagonal.clone()
    noise = noise_variance.unsqueeze(-1)
    precision = torch.full_like(matched.real, 1 / power)
    weighted = torch.zeros_like(matched)
    least = LEAST_MESSAGE * power
    step = 0
    while True:
        on_diagonal.copy_(own_gram + noise * precision)
        factor = inverse_factor(loaded_gram)
        mean = solve_by(factor, matched + noise * weighted)
        own = noise * column_powers(factor)
        spread = own / (1 - own * precision).clamp_min(1e-6)
        cavity = spread * (mean / own - weighted)
        spread = spread.clamp_min(least)
        step += 1
        if step == iterations:
            return _Propagated(cavity, spread, mean, factor)
        centre, variance = moments(cavity, spread)
        variance = variance.clamp_min(least)
        new = 1 / variance - 1 / spread
        taken = new > 0
        step_size = (1 - damping) * taken
        precision = torch.lerp(precision, new, step_size)
        weighted = weighted + step_size * (centre / variance - cavity / spread - weighted)
