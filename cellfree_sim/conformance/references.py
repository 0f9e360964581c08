"""Reference algorithms: beams within the budget, decided in zeros and ones, by channel and seed alone."""

from __future__ import annotations

import torch
from torch import Tensor

from cellfree_sim.conformance.checks import Run, Subject, expect


def channels(s: int = 6, b: int = 2, n: int = 3, t: int = 4, i: int = 5, r: int = 2, scale: float = 3.0) -> Tensor:
    """Rayleigh channels [S, B, N, T, I, R], with gains of links over 40 dB."""
    generator = torch.Generator().manual_seed(1)
    gains = scale * 10 ** (2 * torch.rand(s, b, 1, 1, i, 1, generator=generator) - 1)
    return gains * torch.randn(s, b, n, t, i, r, dtype=torch.complex64, generator=generator)


def _solved(subject: Subject, channel: Tensor, seed: int = 3) -> tuple[Tensor, Tensor]:
    beams, allocation = subject.options.solve(channel, min_rate=0.02, seed=seed)
    return beams, allocation


def _budget(subject: Subject) -> str | None:
    for channel in (channels(), channels(i=1), channels(b=1, n=1, t=1, r=1), channels(scale=300.0, i=9)):
        s, b, n, t, i, _ = channel.shape
        beams, allocation = _solved(subject, channel)
        expect(
            beams.shape == (s, b, n, t, i) and beams.dtype == torch.complex64,
            f"beams {beams.dtype} {[*beams.shape]}; expected complex64 {[s, b, n, t, i]}",
        )
        expect(
            allocation.shape == (s, b, n, i) and allocation.dtype == torch.float32,
            f"allocation {allocation.dtype} {[*allocation.shape]}; expected float32 {[s, b, n, i]}",
        )
        expect(((allocation == 0) | (allocation == 1)).all(), "allocation: found values other than 0 and 1")
        power = (beams.abs().double() * allocation.unsqueeze(3)).square().sum((2, 3, 4))
        expect((power <= 1 + 1e-5).all(), f"a station sends {power.max():.6g} of its budget; allowed: 1")
    return None


def _function_of_seed(subject: Subject) -> str | None:
    torch.manual_seed(0)
    first = _solved(subject, channels())
    before = torch.get_rng_state()
    second = _solved(subject, channels())
    expect(torch.equal(torch.get_rng_state(), before), "moves torch's own generator; use one made of the seed")
    same = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    expect(same, "the same channel and seed gave two results")
    _solved(subject, channels(s=1), seed=2**63 - 1)
    return None


def _silence(subject: Subject) -> str | None:
    channel = channels()
    channel[:, 1] = 0
    for given in (channel, torch.zeros_like(channel)):
        finite = all(part.abs().isfinite().all() for part in _solved(subject, given))
        expect(finite, "a station that nobody hears: found values that are not finite")
    return None


CHECKS: dict[str, Run] = {
    "beams keep the budget, allocation is 0 or 1": _budget,
    "it is a function of channel and seed": _function_of_seed,
    "a station that nobody hears does no harm": _silence,
}
