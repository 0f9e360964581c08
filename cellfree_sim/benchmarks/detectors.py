"""Vectors per CPU-second of the MIMO detectors, beside Sionna's and plain NumPy, on the same slots and one thread.

64 antennas, 16 and 32 users, 16-QAM, independent Rayleigh fading, float32. In turns on one core: the batched detector,
Sionna's of the same kind (where there is one, and Sionna is installed) and a plain implementation of our own, one slot
after the other (`cellfree_sim.detection.plain`). A rate is that of the fastest turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import DetectorError
from cellfree_sim.threads import one_torch_thread

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.uplink import Batch, MimoProblem

N_RX = 64
USERS = {16: 11.0, 32: 14.0}  # and the SNR in dB
PLAIN_SLOTS = 0.05  # of the batch: it takes long, and gains nothing by more


@dataclass(frozen=True)
class Contest:
    """A detector, its options, its batch, and what Sionna has to set against it."""

    name: str
    batch: int
    options: dict[str, Any] = field(default_factory=dict)
    sionna: str = ""
    sionna_options: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name and options."""
        chosen = ", ".join(f"{key} {value}" for key, value in self.options.items())
        return f"{self.name} ({chosen})" if chosen else self.name


CONTESTS = (
    Contest("lmmse", 1000, sionna="sionna-lmmse"),
    Contest("vblast", 500),
    Contest("oamp", 500, {"iterations": 10}),
    Contest("ep", 500, {"iterations": 10, "damping": 0.7}, "sionna-ep", {"iterations": 10, "smoothing": 0.7}),
    Contest("amp", 1000, {"iterations": 50}),
    Contest("kbest", 200, {"survivors": 64}, "sionna-kbest", {"survivors": 64}),
    Contest("sdr", 100),
)


def run(quick: bool) -> list[dict[str, Any]]:
    """See `cellfree_sim.benchmarks`: vectors per CPU-second; the ratio is that of ours to the other.

    Further keys: batch, other (the other's vectors per CPU-second), ser and other_ser on the slots that the other got
    (the plain one gets some of the batch), ser on the whole batch where there is no other.
    """
    with one_torch_thread():
        turns = 2 if quick else 7
        return [row for users, snr_db in USERS.items() for one in CONTESTS for row in _rows(one, users, snr_db, turns)]


def _rows(contest: Contest, users: int, snr_db: float, turns: int) -> list[dict[str, Any]]:
    import torch

    from cellfree_sim.detection import create_detector
    from cellfree_sim.detection.plain import PLAIN
    from cellfree_sim.uplink import MimoProblem

    problem = MimoProblem(N_RX, users)
    slots = problem.sample(contest.batch, snr_db, generator=torch.Generator().manual_seed(1))
    sides = [_Side("", _batched(create_detector(contest.name, problem, **contest.options)), slots)]
    if contest.sionna:
        try:
            other = create_detector(contest.sionna, problem, **contest.sionna_options)
            sides.append(_Side(contest.sionna, _batched(other), slots))
        except DetectorError:
            pass  # it is not installed
    if contest.name in PLAIN:
        sides.append(_Side("plain NumPy, one by one", _plain(contest, problem), _first(slots, PLAIN_SLOTS)))
    for _ in range(turns):
        for side in sides:
            side.turn()
    ours = sides[0]
    row = {
        "case": f"{contest.label}, {N_RX} x {users}",
        "value": ours.rate,
        "unit": "vectors/CPU-s",
        "batch": contest.batch,
    }
    return [
        {
            **row,
            "ratio": ours.rate / side.rate,
            "against": side.label,
            "other": side.rate,
            "ser": ours.ser(side.slots),
            "other_ser": side.ser(side.slots),
        }
        for side in sides[1:]
    ] or [{**row, "ser": ours.ser(contest.batch)}]


class _Side:
    """One way to detect the slots, and its fastest turn."""

    def __init__(self, label: str, decide: Callable[[Batch], Tensor], slots: Batch) -> None:
        self.label, self._decide, self._batch = label, decide, slots
        self._wrong = decide(slots) != slots.messages  # once before the clock runs, too
        self.slots = len(slots.y)
        self.rate = 0.0

    def ser(self, slots: int) -> float:
        """Symbol error rate on the first so many slots."""
        return self._wrong[:slots].double().mean().item()

    def turn(self) -> None:
        start = time.process_time()
        self._decide(self._batch)
        self.rate = max(self.rate, self.slots / max(time.process_time() - start, 1e-9))


def _batched(detector: Any) -> Callable[[Batch], Tensor]:
    def decide(slots: Batch) -> Tensor:
        messages: Tensor = detector(slots.y, slots.h, slots.noise_variance).messages
        return messages

    return decide


def _plain(contest: Contest, problem: MimoProblem) -> Callable[[Batch], Tensor]:
    import torch

    from cellfree_sim.detection import plain

    def decide(slots: Batch) -> Tensor:
        found = plain.detect(
            contest.name, slots.y, slots.h, slots.noise_variance, problem.constellation, **contest.options
        )
        return torch.from_numpy(found)

    return decide


def _first(slots: Batch, share: float) -> Batch:
    """The first slots of a batch."""
    from dataclasses import replace

    count = max(10, round(share * len(slots.y)))
    names = ("y", "h", "h_known", "noise_variance", "messages", "active")
    return replace(slots, **{name: getattr(slots, name)[:count] for name in names})
