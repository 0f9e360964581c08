"""Receivers of spreading codebooks that estimate symbols: matched filter, MMSE, cancellation, and an informed one.

Each user sends signature times symbol; a symbol is zero where the user is silent. An estimate z = x + error of a
symbol, the error circular of known variance, gives each answer the score -|z - x|^2 / variance + ln P.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cellfree_sim.detection.noma.algorithms.common import IMPOSSIBLE
from cellfree_sim.detection.noma.algorithms.gaussian import LEAST, Coordinates, squared, variances

Order = Literal["sinr", "power", "reliability"]
UNTOLD = -1e6  # score of what an oracle denies
SURE = 1e-9  # least precision of an estimate, relative to the prior's


def extrinsic(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate and its error variance without the prior (zero mean, unit variance), from posterior moments.

    1 / v' = 1 / v - 1 and z / v' = x / v.
    """
    precision = (1 / variance - 1).clamp_min(SURE)
    return mean / (variance * precision), 1 / precision


def _scores(estimate: Tensor, variance: Tensor, points: Tensor, log_prior: Tensor) -> Tensor:
    """Scores [..., A, S] of points [..., A] (or [..., A, S]) for estimates [..., S]."""
    distance = squared(estimate.unsqueeze(-2) - points)
    found: Tensor = log_prior - distance / variance.unsqueeze(-2)
    return found


def matched_filter(y: Tensor, h: Tensor, noise_variance: Tensor, code: Coordinates) -> Tensor:
    """Each user by itself, the others as noise of the power that they have in its filter: scores [S, N, A]."""
    antennas = h.shape[-1] // code.basis.shape[-1]
    columns = h * code.basis[:, 0].repeat(1, antennas)
    received = y - (h * code.mean.repeat(1, antennas)).sum(dim=1)
    gram = columns.conj() @ columns.mT
    power = gram.diagonal(dim1=-2, dim2=-1).real.clamp_min(torch.finfo(torch.float32).tiny)
    estimate = (columns.conj() @ received.unsqueeze(-1)).squeeze(-1) / power
    leak = squared(gram).sum(dim=-1) - power.square()
    variance = (leak.clamp_min(0) / power + noise_variance.unsqueeze(-1)) / power
    distance = squared(estimate.unsqueeze(-1) - code.values[..., 0])
    found: Tensor = code.log_prior - distance / variance.unsqueeze(-1)
    return found


def mmse(y: Tensor, h: Tensor, noise_variance: Tensor, code: Coordinates) -> Tensor:
    """The linear estimate of least mean square error, without its bias: scores [S, N, A]."""
    mean, covariance = code.posterior(y, h, noise_variance)
    estimate, variance = extrinsic(mean, variances(covariance))
    found = _scores(estimate, variance, code.values[..., :1], code.log_prior.unsqueeze(-1))
    return found.movedim(-1, 0)


def successive(y: Tensor, h: Tensor, noise_variance: Tensor, code: Coordinates, *, order: Order) -> Tensor:
    """MMSE estimates, one user decided (maybe for silence) and cancelled after the other: scores [S, N, A].

    Next is the user with the highest signal to interference and noise after the filter, if it sends (`sinr`), of the
    highest received power (`power`), or with the most probable decision (`reliability`). To cancel is to condition the
    joint posterior on the symbol decided.
    """
    mean, covariance = code.posterior(y, h, noise_variance)
    users, slots = mean.shape
    points, prior = code.values[..., 0], code.log_prior.unsqueeze(-1)
    result = mean.real.new_empty(users, points.shape[1], slots)
    left = torch.ones(users, slots, dtype=torch.bool, device=y.device)
    strength = _powers(h, code).mT if order == "power" else None
    sending = code.sending.unsqueeze(-1)
    every = torch.arange(slots, device=y.device)
    for _ in range(users):
        own = variances(covariance)
        estimate, variance = extrinsic(mean, own)
        if order == "reliability":
            now = _scores(estimate, variance, points.unsqueeze(-1), prior)
            merit = now.log_softmax(dim=1).amax(dim=1)
        else:
            merit = (1 / own - 1) / sending if strength is None else strength
        user = torch.where(left, merit, -torch.inf).argmax(dim=0)
        alone = _scores(estimate[user, every], variance[user, every], points[user].mT, code.log_prior[user].mT)
        result[user, :, every] = alone.mT
        left[user, every] = False
        symbol = points[user, alone.argmax(dim=0)]
        mean, covariance = conditioned(mean, covariance, user, symbol)
    return result.movedim(-1, 0)


def conditioned(mean: Tensor, covariance: Tensor, user: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior given the `value` [S] of one coordinate, `user` [S], of each slot."""
    at = user.expand(1, len(mean), -1)
    column = covariance.gather(1, at.movedim(0, 1)).squeeze(1)  # E[:, user], [J, S]
    own = column.gather(0, user.unsqueeze(0)).real.clamp_min(LEAST)
    gain = column / own
    mean = mean + gain * (value - mean.gather(0, user.unsqueeze(0)))
    return mean, covariance - gain.unsqueeze(1) * column.conj().unsqueeze(0)


def _powers(h: Tensor, code: Coordinates) -> Tensor:
    """Received energy of each user when it sends [S, N]."""
    antennas = h.shape[-1] // code.basis.shape[-1]
    return squared(h * code.basis[:, 0].repeat(1, antennas)).sum(dim=-1) / code.sending


def oracle_least_squares(y: Tensor, h: Tensor, noise_variance: Tensor, code: Coordinates) -> Tensor:
    """Symbols of the active users (those whose channel is not zero) by least squares: scores [S, N, A].

    The solution of least norm where more are active than there are samples; in double precision.
    """
    antennas = h.shape[-1] // code.basis.shape[-1]
    columns = (h * code.basis[:, 0].repeat(1, antennas)).to(torch.complex128)
    outer = columns.mT @ columns.conj()  # [S, R, R]
    scale = outer.diagonal(dim1=-2, dim2=-1).real.mean(dim=-1)
    loading = (1e-10 * scale + torch.finfo(torch.float64).tiny)[:, None, None]
    eye = torch.eye(y.shape[-1], dtype=outer.dtype, device=y.device)
    inner = torch.linalg.solve(outer + loading * eye, y.to(torch.complex128).unsqueeze(-1))
    estimate = (columns.conj() @ inner).squeeze(-1).to(torch.complex64)
    power = squared(columns).sum(dim=-1).float()
    points = code.values[..., 0] + (code.mean * code.basis[:, 0].conj()).sum(dim=-1, keepdim=True) / squared(
        code.basis[:, 0]
    ).sum(dim=-1, keepdim=True)
    found = -squared(estimate.unsqueeze(-1) - points) * (power / noise_variance.unsqueeze(-1)).unsqueeze(-1)
    found = torch.where(code.log_prior > IMPOSSIBLE, found, IMPOSSIBLE)
    if not code.silence:
        return found
    active = (power > 0).unsqueeze(-1)
    silent = torch.arange(found.shape[-1], device=y.device) == found.shape[-1] - 1
    return torch.where(active == silent, UNTOLD, found)
