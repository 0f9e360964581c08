"""Joint allocation and beamforming by gradient ascent, realisation by realisation.

Shapes: S realisations, B stations, N subcarriers, T transmit antennas, I users, R receive antennas.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cellfree_sim.downlink.rates import station_power, user_rates
from cellfree_sim.downlink.zero_forcing import greedy_allocation, zero_forcing_beams

CHUNK = 50  # realisations at a time; more are slower, since they leave the processor's cache
SWITCHED_OFF = 1e-4  # of a station's budget
START_NOISE = 0.02  # of the amplitude of the budget; beams that are exactly zero have no gradient to grow by
_TINY = 1e-30


def ascend(
    channel: Tensor, *, min_rate: float, seed: int, steps: int, learning_rate: float, penalty: float, margin: float
) -> tuple[Tensor, Tensor]:
    """Beams and allocation that maximise sum_i r_i - penalty * sum_i max(0, margin r_min - r_i).

    Args:
        channel: H [S, B, N, T, I, R], scaled so that noise and budgets are 1.
        min_rate: r_min, bit/s/Hz.
        seed: of the small noise that the start is given.
        steps, learning_rate: of Adam; the step size falls to 0 along a cosine.
        penalty, margin: weight of the constraint, and what r_min is multiplied by in it.

    Returns:
        w [S, B, N, T, I], each station at its full budget (or silent, where its channel is zero), and v [S, B, N, I],
        0 or 1.
    """
    generator = torch.Generator(device=channel.device).manual_seed(seed % 2**63)
    parts = [
        _ascend_chunk(channel[i : i + CHUNK], generator, margin * min_rate, steps, learning_rate, penalty)
        for i in range(0, len(channel), CHUNK)
    ]
    return torch.cat([beams for beams, _ in parts]), torch.cat([allocation for _, allocation in parts])


def _ascend_chunk(
    channel: Tensor, generator: torch.Generator, floor: float, steps: int, learning_rate: float, penalty: float
) -> tuple[Tensor, Tensor]:
    allocation = greedy_allocation(channel, 1)
    start = zero_forcing_beams(channel, allocation) * allocation.unsqueeze(-2)
    ones = torch.ones_like(allocation)

    def score(beams: Tensor, served: Tensor) -> Tensor:
        rates = user_rates(beams, served, channel)
        return rates.sum(-1) - penalty * torch.relu(floor - rates).sum(-1)

    with torch.no_grad():
        best, best_score = start.clone(), score(start, ones)
    noise = torch.randn(start.shape, generator=generator, dtype=start.dtype, device=start.device)
    free = torch.view_as_real(start + START_NOISE * noise).clone().requires_grad_()
    optimiser = torch.optim.Adam([free], lr=learning_rate)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        beams = _at_full_power(torch.view_as_complex(free), ones)
        value = score(beams, ones)
        with torch.no_grad():
            better = value > best_score
            best[better], best_score[better] = beams[better], value[better]
        optimiser.zero_grad()
        (-value.sum()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    served = (best.abs().square().sum(-2) > SWITCHED_OFF).to(allocation.dtype)
    return _at_full_power(best, served), served


def _at_full_power(beams: Tensor, served: Tensor) -> Tensor:
    """Beams scaled to the budget of each station; one that sends nothing stays silent."""
    return beams / station_power(beams, served).clamp_min(_TINY).sqrt()[..., None, None, None]
