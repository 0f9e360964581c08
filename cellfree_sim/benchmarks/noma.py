"""Frames per CPU-second of the NOMA receivers, beside plain NumPy of one frame at a time, one thread.

Six users on four resources: the signatures' setting (flat fading, QPSK, users active with 0.8 and 0.4, 20 dB) and that
of sparse codes (rates of 1 and 2 bits, AWGN at 2 dB and fading at 8 dB). In turns on one core: the batched receiver and
a plain implementation of our own (`cellfree_sim.detection.plain_noma`). A rate is that of the fastest turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellfree_sim.threads import one_torch_thread

if TYPE_CHECKING:
    from torch import Tensor


FRAMES = 8192
PLAIN_FRAMES = {"ml": 4, "mpa": 40}  # of a turn of the plain implementation; others get the default
PLAIN_DEFAULT = 200
UNEQUAL = (0.8, 0.8, 0.8, 0.4, 0.4, 0.4)
MIXED = (1, 1, 1, 2, 2, 2)


@dataclass(frozen=True)
class Setting:
    """A problem by its options, the SNR, and the receivers."""

    label: str
    snr_db: float
    options: dict[str, Any]
    receivers: tuple[str, ...]


DENSE = {"activity": UNEQUAL, "channel": "flat", "codebook": "wbe"}
SPARSE = {"rates": MIXED, "codebook": "scma", "energy": "resources"}
SETTINGS = (
    Setting("flat", 20.0, DENSE, ("mf", "mmse", "mmse-sic", "oracle-ls", "kbest", "ep", "pda", "ml")),
    Setting("scma, awgn", 2.0, SPARSE, ("mpa", "kbest", "ml")),
    Setting("scma, rayleigh", 8.0, {**SPARSE, "channel": "rayleigh"}, ("mpa", "kbest", "ml")),
)


def run(quick: bool) -> list[dict[str, Any]]:
    """See `cellfree_sim.benchmarks`: frames per CPU-second; the ratio is that of the batched to the plain receiver.

    Further keys: batch, ser (wrong answers of all users), and of the plain one other and other_ser on its frames.
    """
    with one_torch_thread():
        turns = 2 if quick else 7
        frames = FRAMES // 4 if quick else FRAMES
        return [_row(setting, name, frames, turns) for setting in SETTINGS for name in setting.receivers]


def _row(setting: Setting, name: str, frames: int, turns: int) -> dict[str, Any]:
    import torch

    from cellfree_sim.detection import create_detector
    from cellfree_sim.detection.plain_noma import PLAIN_NOMA, detect
    from cellfree_sim.uplink import NomaProblem

    problem = NomaProblem(6, 4, **setting.options)
    slots = problem.sample(frames, setting.snr_db, generator=torch.Generator().manual_seed(1))
    receiver = create_detector(name, problem)
    h = slots.h * slots.active.unsqueeze(-1) if getattr(receiver.options, "told", False) else slots.h
    sent = torch.where(slots.active, slots.messages, max(problem.counts))
    ours = _Side(frames, lambda: receiver(slots.y, h, slots.noise_variance).messages)
    row = {"case": f"{name}, {setting.label}", "unit": "frames/CPU-s", "batch": frames}
    few = PLAIN_FRAMES.get(name, PLAIN_DEFAULT)

    def one_by_one() -> Tensor:
        return torch.from_numpy(detect(name, problem, slots.y[:few], h[:few], slots.noise_variance[:few]))

    other = _Side(few, one_by_one) if name in PLAIN_NOMA else None
    for _ in range(turns):
        ours.turn()
        if other is not None:
            other.turn()
    row |= {"value": ours.rate, "ser": ours.ser(sent)}
    if other is None:
        return row
    against = {"ratio": ours.rate / other.rate, "against": "plain NumPy, one by one"}
    return {**row, **against, "other": other.rate, "other_ser": other.ser(sent)}


class _Side:
    """One way to detect some frames, and its fastest turn."""

    def __init__(self, frames: int, decide: Callable[[], Tensor]) -> None:
        self._frames, self._decide = frames, decide
        self._found = decide()  # once before the clock runs, too
        self.rate = 0.0

    def ser(self, sent: Tensor) -> float:
        """Share of wrong answers among those that it detects."""
        return (self._found != sent[: self._frames]).double().mean().item()

    def turn(self) -> None:
        start = time.process_time()
        self._decide()
        self.rate = max(self.rate, self._frames / max(time.process_time() - start, 1e-9))
