"""Fading of the uplink between many users and the antennas of one receiver.

Shape letters: B realisations, R receive antennas, N users.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Sides = Literal["none", "full", "receive"]


def complex_normal(
    shape: tuple[int, ...], variance: float, generator: torch.Generator | None, device: torch.device | str
) -> Tensor:
    """CN(0, variance), complex64."""
    import torch

    normal = torch.randn(*shape, 2, generator=generator, device=device)
    return torch.view_as_complex(normal.mul_(math.sqrt(variance / 2)))


def exponential_correlation(size: int, correlation: float) -> Tensor:
    """Covariance R_ij = correlation^|i-j| of a line of antennas, float64 [size, size]."""
    import torch

    place = torch.arange(size, dtype=torch.float64)
    distance = (place[:, None] - place[None, :]).abs()
    covariance: Tensor = correlation**distance
    return covariance


@functools.lru_cache(maxsize=64)
def correlation_root(size: int, correlation: float) -> Tensor:
    """Symmetric square root of the exponential correlation, float32 [size, size]; shared, do not write to it."""
    import torch

    values, vectors = torch.linalg.eigh(exponential_correlation(size, correlation))
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root.float()


def rayleigh(
    count: int,
    n_rx: int,
    n_tx: int,
    *,
    correlation: float,
    correlated: Sides,
    generator: torch.Generator | None,
    device: torch.device | str,
) -> Tensor:
    """Kronecker model H = R_r^(1/2) G R_t^(1/2) with G ~ CN(0, 1/n_rx), complex64 [B, R, N].

    R_r and R_t are exponential, R_ij = correlation^|i-j|, on the sides named by `correlated`, and identities elsewhere.
    Each column has the mean power 1.
    """
    h = complex_normal((count, n_rx, n_tx), 1 / n_rx, generator, device)
    if correlated == "none" or correlation == 0:
        return h
    h = correlation_root(n_rx, correlation).to(device, h.dtype) @ h
    return h @ correlation_root(n_tx, correlation).to(device, h.dtype) if correlated == "full" else h
