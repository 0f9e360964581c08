"""What a station tells the measurement of each burst and service, beside its frames; and the errors in decisions.

Reports are no part of the simulated network: they cross no backhaul and are in no book.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from cellfree_sim.uplink.constellations import BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.uplink.population import Transmissions

Outcome = Literal["decided", "sent", "refused", "idle"]


class Errors(NamedTuple):
    """How much was decided, and how much of it wrong; a block is what a user sends in a burst."""

    symbols: int = 0
    symbol_errors: int = 0
    bits: int = 0
    bit_errors: int = 0
    blocks: int = 0
    block_errors: int = 0

    def __add__(self, other: tuple[int, ...]) -> Errors:  # type: ignore[override]
        """Of both together."""
        return Errors(*(mine + its for mine, its in zip(self, other, strict=True)))


NO_ERRORS = Errors()


class Report(NamedTuple):
    """What became of a burst at one station, for one service.

    Attributes:
        service: index of the service.
        burst: number of the burst.
        outcome: decided (here), sent (a frame, to the MBS), refused (by the queue or the detector), idle (no active
            user is served here).
        detector: name of the one that served it; empty where none did.
        at_s: simulated time of the outcome.
        queue_s, compute_s: what of it passed here, after the burst had been heard.
        flops: that it took here.
        undecided: users that should have been decided here, and were not.
        errors: of what was decided here.
    """

    service: int
    burst: int
    outcome: Outcome
    detector: str
    at_s: float
    queue_s: float = 0.0
    compute_s: float = 0.0
    flops: float = 0.0
    undecided: int = 0
    errors: Errors = NO_ERRORS

    def packed(self) -> list[object]:
        """Plain values, from which `unpacked` makes it again."""
        return [*self[:-1], list(self.errors)]

    @classmethod
    def unpacked(cls, values: list[object]) -> Report:
        """See `packed`."""
        *plain, errors = values
        return cls(*plain, errors=Errors(*errors))  # type: ignore[arg-type, misc]


def errors_of(decided: NDArray[np.int64], truth: NDArray[np.int64], constellation: str) -> Errors:
    """Errors in decisions int64 [S, N]. Messages are their own labels: bits differ where the numbers do.

    >>> errors_of(np.array([[0, 3], [1, 3]]), np.array([[0, 0], [0, 3]]), "qpsk")
    Errors(symbols=4, symbol_errors=2, bits=8, bit_errors=3, blocks=2, block_errors=2)
    """
    wrong = decided != truth
    return Errors(
        symbols=wrong.size,
        symbol_errors=int(wrong.sum()),
        bits=wrong.size * BITS[constellation],
        bit_errors=int(np.bitwise_count(decided ^ truth).sum(dtype=np.int64)),
        blocks=wrong.shape[1],
        block_errors=int(wrong.any(axis=0).sum()),
    )


def messages_of(sent: Transmissions, users: NDArray[np.int32]) -> NDArray[np.int64]:
    """What `users`, who are all active, sent: int64 [S, N]."""
    return sent.messages[:, np.searchsorted(sent.users, users)]
