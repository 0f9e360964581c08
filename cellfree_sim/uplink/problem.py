"""What all problems of the uplink share: users choose codewords from codebooks, and the channel adds them up.

    y = sum_n a_n H_n c_n(m_n) + noise

for each slot: user n, if active (a_n = 1), sends the codeword c_n(m_n) of its message m_n. A transmitter design is a
codebook [N, M, L]: the codeword, of L samples, of each message of each user; a detector gets the codebook with the
problem, so that any transmitter can meet any fitting receiver.

Shape letters: S slots, R receive antennas, N users, M messages of a user, K bits of a message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Slots with what was received in them, and what was sent.

    Attributes:
        y: received signals, complex64 [S, R].
        h: channels, complex64 [S, R, N].
        h_known: channels as the receiver knows them, complex64 [S, R, N]; `h` itself where it knows them exactly.
        noise_variance: E|noise|^2 of each antenna, float32 [S].
        messages: the messages sent, int64 [S, N].
        active: whether a user sent, bool [S, N].
    """

    y: Tensor
    h: Tensor
    h_known: Tensor
    noise_variance: Tensor
    messages: Tensor
    active: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        exact = self.h_known is self.h
        h = self.h.to(device)
        return Batch(
            y=self.y.to(device),
            h=h,
            h_known=h if exact else self.h_known.to(device),
            noise_variance=self.noise_variance.to(device),
            messages=self.messages.to(device),
            active=self.active.to(device),
        )


class Problem(Protocol):
    """What measurement asks of a problem."""

    @property
    def bits(self) -> Tensor:
        """Labels of the messages, uint8 [M, K]."""

    @property
    def codebook(self) -> Tensor:
        """Codewords, complex64 [N, M, L], of unit average power for each user."""

    @property
    def block(self) -> int:
        """Number of consecutive slots with the same channel."""

    def sample(
        self,
        count: int,
        snr_db: float = ...,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Batch:
        """Independent slots, or blocks of slots."""
