"""SICNN as its paper has it, with what is misprinted there repaired: networks on raw signals, one user after the other.

Shape letters: see `words`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cellfree_sim.detection.noma.networks.words import Words, masked, real_parts

if TYPE_CHECKING:
    from cellfree_sim.uplink.noma import NomaProblem

FIRST_WIDTH = 0.25
"""Standard deviation that the estimate of a symbol is taken to have at the beginning."""


class StagesNet(nn.Module):
    """Stage n estimates the symbol of user n from what is left of y, y itself and all channels, in the users' order:

        x_n = f_n(r_{n-1}, y, h),    r_n = r_{n-1} - h_n s_n x_n,    r_0 = y.

    What is subtracted is the estimate as it is: behind the channel, and not normalised. The paper's algorithm omits the
    channel, and a soft value that is normalised is no soft value. The messages' scores are -|x_n - x(m)|^2 over a
    learned variance, to which their prior is added; silence is the symbol 0.

    Args:
        symbols: x(m) of each user, complex64 [N, M]; 0 for silence and for messages that a user does not have.
        samples: R.
        widths: of the hidden layers of a stage.
    """

    def __init__(self, symbols: Tensor, samples: int, widths: list[int]) -> None:
        super().__init__()
        users = len(symbols)
        self.register_buffer("symbols", symbols.to(torch.complex64), persistent=False)
        sizes = [2 * samples * (2 + users), *widths]
        self.stages = nn.ModuleList()
        for _ in range(users):
            layers: list[nn.Module] = []
            for before, after in zip(sizes, widths, strict=False):
                layers += [nn.Linear(before, after), nn.ReLU()]
            self.stages.append(nn.Sequential(*layers, nn.Linear(sizes[-1], 2)))
        self.log_width = nn.Parameter(torch.full((users,), FIRST_WIDTH).log())

    def forward(self, words: Words, y: Tensor, h: Tensor, noise_variance: Tensor) -> list[Tensor]:
        """Scores [S, N, M], the only element of a list."""
        symbols = self.get_buffer("symbols")
        seen = torch.cat([real_parts(y), real_parts(h).flatten(1)], dim=-1)
        signature = _signatures(words.codewords, symbols)
        left, found = y, []
        for user, stage in enumerate(self.stages):
            estimate = torch.view_as_complex(stage(torch.cat([real_parts(left), seen], dim=-1)))
            signal = h[:, user] * signature[user].repeat(h.shape[-1] // signature.shape[-1])
            left = left - signal * estimate.unsqueeze(-1)
            found.append(estimate)
        gap = torch.view_as_real(torch.stack(found, dim=1).unsqueeze(-1) - symbols).square().sum(dim=-1)
        scores = words.log_prior.clamp_min(-1e4) - gap / (2 * self.log_width.exp().square()).view(1, -1, 1)
        return [masked(scores, words.log_prior)]


def symbols_of(problem: NomaProblem) -> Tensor:
    """x(m) of a spreading codebook, complex64 [N, M] with silence, but for a phase that the signatures take."""
    spread = problem.book.spreading()
    assert spread is not None
    points = torch.zeros(problem.log_prior.shape, dtype=torch.complex64)
    for user, own in enumerate(spread[1]):
        points[user, : len(own)] = torch.from_numpy(own)
    return points / points.abs().square().sum(dim=1, keepdim=True).mul(1 / torch.tensor(problem.counts)[:, None]).sqrt()


def _signatures(codewords: Tensor, symbols: Tensor) -> Tensor:
    """s_n [N, K] of codewords s_n x_n(m) [N, M, K], by least squares."""
    weight = symbols.conj() / symbols.abs().square().sum(dim=1, keepdim=True)
    return (weight.unsqueeze(-1) * codewords).sum(dim=1)
