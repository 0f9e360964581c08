"""Where devices are, and what their path loss is: the macro cell that studies of massive access use.

Shape letters: S drops, N devices, B stations.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def path_gain_db(distance_km: float) -> float:
    """Path gain -(128.1 + 36.7 log10 d) dB at the distance d in km.

    >>> path_gain_db(1.0)
    -128.1
    """
    return -(128.1 + 36.7 * math.log10(distance_km))


def relative_gains(distances_km: Tensor, edge_km: float) -> Tensor:
    """Path gains over that at `edge_km`, (d / edge)^-3.67, of distances of any shape."""
    return (distances_km / edge_km).pow(-3.67)


def station_positions(stations: int, ring_km: float, device: torch.device | str) -> Tensor:
    """Positions float32 [B, 2], km: one station at the centre, several evenly on a ring around it."""
    import torch

    if stations == 1:
        return torch.zeros(1, 2, device=device)
    angles = torch.arange(stations, device=device) * (2 * math.pi / stations)
    return ring_km * torch.stack([angles.cos(), angles.sin()], dim=-1)


def drop_distances(
    drops: int,
    devices: int,
    stations: Tensor,
    radii_km: tuple[float, float],
    *,
    generator: torch.Generator | None,
    device: torch.device | str,
) -> Tensor:
    """Distances float32 [S, N, B], km, of devices to `stations` [B, 2].

    A device's distance from the centre is uniform between the two radii, and so is its angle. No device is nearer to a
    station than the smaller radius.
    """
    import torch

    least, most = radii_km
    uniform = torch.rand(drops, devices, 2, generator=generator, device=device)
    radius = least + (most - least) * uniform[..., 0]
    if len(stations) == 1:
        return radius.unsqueeze(-1)
    angle = 2 * math.pi * uniform[..., 1]
    place = radius.unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()], dim=-1)
    return torch.cdist(place, stations.expand(drops, -1, -1)).clamp_min(least)
