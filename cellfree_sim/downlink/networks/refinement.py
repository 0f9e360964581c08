"""Beams of all stations together, one step of the weighted-MMSE algorithm better than they were.

Letters: S realisations, B stations, N subcarriers, T transmit antennas of a station, I or J users, R receive antennas.

With g_nij = sum_b (H_ni^b)^H w_nj^b, user i's best linear receiver is u_i = C_i^-1 g_ii, C_i = sum_j g_ij g_ij^H + I,
its error e_i = 1 - g_ii^H u_i, and its weight a_i = alpha_i / e_i with a priority alpha_i. For these receivers, the
weighted sum of errors is least (Shi et al., 2011) for

    w_nj = a_j (sum_i a_i h_i h_i^H + Lambda)^-1 h_j,    h_i = the H_ni^b u_i of all stations, stacked,

where Lambda = diag(lambda_1 I_T, …, lambda_B I_T) holds the prices of the stations' power. At the optimum they sum to
sum_ni a_ni |u_ni|^2; they start as equal parts of that, and are corrected once, by the square root of the power that
each station then takes. What is left of a station's budget, or exceeds it, is for the caller to scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST_ERROR = 1e-9  # 90 dB of SINR
_LARGEST_CORRECTION = 4.0  # of a station's price


def refine_beams(beams: Tensor, channel: Tensor, priority: Tensor) -> Tensor:
    """One step for all users at once, in the precision of its arguments (complex128: 70 dB cancel in it).

    Args:
        beams: v w, [S, B, N, T, I] complex.
        channel: H, [S, B, N, T, I, R] complex.
        priority: alpha, [S, N, I] real and positive.

    Returns:
        [S, B, N, T, I] complex; differentiable in all three.
    """
    s, b, n, t, i, r = channel.shape
    links = channel.permute(0, 2, 4, 1, 3, 5).reshape(s, n, i, b * t, r)
    sent = beams.permute(0, 2, 1, 3, 4).reshape(s, n, b * t, i)
    received = (links.mH.reshape(s, n, i * r, b * t) @ sent).reshape(s, n, i, r, i)
    users = torch.arange(i, device=channel.device)
    wanted = received[:, :, users, :, users].permute(1, 2, 0, 3).unsqueeze(-1)  # [S, N, I, R, 1]
    noise = torch.eye(r, dtype=channel.dtype, device=channel.device)
    receivers = torch.linalg.solve(received @ received.mH + noise, wanted)
    error = 1.0 - (wanted.mH @ receivers).real[..., 0, 0]
    weight = priority / error.clamp_min(_LEAST_ERROR)
    seen = (links @ receivers).squeeze(-1)  # h, [S, N, I, B T]
    weighted = (seen * weight.unsqueeze(-1)).mT  # [S, N, B T, I]
    matrix = weighted @ seen.conj()
    total = (weight * torch.view_as_real(receivers).square().sum((-1, -2, -3))).sum((1, 2))
    price = (total / b).unsqueeze(1).expand(s, b)
    first = _priced(matrix, weighted, price, t)
    power = torch.view_as_real(first).square().sum((1, 3, 4, 5))
    price = price * power.sqrt().clamp(1 / _LARGEST_CORRECTION, _LARGEST_CORRECTION)
    price = price * (total / price.sum(1)).unsqueeze(1)
    return _priced(matrix, weighted, price, t).permute(0, 2, 1, 3, 4)


def _priced(matrix: Tensor, weighted: Tensor, price_SB: Tensor, t: int) -> Tensor:
    """(matrix + Lambda)^-1 weighted, [S, N, B, T, I]."""
    s, n, _, i = weighted.shape
    prices = torch.diag_embed(price_SB.repeat_interleave(t, 1).to(matrix.dtype)).unsqueeze(1)
    solution: Tensor = torch.linalg.solve(matrix + prices, weighted)
    return solution.reshape(s, n, -1, t, i)
