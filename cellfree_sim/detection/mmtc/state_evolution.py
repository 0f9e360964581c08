"""State evolution: what variance the messages of AMP have in each iteration, for ever more devices and samples.

With N and L to infinity at a fixed ratio, what a device's pilots see in iteration k is x + CN(0, t_k I), and

    t_0 = s^2 + (N / L) E ||x||^2 / A,    t_(k+1) = s^2 + (N / L) E ||w z - x||^2 / A,

for each station of A antennas, the expectation over gains, states, fading and noise, and the sums over all pilots of a
device. It is the law of AMP without damping; with damping only the end is the same.

Shape letters: K simulated devices, B stations, A antennas of a station, Q pilots of a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellfree_sim.seeds import integer
from cellfree_sim.uplink.checks import whole

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from cellfree_sim.uplink.mmtc import MmtcProblem


def state_evolution(
    problem: MmtcProblem,
    *,
    iterations: int,
    sections: bool = True,
    samples: int = 20_000,
    gains: Tensor | None = None,
    seed: int = 1,
) -> Tensor:
    """The variances t_0 … t_(iterations - 1) at each station, float32 [iterations, B], in units of the noise.

    Args:
        problem: N, L, gains, activity; the noise is 1. Gains are known, whatever the problem says of them.
        iterations: of AMP.
        sections: by sections of devices, or each pilot for itself (see `denoiser`).
        samples: simulated devices, each of them once active and once not.
        gains: of devices, float32 [N] or [N, B], which are gone through in turn, instead of the problem's drops.
        seed: of the simulation.

    >>> from cellfree_sim.uplink import MmtcProblem
    >>> law = state_evolution(MmtcProblem(devices=1000, pilot_length=400), iterations=15, samples=2000)
    >>> law.shape, bool(law[-1] < law[0] / 100)
    (torch.Size([15, 1]), True)
    """
    import torch

    from cellfree_sim.detection.mmtc.algorithms.denoiser import GainGrid, Prior, denoise
    from cellfree_sim.uplink.fading import complex_normal

    whole("iterations", iterations, 1, 100_000)
    whole("samples", samples, 1, 10_000_000)
    generator = torch.Generator().manual_seed(integer(seed, "state-evolution"))
    stations, each = problem.stations, problem.antennas // problem.stations
    chosen = torch.arange(samples) % problem.devices
    gain = _gains(problem, chosen, gains, generator).T  # [B, K]
    activity = problem.activities()[chosen]
    shape = (stations, each, samples, problem.per_device)
    noise = complex_normal(shape, 1.0, generator, "cpu")
    x = torch.zeros_like(noise)  # of devices that are active: all send their first pilot
    x[..., 0] = complex_normal(shape[:-1], 1.0, generator, "cpu") * gain.sqrt().unsqueeze(1)
    prior = Prior(*(value[chosen] for value in Prior.of(problem)))
    grid = GainGrid(gain[None, :, :, None], torch.zeros(1))
    load = problem.devices / problem.pilot_length / samples / each
    law = [1 + load * each * (activity * gain).sum(dim=1)]
    for _ in range(iterations - 1):
        error = torch.zeros(stations, samples)
        for chance, sent in ((activity, x), (1 - activity, torch.zeros_like(x))):
            z = sent + law[-1].sqrt()[:, None, None, None] * noise
            energy = z.abs().square().sum(dim=1).unsqueeze(0)
            weight = denoise(energy, grid, law[-1][None], prior, antennas=each, sections=sections).weight
            missing = weight[0].unsqueeze(1) * z - sent
            error += chance * missing.abs().square().sum(dim=(1, 3))
        law.append(1 + load * error.sum(dim=1))
    return torch.stack(law)


def _gains(problem: MmtcProblem, chosen: Tensor, gains: Tensor | None, generator: torch.Generator) -> Tensor:
    """Gains of the chosen devices, [K, B]: given ones, or those of as many drops as it takes."""
    if gains is None:
        drops = -(-len(chosen) // problem.devices)
        return problem.draw_gains(drops, generator=generator).reshape(-1, problem.stations)[: len(chosen)]
    return gains.reshape(problem.devices, problem.stations)[chosen]
