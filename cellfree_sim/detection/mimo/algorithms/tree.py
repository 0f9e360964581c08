"""Detectors that search the tree of all symbol vectors: K-best (breadth first, cut) and sphere (exact).

With G = R^H R and the unconstrained minimum x0 = G^-1 u, |y - H x|^2 = |R (x - x0)|^2 + a constant: a sum over the rows
of R, of which row i depends on the symbols i, i + 1, ... only. The users are ordered as ordered successive cancellation
decides them, the surest first (in the last row), which keeps wrong branches from being kept early.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cellfree_sim.detection.mimo.algorithms.cancellation import detection_order
from cellfree_sim.detection.mimo.algorithms.common import Alphabet, cholesky, statistics

UNSEEN = 1.0  # in units of log-probability, from the worst survivor to points that no survivor has
NODES_AT_A_TIME = 1 << 15
CANDIDATES_AT_A_TIME = 1 << 21  # of K-best, per row of the tree


class Tree(NamedTuple):
    """Ordered problem: `upper` [S, N, N] = R, `target` [S, N] = R x0, `order` [S, N]: which user row i is."""

    upper: Tensor
    target: Tensor
    order: Tensor


def grow(y: Tensor, h: Tensor) -> Tree:
    """The tree of y [S, R] and h [S, R, N], in the precision that they have."""
    known = statistics(y, h)
    order = detection_order(known.gram).flip(-1)
    users = order.shape[-1]
    gram = known.gram.gather(1, order.unsqueeze(-1).expand(-1, -1, users))
    gram = gram.gather(2, order.unsqueeze(-2).expand(-1, users, -1))
    lower = cholesky(gram)
    matched = known.matched.gather(1, order).unsqueeze(-1)
    target = torch.linalg.solve_triangular(lower, matched, upper=False).squeeze(-1)
    return Tree(lower.mH.contiguous(), target, order)


def k_best(y: Tensor, h: Tensor, noise_variance: Tensor, alphabet: Alphabet, *, survivors: int) -> Tensor:
    """The `survivors` best partial vectors are kept in each row of the tree: scores [S, N, M].

    The score of a point is that of the best survivor with it (max-log); a point of no survivor is `UNSEEN` below the
    worst of them. With as many survivors as there are vectors the best one is the maximum-likelihood decision.
    """
    step = max(1, CANDIDATES_AT_A_TIME // (survivors * len(alphabet.points)))
    parts = []
    for start in range(0, len(y), step):
        chunk = slice(start, start + step)
        tree = grow(y[chunk], h[chunk])
        distances, symbols = breadth_first(tree, alphabet, survivors)
        parts.append(_list_scores(distances, symbols, tree.order, noise_variance[chunk], len(alphabet.points)))
    return torch.cat(parts)


def breadth_first(tree: Tree, alphabet: Alphabet, survivors: int) -> tuple[Tensor, Tensor]:
    """Squared distances [S, K], best first, and symbols int64 [S, K, N] in rows' order, of the survivors."""
    slots, users = tree.target.shape
    points = alphabet.points.to(tree.target.dtype)
    size = len(points)
    distances = tree.target.real.new_zeros(slots, 1)
    paths = tree.target.new_empty(slots, 1, 0)
    symbols = torch.empty(slots, 1, 0, dtype=torch.int64, device=points.device)
    for row in range(users - 1, -1, -1):
        pull = paths @ tree.upper[:, row, row + 1 :].unsqueeze(-1)  # [S, K, 1]
        rest = (tree.target[:, row, None, None] - pull).squeeze(-1)
        gap = alphabet.distances(rest, tree.upper[:, row, row, None].real)
        candidates = (distances.unsqueeze(-1) + gap).flatten(1)
        distances, best = candidates.topk(min(survivors, candidates.shape[1]), dim=-1, largest=False)
        parent, symbol = best // size, alphabet.of_cell[best % size]
        depth = paths.shape[-1]
        at = parent.unsqueeze(-1).expand(-1, -1, depth)
        paths = torch.cat([points[symbol].unsqueeze(-1), paths.gather(1, at)], dim=-1)
        symbols = torch.cat([symbol.unsqueeze(-1), symbols.gather(1, at)], dim=-1)
    return distances, symbols


