"""Weighted minimum mean square error (WMMSE) beamforming, realisation by realisation, for the rates of `rates`.

The standard algorithm (Christensen et al., "Weighted sum-rate maximization using weighted MMSE for MIMO-BC beamforming
design", 2008; Shi et al., "An iteratively weighted MMSE approach to distributed sum-utility maximization for a MIMO
interfering broadcast channel", 2011), derived here for joint transmission by several stations, one stream per user and
subcarrier, and one power budget per station over all subcarriers.

**Model.** On subcarrier n, user i receives g_nij = sum_b (H_ni^b)^H w_nj^b of the signal for user j, in noise of power
1. A linear receiver u estimates the user's symbol with the mean square error

    e_ni(u, w) = |1 - u^H g_nii|^2 + sum_{j != i} |u^H g_nij|^2 + |u|^2.

Its minimum is at the MMSE receiver u_ni = (A_ni + g_nii g_nii^H)^-1 g_nii = A_ni^-1 g_nii / (1 + q_ni), with
q_ni = g_nii^H A_ni^-1 g_nii, and equals 1 / (1 + q_ni): the user's rate (3) is -sum_n log2 e_ni.

**Equivalence.** As log e = min over m > 0 of m e - log m - 1, with the minimum at m = 1 / e, maximising the sum rate is
minimising F(w, u, m) = sum_{n,i} (m_ni e_ni(u, w) - log m_ni) under the power budgets. Given w, the best u and m are in
closed form (m_ni = 1 + q_ni), and there F = const - ln 2 sum_i r_i.

**Beams of one station.** With a_ni^b = H_ni^b u_ni, u_ni^H g_nij = sum_b (a_ni^b)^H w_nj^b, and F is, in the beams of
station b with all else fixed, the convex quadratic

    sum_{n,j} (w_nj^b)^H Q_n w_nj^b - 2 Re (c_nj)^H w_nj^b + const,
    Q_n = sum_i m_ni a_ni^b (a_ni^b)^H,    c_nj = m_nj a_nj^b - sum_i m_ni a_ni^b sum_{d != b} (a_ni^d)^H w_nj^d.

The second part of c is what the other stations already contribute to the same sums: transmission is coherent. Under
sum_{n,j} |w_nj^b|^2 <= 1 the minimum is w_nj^b = (Q_n + mu I)^-1 c_nj, with mu = 0 where that is within the budget, and
otherwise the mu > 0 at which the budget is met, found by bisection: with Q_n = V diag(lambda) V^H the power,
sum_{n,t} (sum_j |V^H c_nj|_t^2) / (lambda_nt + mu)^2, falls with mu.

One iteration updates u and m, then the beams of station b, for b = 1 to B in turn. No update can increase F, so the sum
rate never falls, and limit points are stationary (block coordinate descent with separable constraints). The problem is
not convex: which stationary point is reached depends on the start, and a stream without power never gets any again.

**Longer steps.** Steps get short as rates get high (1 / m is the room left for improvement). So each iteration also
tries the point further along the way it went, scaled back into the budgets, and takes it only where its sum rate is
higher; the length is doubled after a success and divided by four after a failure. This keeps both properties. On the
channels of `scenarios/quickstart.yaml` it halves the iterations, to about 17; where noise is 75 dB lower, at more than
100 bit/s/Hz on each subcarrier, more than a thousand are still needed, and the default number ends early.

Letters: S realisations, B stations, N subcarriers, T transmit antennas, I (or J) users, R receive antennas.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from cellfree_sim.downlink.mrt import matched_beams
from cellfree_sim.downlink.rates import interference_covariance, solve, station_power
from cellfree_sim.downlink.zero_forcing import greedy_allocation, zero_forcing_beams

Start = Literal["matched", "gsa-zf", "random"]

CHUNK = 100  # realisations at a time
SWITCHED_OFF = 1e-6  # of a station's budget
START_NOISE = 0.02  # of the amplitude of the budget, so that no stream is without power at the start
_HALVINGS = 60
_SHORTEST = 1.0  # extrapolation, in units of the step just made
_NULL = 1e-13  # eigenvalues of Q below this part of the largest are rounding errors of zero


class _Point(NamedTuple):
    """Beams, and what is best given them.

    Attributes:
        beams: w, [S, N, B, T, J].
        receivers: u, [S, N, I, R].
        weights: m, [S, N, I].
        rate: sum rate, [S].
    """

    beams: Tensor
    receivers: Tensor
    weights: Tensor
    rate: Tensor


def wmmse(
    channel: Tensor, *, seed: int, iterations: int, tolerance: float, start: Start
) -> tuple[Tensor, Tensor, Tensor]:
    """Beams, allocation and the way there.

    Args:
        channel: H [S, B, N, T, I, R], scaled so that noise and budgets are 1.
        seed: of whatever is random in the start.
        iterations: at most; each updates all stations once.
        tolerance: a realisation is done when an iteration raises its sum rate by no more than this part of it.
        start: beams matched to all users, or greedy zero-forcing, with a little noise; or noise alone.

    Returns:
        w [S, B, N, T, I], v [S, B, N, I], 0 or 1 (streams with next to no power are switched off), and the sum rate
        before the first and after each iteration, [S, iterations + 1] float64 (constant once a realisation is done).
        Given their starts, realisations are solved each by itself.
    """
    generator = torch.Generator(device=channel.device).manual_seed(seed % 2**63)
    beams = _started(channel, generator, start)
    history = torch.zeros(len(channel), iterations + 1, dtype=torch.float64, device=channel.device)
    for first in range(0, len(channel), CHUNK):
        chunk = slice(first, first + CHUNK)
        beams[chunk], history[chunk] = _solved(channel[chunk], beams[chunk], iterations, tolerance)
    served = (beams.abs().square().sum(-2) > SWITCHED_OFF).to(channel.real.dtype)
    return (beams * served.unsqueeze(-2)).to(channel.dtype), served, history


def _started(channel: Tensor, generator: torch.Generator, start: Start) -> Tensor:
    """Beams [S, B, N, T, I] complex128, each station at its budget."""
    s, b, n, t, i, _ = channel.shape
    noise = torch.randn(s, b, n, t, i, generator=generator, dtype=torch.complex128, device=channel.device)
    if start == "random":
        beams = noise
    elif start == "matched":
        beams = matched_beams(channel, greedy_allocation(channel, i)) + START_NOISE * noise
    else:
        allocation = greedy_allocation(channel, 1)
        beams = zero_forcing_beams(channel, allocation) + START_NOISE * noise
    power = station_power(beams, torch.ones(s, b, n, i, dtype=torch.float64, device=channel.device))
    return beams / power.sqrt()[..., None, None, None]


def _solved(channel: Tensor, beams: Tensor, iterations: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """Beams in the shape of the argument, and sum rates [S, iterations + 1]."""
    h = channel.to(torch.complex128).permute(0, 2, 1, 3, 4, 5)  # [S, N, B, T, I, R]
    point = _at(h, beams.permute(0, 2, 1, 3, 4))
    history = point.rate[:, None].repeat(1, iterations + 1)
    found = torch.empty_like(point.beams)
    going = torch.arange(len(h), device=h.device)  # realisations not yet done
    length = torch.full_like(point.rate, _SHORTEST)
    for iteration in range(1, iterations + 1):
        swept = _at(h, _swept(h, point))
        ahead = swept.beams + length[:, None, None, None, None] * (swept.beams - point.beams)
        tried = _at(h, _within_budget(ahead))
        better = tried.rate > swept.rate
        length = torch.where(better, 2 * length, (length / 4).clamp_min(_SHORTEST))
        reached = _Point(*(_where(better, a, b) for a, b in zip(tried, swept, strict=True)))
        history[going, iteration:] = reached.rate[:, None]
        done = reached.rate - point.rate <= tolerance * reached.rate
        point = reached
        if done.any():
            found[going[done]] = point.beams[done]
            going, h, length = going[~done], h[~done], length[~done]
            point = _Point(*(part[~done] for part in point))
        if not len(going):
            break
    found[going] = point.beams
    return found.permute(0, 2, 1, 3, 4), history


def _where(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(condition.reshape(-1, *[1] * (yes.dim() - 1)), yes, no)


def _within_budget(w: Tensor) -> Tensor:
    """Beams [S, N, B, T, J], scaled down where a station's take more than its budget."""
    power = w.abs().square().sum((1, 3, 4), keepdim=True)
    return w / power.clamp_min(1.0).sqrt()


