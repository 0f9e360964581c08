"""What all problems of the uplink share: users choose codewords from codebooks, and the channel adds them up.

    y = sum_n a_n H_n c_n(m_n) + noise

for each slot: user n, if active (a_n = 1), sends the codeword c_n(m_n) of its message m_n. A transmitter design is a
codebook [N, M, L]: the codeword, of L samples, of each message of each user; a detector gets the codebook with the
problem, so that any transmitter can meet any fitting receiver.

There are three families of problems: `mimo` (coherent, any number of antennas), `noma` (coherent, few resources, any
codebook, users that may be silent) and `mmtc` (non-coherent: activity and data of many devices from their pilots).

Shape letters: S slots, R receive antennas, N users, M messages of a user, K bits of a message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

if TYPE_CHECKING:
    import torch
    from torch import Tensor


Family = Literal["mimo", "noma", "mmtc"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Slots with what was received in them, and what was sent.

    Shapes of y and h are those of `MimoProblem`; other families have their own, which their problems tell.

    Attributes:
        y: received signals, complex64 [S, R].
        h: channels, complex64 [S, R, N].
        h_known: channels as the receiver knows them; `h` itself where it knows them exactly, None where not at all.
        noise_variance: E|noise|^2 of each antenna, float32 [S].
        messages: the messages sent, int64 [S, N].
        active: whether a user sent, bool [S, N].
    """

    y: Tensor
    h: Tensor
    h_known: Tensor | None
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
            h_known=h if exact else None if self.h_known is None else self.h_known.to(device),
            noise_variance=self.noise_variance.to(device),
            messages=self.messages.to(device),
            active=self.active.to(device),
        )


class Problem(Protocol):
    """What detectors, trainer and services ask of a problem, whichever its family."""

    family: ClassVar[Family]

    def options(self) -> dict[str, Any]:
        """The arguments that make this problem, by name."""

    def changed(self, **options: Any) -> Self:
        """The same problem but for `options`."""

    def sample(
        self,
        count: int,
        snr_db: float = ...,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Batch:
        """Independent slots, or blocks of slots."""

    def misfit(self, y: Any, h: Any, noise_variance: Any) -> str | None:
        """What is wrong with the types and shapes of what a detector is given: ``y: found …; expected …``, or None.

        That they lie on one device, are finite, and the noise positive, is checked for all families in one place.
        """

    def answers(self, y: Tensor, h: Tensor | None) -> tuple[int, int]:
        """Users, and entries of a user's `logits`, of what a detector answers to this."""


class CoherentProblem(Problem, Protocol):
    """A problem whose users all send in every slot, with as many messages each: what `error_rates` measures."""

    @property
    def bits(self) -> Tensor:
        """Labels of the messages, uint8 [M, K]."""

    @property
    def codebook(self) -> Tensor:
        """Codewords, complex64 [N, M, L], of unit average power for each user."""

    @property
    def block(self) -> int:
        """Number of consecutive slots with the same channel."""
