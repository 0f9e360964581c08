"""RE-MIMO for detection only, with its products in bfloat16 or 8 bits.

The same blocks as in `re_mimo`, arranged so that little is left beside the products with weights: all that a block is
told stands in one table, of which only what changed is written anew, rows are padded to what the processor's matrix
instructions take at a time, biases and ReLU belong to the product, and attention is two batched products.

States, layer norms and what is said of y and H stay in float32.

Shape letters: as in `re_mimo`.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from cellfree_sim.detection.learned.precision import Precision, packed_layer, padded
from cellfree_sim.detection.learned.re_mimo import Encoder, Predictor, ReMimo, mixed_by_pairs, strength

ROWS_AT_ONCE = 2048  # users of all slots together, on a CPU: what a block makes of them stays in the caches


class QuickReMimo(nn.Module):
    """A trained `ReMimo` made for speed: called as it is, it returns the scores [S, N, M] of the last block.

    Args:
        network: in evaluation mode; it is not changed.
        precision: of the products with weights.
    """

    def __init__(self, network: ReMimo, precision: Precision) -> None:
        super().__init__()
        self.likelihood = network.likelihood
        self.embedding = _stack(network.embedding, precision)
        self._gain, self._count = network.gain, network.count
        self._columns = padded(network.width + self._count + self.likelihood.known + 1)
        blocks = []
        for encoder, predictor in zip(network.encoders, network.predictors, strict=True):
            assert isinstance(encoder, Encoder)
            assert isinstance(predictor, Predictor)
            blocks.append(_Block(encoder, predictor, self._columns, precision))
        self._kind = blocks[0].asked.takes
        self.blocks = nn.ModuleList(blocks)

    def forward(self, y: Tensor, h: Tensor, noise_variance: Tensor, maps: list[Tensor] | None = None) -> list[Tensor]:
        """Scores of the last block, in a list of one. `maps` as in `ReMimo`."""
        step = max(1, ROWS_AT_ONCE // h.shape[-1]) if y.device.type == "cpu" and maps is None else len(y)
        pieces = [slice(start, start + step) for start in range(0, len(y), step)]
        return [torch.cat([self._scores(y[piece], h[piece], noise_variance[piece], maps) for piece in pieces])]

    def _scores(self, y: Tensor, h: Tensor, noise_variance: Tensor, maps: list[Tensor] | None) -> Tensor:
        users, count = h.shape[-1], self._count
        run = self.likelihood.start(y, h, noise_variance)
        state = self._gain * self.embedding(run.first()).float()
        table = _Table(state, self._columns, self._kind)
        belief = state.new_zeros(*state.shape[:2], count)
        steering = state.new_zeros(*state.shape[:2], self.likelihood.steered)
        deviation = (noise_variance / (2 * users)).sqrt()[:, None, None].expand(-1, users, 1)
        scores: Tensor = belief
        for block in self.blocks:
            assert isinstance(block, _Block)
            seen = run.next(belief + 1 / count, steering)
            table.write([state, belief, *seen.features, deviation])
            state = block(table.values, state, seen.pairs, maps)
            table.write([state])
            points, steering = block.predict(table.values).float().tensor_split([count], dim=-1)
            scores = points if seen.prior is None else seen.prior + points
            belief = scores.softmax(dim=-1) - 1 / count
        return scores


class _Table:
    """What users are told, side by side: `values` [S, N, C], whose last columns are 0."""

    def __init__(self, like: Tensor, columns: int, kind: torch.dtype) -> None:
        self.values = like.new_zeros(*like.shape[:2], columns, dtype=kind)
        self._written: list[Tensor] = []

    def write(self, pieces: list[Tensor]) -> None:
        """Put `pieces` [S, N, ...] into the first columns; those that stand there already are left."""
        start = 0
        for at, piece in enumerate(pieces):
            end = start + piece.shape[-1]
            if at >= len(self._written) or self._written[at] is not piece:
                self.values[..., start:end] = piece
            start = end
        self._written[: len(pieces)] = pieces


class _Block(nn.Module):
    """An encoder, called with the table [S, N, C] and the state [S, N, D] for a new state, and a predictor."""

    def __init__(self, encoder: Encoder, predictor: Predictor, columns: int, precision: Precision) -> None:
        super().__init__()
        self._heads, self._across = encoder.heads, encoder.across
        asked = copy.deepcopy(encoder.asked)
        with torch.no_grad():  # what a product of query and key is divided by
            asked.weight[: self._across] /= math.sqrt(self._across // self._heads)
        self.asked = packed_layer(asked, precision, columns=columns)
        self.merge = packed_layer(encoder.merge, precision)
        self.widen = packed_layer(encoder.widen, precision, relu=True)
        self.narrow = packed_layer(encoder.narrow, precision)
        self.norms, self.power = encoder.norms, encoder.power
        self.predict = _stack(predictor, precision, columns)

    def forward(self, table: Tensor, state: Tensor, pairs: Tensor | None, maps: list[Tensor] | None) -> Tensor:
        """The states renewed."""
        asked = self.asked(table)
        mixed = self._attended(asked, pairs, maps)
        if pairs is not None:
            said = asked[..., 3 * self._across :].to(pairs)
            mixed = torch.cat([mixed, mixed_by_pairs(pairs, said).to(mixed)], dim=-1)
        renewed = self.norms[0](state + self.merge(mixed).float())
        result: Tensor = self.norms[1](renewed + self.narrow(self.widen(renewed)).float())
        return result

    def _attended(self, asked: Tensor, pairs: Tensor | None, maps: list[Tensor] | None) -> Tensor:
        """What users hear of each other [S, N, A * K]."""
        slots, users = asked.shape[:2]
        parts = asked[..., : 3 * self._across].view(slots, users, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = parts.flatten(1, 2)  # [S A, N, K]
        match = torch.bmm(query, key.mT).view(slots, self._heads, users, users)
        if self.power is not None and pairs is not None:
            match = match + self.power[:, None, None] * strength(pairs).log().unsqueeze(1)
        weights = match.softmax(dim=-1)
        if maps is not None:
            maps.append(weights.float())
        mixed = torch.bmm(weights.flatten(0, 1).to(value), value)
        return mixed.view(slots, self._heads, users, -1).transpose(1, 2).flatten(-2)


def _stack(network: nn.Sequential, precision: Precision, columns: int | None = None) -> nn.Sequential:
    """Linear layers with ReLUs between them, packed; what ReLUs pass on is padded."""
    layers = [one for one in network if isinstance(one, nn.Linear)]
    packed: list[nn.Module] = []
    for layer in layers:
        last = layer is layers[-1]
        rows = None if last else padded(layer.out_features)
        packed.append(packed_layer(layer, precision, relu=not last, columns=columns, rows=rows))
        columns = rows
    return nn.Sequential(*packed)