def _at(h: Tensor, w: Tensor) -> _Point:
    """The point with beams w."""
    s, n, b, t, i, r = h.shape
    received = (h.reshape(s, n, b * t, i * r).mH @ w.reshape(s, n, b * t, i)).reshape(s, n, i, r, i)
    own = torch.arange(i, device=h.device)
    wanted = received[:, :, own, :, own].permute(1, 2, 0, 3)
    interference = received.clone()
    interference[:, :, own, :, own] = 0
    filtered = solve(interference_covariance(interference, 1.0), wanted)
    q = (wanted.conj() * filtered).sum(-1).real
    return _Point(w, filtered / (1 + q).unsqueeze(-1), 1 + q, torch.log1p(q).sum((1, 2)) / math.log(2.0))


def _swept(h: Tensor, point: _Point) -> Tensor:
    """Beams after an update of each station in turn."""
    heard = torch.einsum("snbtir,snir->snbti", h, point.receivers)  # a
    reached = torch.einsum("snbti,snbtj->snbij", heard.conj(), point.beams)  # a_i^H w_j of each station
    beams = point.beams.clone()
    for b in range(h.shape[2]):
        a = heard[:, :, b]  # [S, N, T, I]
        weighted = a * point.weights.unsqueeze(2)
        others = reached.sum(2) - reached[:, :, b]
        beams[:, :, b] = _best_beams(weighted @ a.mH, weighted - weighted @ others)
        reached[:, :, b] = a.mH @ beams[:, :, b]
    return beams


