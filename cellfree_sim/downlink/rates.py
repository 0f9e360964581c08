"""Achievable rates of coherent joint transmission, equations (2) to (5), and the power that beams take.

Shapes use these letters: S realisations, B stations, N subcarriers, T transmit antennas of a station, I (or J) users,
R receive antennas of a user.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_TINY = 1e-30


def user_rates(beams: Tensor, allocation: Tensor, channel: Tensor, noise_power: float = 1.0) -> Tensor:
    """Rate of every user, bit/s/Hz summed over subcarriers.

    r_i = sum_n log2 |I + S_ni A_ni^-1| (3), with g_nij = sum_b (H_ni^b)^H v_nj^b w_nj^b, S_ni = g_nii g_nii^H (4) and
    A_ni = sum_{j != i} g_nij g_nij^H + noise_power I (5). S has rank one, so the determinant is 1 + g^H A^-1 g, which
    has a closed form for R = 1 and 2; other R use a linear solve (the log-det form by the same lemma). All of
    it runs in float64, as sums of interference 70 dB above noise cancel in float32.

    Args:
        beams: w, [S, B, N, T, I] complex.
        allocation: v, [S, B, N, I] real.
        channel: H, [S, B, N, T, I, R] complex.
        noise_power: sigma^2 in the units of |H^H w|^2.

    Returns:
        [S, I], real, in the precision of `beams`. Differentiable once in all three tensors; gradients are finite
        everywhere, an allocation of zero included.

    >>> channel = torch.tensor([3.0 + 0j]).reshape(1, 1, 1, 1, 1, 1)          # one antenna everywhere, gain 9
    >>> user_rates(torch.ones(1, 1, 1, 1, 1) + 0j, torch.ones(1, 1, 1, 1), channel)     # log2(1 + 9)
    tensor([[3.3219]])
    """
    s, b, n, t, i, r = channel.shape
    wide = torch.complex128
    stacked_beams = (beams * allocation.unsqueeze(3)).to(wide).permute(0, 2, 1, 3, 4).reshape(s * n, b * t, i)
    stacked_channel = channel.to(wide).permute(0, 2, 1, 3, 4, 5).reshape(s * n, b * t, i * r)
    received = torch.bmm(stacked_channel.mH, stacked_beams).reshape(s, n, i, r, i)
    rates: Tensor = _RateOfReceived.apply(received, noise_power).sum(1)  # type: ignore[no-untyped-call]
    return rates.to(beams.real.dtype)


def sum_rate(beams: Tensor, allocation: Tensor, channel: Tensor, noise_power: float = 1.0) -> Tensor:
    """Sum of `user_rates` over users, [S], bit/s/Hz.

    >>> channel = torch.tensor([3.0 + 0j]).reshape(1, 1, 1, 1, 1, 1)
    >>> sum_rate(torch.ones(1, 1, 1, 1, 1) + 0j, torch.ones(1, 1, 1, 1), channel)
    tensor([3.3219])
    """
    return user_rates(beams, allocation, channel, noise_power).sum(-1)


def station_power(beams: Tensor, allocation: Tensor) -> Tensor:
    """Transmit power of each station, sum_{n,i} |v_ni^b w_ni^b|^2, the left side of (6c).

    Args:
        beams: [..., N, T, I] complex; the leading axes are usually S and B.
        allocation: [..., N, I] real.

    Returns:
        [...] real, in units of P_max.

    >>> station_power(torch.full((1, 1, 4, 2, 1), 0.5 + 0j), torch.ones(1, 1, 4, 1))
    tensor([[2.]])
    """
    per_link: Tensor = torch.view_as_real(beams).square().sum((-1, -3))
    return (per_link * allocation.square()).sum((-1, -2))


def project_to_budget(beams: Tensor, allocation: Tensor, budget: float = 1.0) -> Tensor:
    """Beams scaled down, station by station, where they take more than `budget`; others are returned as they are.

    >>> beams = project_to_budget(torch.full((1, 1, 4, 2, 1), 0.5 + 0j), torch.ones(1, 1, 4, 1))
    >>> round(float(station_power(beams, torch.ones(1, 1, 4, 1))), 6)
    1.0
    """
    power = station_power(beams, allocation)
    scale = (budget / power.clamp_min(_TINY)).clamp_max(1.0).sqrt()
    return beams * scale[..., None, None, None]


def served_rates(beams: Tensor, allocation: Tensor, channel: Tensor, rates: Tensor) -> Tensor:
    """The part of the sum rate that each station serves, [B], mean over realisations, bit/s/Hz.

    All stations serve a user together; the rate is divided among them as the power of the user's own signal is that it
    receives from each. The parts of all stations add up to the sum rate.

    Args:
        beams, allocation, channel: see `user_rates`.
        rates: of the users, [S, I], as `user_rates` gave them.

    >>> channel = torch.tensor([3.0 + 0j, 1.0 + 0j]).reshape(1, 2, 1, 1, 1, 1)
    >>> beams, allocation = torch.ones(1, 2, 1, 1, 1) + 0j, torch.ones(1, 2, 1, 1)
    >>> served_rates(beams, allocation, channel, torch.tensor([[5.0]]))        # gains 9 and 1
    tensor([4.5000, 0.5000])
    """
    sent = (beams * allocation.unsqueeze(3)).unsqueeze(-1)
    received = (channel.conj() * sent).sum(3)  # [S, B, N, I, R]
    power = torch.view_as_real(received).square().sum((-1, -2)).sum(2)  # [S, B, I]
    shares = power / power.sum(1, keepdim=True).clamp_min(_TINY)
    return (shares * rates.unsqueeze(1)).sum(-1).mean(0)


class _RateOfReceived(torch.autograd.Function):
    """log2(1 + g_ii^H A_i^-1 g_ii) of each user, from `received` g [S, N, I, R, J] complex128 to [S, N, I] float64.

    With u = A^-1 g_ii and q = g_ii^H u, the gradient is 2 / (ln 2 (1 + q)) times u for j = i, and -u (u^H g_ij) for
    j != i: one product instead of the graph of a determinant.
    """

    @staticmethod
    def forward(ctx: Any, received: Tensor, noise_power: float) -> Tensor:
        diagonal = torch.arange(received.shape[2], device=received.device)
        wanted = received[:, :, diagonal, :, diagonal].permute(1, 2, 0, 3)  # [S, N, I, R]
        interference = received.clone()
        interference[:, :, diagonal, :, diagonal] = 0
        filtered = solve(interference_covariance(interference, noise_power), wanted)
        gain = (torch.view_as_real(wanted) * torch.view_as_real(filtered)).sum((-1, -2))
        ctx.save_for_backward(interference, filtered, gain)
        return torch.log1p(gain) / math.log(2.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        interference, filtered, gain = ctx.saved_tensors
        diagonal = torch.arange(interference.shape[2], device=interference.device)
        weighted = filtered * (gradients[0] * 2.0 / (math.log(2.0) * (1.0 + gain))).unsqueeze(-1)
        leak = torch.einsum("snir,snirj->snij", filtered.conj(), interference)
        gradient = -weighted.unsqueeze(-1) * leak.unsqueeze(-2)
        gradient[:, :, diagonal, :, diagonal] = weighted.permute(2, 0, 1, 3)
        return gradient, None


def interference_covariance(interference: Tensor, noise_power: float) -> Tensor:
    """A [S, N, I, R, R] of (5)."""
    s, n, i, r, j = interference.shape
    flat = interference.reshape(s * n * i, r, j)
    covariance = torch.bmm(flat, flat.mH).reshape(s, n, i, r, r)
    return covariance + noise_power * torch.eye(r, dtype=interference.dtype, device=interference.device)


def solve(covariance: Tensor, wanted: Tensor) -> Tensor:
    """A^-1 g, [S, N, I, R]; closed form for R = 1 and 2."""
    r = wanted.shape[-1]
    if r == 1:
        return wanted / covariance[..., 0, :].real
    if r == 2:
        a, d, c = covariance[..., 0, 0].real, covariance[..., 1, 1].real, covariance[..., 0, 1]
        determinant = a * d - torch.view_as_real(c).square().sum(-1)
        first, second = wanted[..., 0], wanted[..., 1]
        return torch.stack([d * first - c * second, a * second - c.conj() * first], -1) / determinant.unsqueeze(-1)
    solution: Tensor = torch.linalg.solve(covariance, wanted)
    return solution