def _list_scores(distances: Tensor, symbols: Tensor, order: Tensor, noise_variance: Tensor, size: int) -> Tensor:
    """Max-log scores [S, N, M] of users from a list of vectors, in the order of `order`'s values."""
    metric = -distances / noise_variance.unsqueeze(-1)
    slots, _, users = symbols.shape
    floor = (metric[:, -1] - UNSEEN)[:, None, None].expand(slots, users, size)
    listed = metric.unsqueeze(-2).expand(-1, users, -1)
    by_row = floor.scatter_reduce(-1, symbols.mT, listed, "amax", include_self=True)
    return torch.empty_like(by_row).scatter_(1, order.unsqueeze(-1).expand(-1, -1, size), by_row)


def sphere(y: Tensor, h: Tensor, alphabet: Alphabet) -> Tensor:
    """Maximum-likelihood decisions int64 [S, N], exact (in float64): argmin over all vectors of |y - H x|^2.

    The search starts from a K-best solution; nothing within its distance is left out. Nodes of all slots are
    expanded together, deepest first and a limited number at a time, so that memory stays bounded. Time does not: it
    grows exponentially with the users at low signal-to-noise ratio.
    """
    tree = grow(y.to(torch.complex128), h.to(torch.complex128))
    distances, symbols = breadth_first(tree, alphabet, 16)
    radius, best = distances[:, 0].clone(), symbols[:, 0].clone()
    users = tree.order.shape[-1]
    every = torch.arange(len(y), device=y.device)
    stack = [_Nodes(every, torch.zeros_like(radius), symbols[:, 0, :0])]
    while stack:
        nodes = stack.pop()
        children = _expand(tree, alphabet, nodes, radius)
        if children.symbols.shape[1] == users:
            _improve(children, radius, best)
        else:
            stack.extend(_pieces(children))
    return torch.empty_like(best).scatter_(1, tree.order, best)


class _Nodes(NamedTuple):
    """Partial vectors: whose `slot` [P], squared `distance` [P], and `symbols` [P, depth] of the last rows."""

    slot: Tensor
    distance: Tensor
    symbols: Tensor


def _expand(tree: Tree, alphabet: Alphabet, nodes: _Nodes, radius: Tensor) -> _Nodes:
    """All children of `nodes` that are nearer than what is known."""
    nodes = _Nodes(*(part[nodes.distance < radius[nodes.slot]] for part in nodes))
    row = tree.target.shape[1] - 1 - nodes.symbols.shape[1]
    pull = (tree.upper[nodes.slot, row, row + 1 :] * alphabet.points[nodes.symbols]).sum(dim=-1)
    gap = alphabet.distances(tree.target[nodes.slot, row] - pull, tree.upper[nodes.slot, row, row].real)
    distance = nodes.distance.unsqueeze(-1) + gap
    parent, cell = (distance < radius[nodes.slot].unsqueeze(-1)).nonzero(as_tuple=True)
    symbols = torch.cat([alphabet.of_cell[cell].unsqueeze(-1), nodes.symbols[parent]], dim=-1)
    return _Nodes(nodes.slot[parent], distance[parent, cell], symbols)


def _improve(leaves: _Nodes, radius: Tensor, best: Tensor) -> None:
    """Take the nearest of `leaves` of each slot, where it is nearer than what is known."""
    radius.scatter_reduce_(0, leaves.slot, leaves.distance, "amin")
    nearest = leaves.distance == radius[leaves.slot]
    best[leaves.slot[nearest]] = leaves.symbols[nearest]


def _pieces(nodes: _Nodes) -> list[_Nodes]:
    """`nodes` in pieces of a limited number, the most promising last, so that it is popped first."""
    if len(nodes.slot) <= NODES_AT_A_TIME:
        return [nodes] if len(nodes.slot) else []
    order = torch.split(nodes.distance.argsort(descending=True), NODES_AT_A_TIME)
    return [_Nodes(*(part[piece] for part in nodes)) for piece in order]
