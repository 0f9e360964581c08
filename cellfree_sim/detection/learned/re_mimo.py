"""RE-MIMO: a recurrent, permutation equivariant network that detects the symbols of any number of users.

Pratik, Rao and Welling, "RE-MIMO: Recurrent and Permutation Equivariant Neural MIMO Detection", 2020; (n) are its
equations. Each user has a state s_i. Blocks in a row, each with weights of its own, renew all states by self-attention
between users and predict each user's symbol from its state:

    likelihood  what y and H say about the symbols, given the last prediction           (12), (15), or see below
    encoder     s_i <- LN(s_i + attention(phi)_i),  s_i <- LN(s_i + feed-forward(s_i))  (17)-(20)
    predictor   scores of the points for user i, from s_i and psi_i                     (21)

Three kinds of likelihood module ("inputs"):

* paper: the vectors dy / sqrt(2N) and h_i as they are; the rest is left to the network.
* gradient: these, and what the matched filter makes of them for each user: h_i^H dy, h_i^H dy / |h_i|^2, |h_i|^2, the
  logarithms of the residual's energy and of the noise. It trains much faster.
* cavity: one iteration of expectation propagation. The prediction becomes the Gaussian messages of all symbols; given
  y and all messages but its own, each symbol has a mean and a variance (its cavity), which the user gets, and any two
  symbols have a correlation, which weights the attention that one user pays to the other, and lets what users say reach
  others with its sign. The predictor corrects what the cavity says, and by how much its message is trusted, so that the
  untrained network *is* expectation propagation. Only H^H H, H^H y and |y|^2 are needed, as in all good detectors: one
  model takes any number of antennas, too.

Different from the paper: probabilities are fed back, not scores, which may explode.

Shape letters: S slots, R receive antennas, N users, M points, D width of a state, A heads.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cellfree_sim.detection.learned.likelihood import Cavities, Vectors
from cellfree_sim.detection.mimo.algorithms.common import Alphabet

Inputs = Literal["paper", "gradient", "cavity"]


class ReMimo(nn.Module):
    """The network: called with (y, h, noise_variance), it returns the scores [S, N, M] of each block.

    Args:
        points: of the constellation, complex64 [M]; of a square QAM where `inputs` is cavity.
        antennas: R, which the vectors of the inputs paper and gradient have; cavity takes any number.
        inputs: see the module.
        width: D.
        blocks: encoder-predictor blocks, each with its own weights.
        heads: A.
    """

    def __init__(self, points: Tensor, *, antennas: int, inputs: Inputs, width: int, blocks: int, heads: int) -> None:
        super().__init__()
        alphabet = Alphabet(points)
        count = len(points)
        self.count, self.width = count, width
        self.likelihood: Vectors | Cavities
        if inputs == "cavity":
            self.likelihood = Cavities(alphabet, blocks)
        else:
            self.likelihood = Vectors(alphabet, antennas, gradient=inputs == "gradient")
        self.gain = 1.0 if inputs == "cavity" else math.sqrt(width)  # of the paper's embedding
        told = self.likelihood.known + count
        said = self.likelihood.steered + count
        hidden = 4 * width
        self.embedding = nn.Sequential(nn.Linear(self.likelihood.first, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.encoders = nn.ModuleList(Encoder(width, told, heads, paired=self.likelihood.paired) for _ in range(blocks))
        self.predictors = nn.ModuleList(Predictor(width + told + 1, said) for _ in range(blocks))
        if inputs == "cavity":  # which starts as what the cavities say
            for name, parameter in self.predictors.named_parameters():
                if int(name.split(".")[1]) == Predictor.LAST:
                    nn.init.zeros_(parameter)

    def forward(self, y: Tensor, h: Tensor, noise_variance: Tensor, maps: list[Tensor] | None = None) -> list[Tensor]:
        """Scores of each block. `maps`, if given, gets the attention [S, A, N, N] of each block, rows adding to 1."""
        slots, users = len(h), h.shape[-1]
        deviation = (noise_variance / (2 * users)).sqrt()[:, None, None].expand(-1, users, 1)
        exact = torch.autocast(y.device.type, enabled=False)  # products of H lose too much in 16 bits
        with exact:
            run = self.likelihood.start(y, h, noise_variance)
            features = run.first()
        state = self.gain * self.embedding(features)
        belief = deviation.new_zeros(slots, users, self.count)  # probabilities less those of knowing nothing
        steering = deviation.new_zeros(slots, users, self.likelihood.steered)
        scores: list[Tensor] = []
        for encoder, predictor in zip(self.encoders, self.predictors, strict=True):
            with exact:
                seen = run.next(belief + 1 / self.count, steering)
            told = torch.cat([belief, *seen.features], dim=-1)
            state = encoder(state, told, seen.pairs, maps)
            answer = predictor(torch.cat([state, told, deviation], dim=-1)).to(belief.dtype)
            points, steering = answer.tensor_split([self.count], dim=-1)
            scores.append(points if seen.prior is None else seen.prior + points)
            belief = scores[-1].softmax(dim=-1) - 1 / self.count
        return scores


class Encoder(nn.Module):
    """Self-attention between users and a feed-forward network for each, with residual connections and layer norms.

    Where the correlations of the users' symbols are known (`paired`), the attention that i pays to j is multiplied by a
    power of theirs, learned for each head; and each part of a symbol gets the sum of what all others have to say,
    weighted by its correlation with theirs, whose sign attention cannot tell.
    """

    def __init__(self, width: int, told: int, heads: int, *, paired: bool) -> None:
        super().__init__()
        self.heads = heads
        self.across = heads * -(-width // heads)
        half = -(-width // 2) if paired else 0
        self.asked = nn.Linear(width + told, 3 * self.across + 2 * half, bias=False)
        self.merge = nn.Linear(self.across + 2 * half, width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.power = nn.Parameter(torch.linspace(0, 1, heads)) if paired else None

    def forward(self, state: Tensor, told: Tensor, pairs: Tensor | None, maps: list[Tensor] | None) -> Tensor:
        """The states [S, N, D] renewed, given what the users were `told` [S, N, F] and their correlations."""
        asked, said = self.asked(torch.cat([state, told], dim=-1)).tensor_split([3 * self.across], dim=-1)
        query, key, value = asked.view(*state.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = None
        if self.power is not None and pairs is not None:
            bias = (self.power[:, None, None] * strength(pairs).log().unsqueeze(1)).to(query.dtype)
        if maps is not None:
            maps.append(attention(query, key, bias))
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed = mixed.transpose(1, 2).flatten(-2)
        if pairs is not None:
            mixed = torch.cat([mixed, mixed_by_pairs(pairs.to(said.dtype), said)], dim=-1)
        state = self.norms[0](state + self.merge(mixed))
        renewed: Tensor = self.norms[1](state + self.narrow(self.widen(state).relu()))
        return renewed


class Predictor(nn.Sequential):
    """Scores of the points for one user, from what is known of it: two hidden layers, a half and a quarter as wide."""

    LAST = 4  # the layer that scores

    def __init__(self, known: int, said: int) -> None:
        layers = (known, known // 2, known // 4)
        super().__init__(
            *(nn.Linear(layers[0], layers[1]), nn.ReLU()),
            *(nn.Linear(layers[1], layers[2]), nn.ReLU()),
            nn.Linear(layers[2], said),
        )


def attention(query: Tensor, key: Tensor, bias: Tensor | None) -> Tensor:
    """Weights [S, A, N, N] with which `scaled_dot_product_attention` adds values (19)."""
    match = query @ key.mT / math.sqrt(query.shape[-1])
    return (match if bias is None else match + bias).softmax(dim=-1)


def strength(correlation: Tensor) -> Tensor:
    """Mean squared correlation [S, N, N] of the parts of two users, at least 1e-4; 1 is added to a user's own."""
    users = correlation.shape[-1] // 2
    square = correlation.square().view(-1, 2, users, 2, users).mean(dim=(1, 3))
    return square.clamp_min(1e-4) + torch.eye(users, dtype=square.dtype, device=square.device)


def mixed_by_pairs(pairs: Tensor, said: Tensor) -> Tensor:
    """Of what all users have `said` [S, N, 2K] of their parts, what each gets by their correlations [S, 2N, 2N]."""
    return _to_users(pairs @ _to_parts(said))


def _to_parts(values: Tensor) -> Tensor:
    """[S, 2N, K]: the first half of what each of the users [S, N, 2K] has is of its real part."""
    return torch.cat(values.chunk(2, dim=-1), dim=-2)


def _to_users(values: Tensor) -> Tensor:
    """The inverse of `_to_parts`."""
    return torch.cat(values.chunk(2, dim=-2), dim=-1)
