"""Frames per CPU-second of the detectors of massive access, beside plain NumPy; one frame of 1000 … 100 000 devices.

100 devices, 2 pilots each of 40 samples, 16 antennas, batches of 64 frames, one thread; the plain ones
(`cellfree_sim.detection.plain_mmtc`) take one frame after the other, fewer of them. A rate is that of the fastest turn.

Large frames have pilots from a Fourier matrix, 0.4 samples for each device, and AMP by sections until it settles, in a
process of their own, whose memory is counted: all of it, with what the libraries take.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cellfree_sim.detection.mmtc.large import in_own_process
from cellfree_sim.threads import one_torch_thread

FRAMES = 64
PLAIN_FRAMES = 8
SIZES = (1000, 3000, 10_000, 30_000, 100_000)
DENSE_SIZES = (1000, 3000)


@dataclass(frozen=True)
class Entry:
    """A detector with its options, and those of the plain one that does the same."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    plain: dict[str, Any] | None = None

    @property
    def label(self) -> str:
        """Name and options."""
        chosen = ", ".join(f"{key} {value}" for key, value in self.options.items())
        return f"{self.name} ({chosen})" if chosen else self.name


ENTRIES = (
    Entry("amp", plain={}),
    Entry("amp-section", plain={}),
    Entry("covariance", plain={}),
    Entry("map-cd", plain={}),
    Entry("map-cd", {"start": "amp"}),
    Entry("omp", plain={}),
)


def run(quick: bool) -> list[dict[str, Any]]:
    """See `cellfree_sim.benchmarks`: frames per CPU-second; the ratio is that of ours to plain NumPy.

    Further keys: batch, other (plain frames per CPU-second), ser and other_ser on the frames that both got. Of one
    large frame: seconds of CPU time, memory_gib (peak), iterations, ser, and against 'gaussian' pilots, written out,
    the ratio of their time to that of 'dft' pilots.
    """
    with one_torch_thread():
        rows = [_row(entry, 2 if quick else 5) for entry in ENTRIES]
    return rows + scaling(SIZES[:3] if quick else SIZES, DENSE_SIZES[:1] if quick else DENSE_SIZES)


def _row(entry: Entry, turns: int) -> dict[str, Any]:
    import torch

    from cellfree_sim.detection import create_detector, plain_mmtc
    from cellfree_sim.uplink import MmtcProblem

    problem = MmtcProblem()
    frames = problem.sample(FRAMES, generator=torch.Generator().manual_seed(1))
    detector = create_detector(entry.name, problem, **entry.options)
    found, rate = _timed(lambda: detector(frames.y, frames.h, frames.noise_variance).messages, FRAMES, turns)
    wrong = found != frames.messages
    row: dict[str, Any] = {"case": entry.label, "value": rate, "unit": "frames/CPU-s", "batch": FRAMES}
    if entry.plain is None:
        return {**row, "ser": wrong.double().mean().item()}
    few, plain_options, pilots = slice(PLAIN_FRAMES), entry.plain, problem.codebook

    def plain() -> Any:
        parts = frames.y[few], frames.h[few], frames.noise_variance[few]
        return plain_mmtc.detect(entry.name, *parts, pilots, 0.1, **plain_options)

    decided, other = _timed(plain, PLAIN_FRAMES, max(1, turns // 2))
    return {
        **row,
        "ratio": rate / other,
        "against": "plain NumPy, one by one",
        "other": other,
        "ser": wrong[few].double().mean().item(),
        "other_ser": (torch.from_numpy(decided) != frames.messages[few]).double().mean().item(),
    }


def _timed(work: Callable[[], Any], frames: int, turns: int) -> tuple[Any, float]:
    """What the work gives, and frames per CPU-second in its fastest turn."""
    result, best = work(), float("inf")  # once before the clock runs
    for _ in range(turns):
        start = time.process_time()
        result = work()
        best = min(best, time.process_time() - start)
    return result, frames / max(best, 1e-9)


def scaling(sizes: tuple[int, ...], dense: tuple[int, ...]) -> list[dict[str, Any]]:
    """Rows of one large frame each, every one in a process of its own."""
    rows = []
    for devices in sizes:
        row = in_own_process(devices, "dft")
        if devices in dense:
            other = in_own_process(devices, "gaussian")
            row |= {"ratio": other["value"] / row["value"], "against": "gaussian pilots", "other": other["value"]}
        rows.append(row)
    return rows
