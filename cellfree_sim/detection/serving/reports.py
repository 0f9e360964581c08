"""What a station tells the measurement of each burst and service, beside its frames; and the errors in decisions.

Reports are no part of the simulated network: they cross no backhaul and are in no book.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.uplink.population import Transmissions

Outcome = Literal["decided", "sent", "refused", "idle"]


class Errors(NamedTuple):
    """How much was decided, and how much of it wrong; a block is what a user sends in a burst.

    Where users may be silent, a symbol is the state of a user in a slot, silence included: `active` symbols were sent,
    `missed` of them were taken for silence, and `false_alarms` are silences taken for messages. Bits are those that
    were sent, decided for by the most probable message.
    """

    symbols: int = 0
    symbol_errors: int = 0
    bits: int = 0
    bit_errors: int = 0
    blocks: int = 0
    block_errors: int = 0
    active: int = 0
    missed: int = 0
    false_alarms: int = 0

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


SILENT = -1
"""The message of a user that sends nothing."""


def errors_of(
    decided: NDArray[np.int64],
    truth: NDArray[np.int64],
    bits: NDArray[np.int64],
    likeliest: NDArray[np.int64] | None = None,
) -> Errors:
    """Errors in decisions int64 [S, N], `SILENT` or a message of so many `bits` [N].

    Messages are their own labels: bits differ where the numbers do. `likeliest` are the most probable messages where
    silence is left out of account, by default the decisions.

    >>> errors_of(np.array([[0, 3], [1, 3]]), np.array([[0, 0], [0, 3]]), np.array([2, 2]))
    Errors(symbols=4, symbol_errors=2, bits=8, bit_errors=3, blocks=2, block_errors=2, active=4, missed=0, \
false_alarms=0)
    >>> errors_of(np.array([[0, -1]]), np.array([[-1, 2]]), np.array([2, 2]), np.array([[0, 1]]))[1:]
    (2, 2, 2, 2, 2, 1, 1, 1)
    """
    wrong, sent = decided != truth, truth != SILENT
    data = decided if likeliest is None else likeliest
    return Errors(
        symbols=wrong.size,
        symbol_errors=int(wrong.sum()),
        bits=int((sent * bits).sum()),
        bit_errors=int(np.bitwise_count(data ^ truth)[sent].sum(dtype=np.int64)),
        blocks=wrong.shape[1],
        block_errors=int(wrong.any(axis=0).sum()),
        active=int(sent.sum()),
        missed=int((sent & (decided == SILENT)).sum()),
        false_alarms=int((~sent & (decided != SILENT)).sum()),
    )


def messages_of(sent: Transmissions, users: NDArray[np.int32]) -> NDArray[np.int64]:
    """What `users` sent, `SILENT` where they did not: int64 [S, N]."""
    place = np.searchsorted(sent.users, users)
    active = np.isin(users, sent.users, assume_unique=True)
    found = np.full((len(sent.messages), len(users)), SILENT)
    found[:, active] = sent.messages[:, place[active]]
    return found
