"""Iterative detectors that pass Gaussian messages: AMP, OAMP, EP. Each returns scores [S, N, M]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from cellfree_sim.detection.mimo.algorithms.common import (
    LEAST_VARIANCE,
    Alphabet,
    Statistics,
    apply,
    diagonal,
    inverse,
    level_moments,
    level_scores,
    loaded,
    real_form,
    statistics,
)

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
        new, spread = alphabet.moments(mean + residual, (noise * (1 + excess)).expand_as(mean.real))
        new_excess = load * spread.mean(dim=-1, keepdim=True) / noise
        mean = damping * mean + (1 - damping) * new
        new_residual = matched - apply(gram, mean) + new_excess / (1 + excess) * residual
        residual = damping * residual + (1 - damping) * new_residual
        excess = damping * excess + (1 - damping) * new_excess
    return alphabet.scores(mean + residual, (noise * (1 + excess)).expand_as(mean.real))


def oamp(y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet, *, iterations: int) -> Tensor:
    """Orthogonal AMP (Ma and Ping) with LMMSE filters and the posterior mean, the form that OAMPNet unfolds.

    One eigendecomposition G = V diag(l) V^H serves all iterations: there the filter for symbols of error variance v is
    w = v / (v l + s), scaled to mean(w l) = 1, and the estimate x + V w (V^H u - l V^H x) has the error variance
    mean((1 - w l)^2) v + mean(w^2 l) s. v is measured, from the energy that x leaves of y within the range of H, which
    float32 can tell even where it is far below the energy of y.
    """
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
    estimate, error = mean, mean.real
    for step in range(iterations):
        residual = received - value * apply(vector.mH, mean)
        left = torch.where(seen, residual / root, 0).abs().square().sum(dim=-1, keepdim=True)
        spread = ((left - dimensions * noise) / energy).clamp_min(LEAST_VARIANCE)
        weight = spread / (spread * value + noise)
        weight = weight / (weight * value).mean(dim=-1, keepdim=True)
        estimate = mean + apply(vector, weight * residual)
        passed = weight * value
        error = (spread * (1 - passed).square() + noise * weight * passed).mean(dim=-1, keepdim=True)
        error = error.clamp_min(LEAST_VARIANCE).expand_as(mean.real)
        if step < iterations - 1:
            mean, _ = alphabet.moments(estimate, error)
    return alphabet.scores(estimate, error)


def expectation_propagation(
    y: Tensor,
    h: Tensor,
    noise_variance: Tensor,
    alphabet: Alphabet,
    *,
    iterations: int,
    damping: float,
    form: Literal["real", "circular"] = "real",
) -> Tensor:
    """Expectation propagation (Céspedes, Olmos, Sánchez-Fernández and Pérez-Cruz, 2014), damped.

    Each part of a symbol has a Gaussian message of precision a and weighted mean b. The joint Gaussian of y and all
    messages has the covariance C = (G / s + diag(a))^-1 and the mean C (u / s + b). What it says of a part without
    that part's own message (the cavity), together with the points, gives the part a mean and a variance; the new
    message is the one with which a Gaussian cavity would have both. A message with negative precision is not taken.
    `damping` is the weight of the old message.

    In the real form (square QAM only) the two parts of a symbol have messages of their own; in the circular form,
    which other points always get, they share one precision.
    """
    known = statistics(y, h)
    if alphabet.levels is None or form == "circular":
        cavity = _propagate(known, noise_variance, alphabet.power, alphabet.moments, iterations, damping)
        return alphabet.scores(*cavity)
    levels = alphabet.levels
    estimate, variance = _propagate(
        real_form(known),
        0.5 * noise_variance,
        0.5 * alphabet.power,
        lambda mean, spread: level_moments(mean, spread, levels),
        iterations,
        damping,
    )
    users = h.shape[-1]
    parts = level_scores(estimate, variance, levels)
    return alphabet.joined(parts[:, :users], parts[:, users:])


def _propagate(
    known: Statistics, noise_variance: Tensor, power: float, moments: Moments, iterations: int, damping: float
) -> tuple[Tensor, Tensor]:
    """Mean and variance [S, N] of the last iteration's cavities."""
    gram, matched = known
    noise = noise_variance.unsqueeze(-1)
    precision = torch.full_like(matched.real, 1 / power)
    weighted = torch.zeros_like(matched)
    least = LEAST_MESSAGE * power
    cavity, spread = matched, matched.real
    for step in range(iterations):
        covariance = inverse(loaded(gram, noise * precision))
        mean = apply(covariance, matched + noise * weighted)
        own = noise * diagonal(covariance)
        spread = own / (1 - own * precision).clamp_min(1e-6)
        cavity = spread * (mean / own - weighted)
        spread = spread.clamp_min(least)
        if step == iterations - 1:
            break
        centre, variance = moments(cavity, spread)
        variance = variance.clamp_min(least)
        new = 1 / variance - 1 / spread
        taken = new > 0
        step_size = (1 - damping) * taken
        precision = torch.lerp(precision, new, step_size)
        weighted = weighted + step_size * (centre / variance - cavity / spread - weighted)
    return cavity, spread