def _best_beams(q: Tensor, c: Tensor) -> Tensor:
    """(Q_n + mu I)^-1 c_nj [S, N, T, J] with the smallest mu >= 0 that keeps the budget, from Q [S, N, T, T]."""
    s, n, t, _ = c.shape
    values, vectors = torch.linalg.eigh(q)  # [S, N, T], ascending
    rotated = vectors.mH @ c
    null = values <= _NULL * values[..., -1:].clamp_min(1e-300)
    values = values.masked_fill(null, 0.0)
    rotated = rotated.masked_fill(null.unsqueeze(-1), 0.0)  # c lies in the range of Q
    mu = _multiplier(values.reshape(s, n * t), rotated.abs().square().sum(-1).reshape(s, n * t))
    inverse = 1.0 / (values + mu[:, None, None]).masked_fill(null, 1.0)
    beams: Tensor = vectors @ (inverse.unsqueeze(-1) * rotated)
    return beams


def _multiplier(values: Tensor, powers: Tensor) -> Tensor:
    """The smallest mu >= 0 with sum_k powers_k / (values_k + mu)^2 <= 1, [S], by bisection from above.

    `powers` is 0 wherever `values` is.
    """
    safe = values.masked_fill(values == 0, 1.0)
    within = (powers / safe.square()).sum(-1) <= 1.0
    low, high = torch.zeros_like(within, dtype=values.dtype), powers.sum(-1).sqrt()
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        over = (powers / (safe + middle.unsqueeze(-1)).square()).sum(-1) > 1.0
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    return high.masked_fill(within, 0.0)
