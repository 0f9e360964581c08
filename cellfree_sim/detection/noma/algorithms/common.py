"""What the receivers of NOMA share: codewords as they arrive, and what is known of the answers beforehand.

Silence is an answer like any other: its codeword is zero. All receivers work on the codewords that arrive,
g[s, n, a] = h[s, n] * c[n, a], so that antennas, fading and unequal powers need no thought.

Shape letters: S slots, N users, A answers of a user (messages, then silence where users may be silent), R samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from cellfree_sim.uplink.noma import NomaProblem

IMPOSSIBLE = -1e30
"""Log-probability of an answer that a user does not have, where -inf would make a NaN of a difference."""
STRONG = 1e6
"""Received power over noise from which on float32 loses digits that matter."""
ROUNDING = 1e-14
"""Power of what was rounded in y and h, over that of what is received: no noise is less."""


class Code:
    """Codewords with silence, and the prior of the answers, of one problem.

    Attributes:
        words: complex64 [N, A, K].
        log_prior: float32 [N, A], `IMPOSSIBLE` for answers that a user does not have.
        answers: which answers each user has, in order.
        silence: whether the last answer is silence.
    """

    def __init__(self, words: Tensor, log_prior: Tensor, silence: bool) -> None:
        self.words = words
        self.log_prior = log_prior
        self.silence = silence
        self.answers = [row.nonzero().squeeze(-1) for row in (log_prior > IMPOSSIBLE)]
        self._elsewhere: dict[torch.device, Code] = {words.device: self}

    @classmethod
    def of(cls, problem: NomaProblem) -> Code:
        """The code of a problem."""
        words = problem.codebook
        if problem.silence:
            words = torch.cat([words, torch.zeros_like(words[:, :1])], dim=1)
        return cls(words, problem.log_prior.clamp_min(IMPOSSIBLE), problem.silence)

    def to(self, device: torch.device) -> Code:
        """The same on `device`, made once."""
        if device not in self._elsewhere:
            self._elsewhere[device] = Code(self.words.to(device), self.log_prior.to(device), self.silence)
        return self._elsewhere[device]

    def received(self, h: Tensor) -> Tensor:
        """Codewords as they arrive over h [S, N, R]: complex64 [S, N, A, R], or [1, N, A, R] if all slots are alike."""
        if len(h) > 1 and same_in_all_slots(h):
            h = h[:1]
        slots, users, samples = h.shape
        resources = self.words.shape[-1]
        spread = h.reshape(slots, users, 1, samples // resources, resources) * self.words.unsqueeze(-2)
        return spread.flatten(-2)


def same_in_all_slots(h: Tensor) -> bool:
    """Whether h [S, ...] is the same in all slots: no fading, so that tables of what arrives serve them all."""
    return h.stride(0) == 0 or bool((h[0] == h[-1]).all() and (h == h[:1]).all())


def as_real(values: Tensor) -> Tensor:
    """Complex [..., R] as real [..., 2 R]: real parts, then imaginary parts."""
    return torch.cat([values.real, values.imag], dim=-1)


def precise(y: Tensor, h: Tensor, noise_variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """y, h and noise variance in double precision where some slot needs it: where all users together are `STRONG`."""
    power = (h.real.square() + h.imag.square()).sum(dim=1).amax(dim=-1)
    if not (power > STRONG * noise_variance).any():
        return y, h, noise_variance
    noise = torch.maximum(noise_variance.double(), ROUNDING * power.double())
    return y.to(torch.complex128), h.to(torch.complex128), noise


def normalised(scores: Tensor, log_prior: Tensor) -> Tensor:
    """Log-probabilities from scores [S, N, A]; -inf where a user has no such answer."""
    return scores.masked_fill(log_prior <= IMPOSSIBLE, -torch.inf).log_softmax(dim=-1)
