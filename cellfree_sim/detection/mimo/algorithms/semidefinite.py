"""Semidefinite relaxation of maximum likelihood, solved by a batched primal-dual interior-point method.

Each real part of a symbol, in units in which the levels are -L + 1, ..., -3, -1, 1, 3, ..., L - 1, has a square from 1
to U = (L - 1)^2. With the real-valued statistics G and u (see `common`), Q = [[G, -u], [-u^T, 0]] and X = z z^T,
z = [x; 1], maximum likelihood minimises <Q, X>; that X has rank one is dropped:

    min <Q, X>   subject to   1 <= X_ii <= U,   X_ii = 1 in the last row,   X positive semidefinite,

the bound-constrained relaxation of Ma, Su, Jaldén and Chi (ICASSP 2008; for 16-QAM as tight as the others there). The
last column of X estimates the symbols.

The dual has a multiplier l_i for each row: Z = Q - diag(l) is positive semidefinite, and l_i = a_i - b_i with a, b >= 0
of the two bounds. Iterates are feasible on both sides throughout. A Newton step towards X Z = mu I,
a_i (X_ii - 1) = mu and b_i (U - X_ii) = mu (the direction of Helmberg, Rendl, Vanderbei and Wolkowicz, 1996, with
Mehrotra's predictor and corrector) takes one inverse of Z and one Cholesky factor of the same size, for all slots
together; slots that are done leave the batch.

Shape letters: S slots, n = 2 N real parts, m = n + 1 rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cellfree_sim.detection.mimo.algorithms.common import diagonal, inverse, loaded, real_form, statistics

NUMBERS_AT_A_TIME = 1 << 18  # entries of X of all slots together: what they take stays in the caches
SHORTER = 0.8  # by how much a step that leaves the cone is shortened before it is tried again
INSIDE = 0.95  # part of the way to the boundary that is gone
LEAST_SHARE = 1e-3  # of the gap, that a step aims at


class Relaxation(NamedTuple):
    """Solved relaxations: `estimate` [S, n] of the real parts, `objective` [S] = <Q, X>, and its `gap` [S].

    The optimum is at most `gap` below the objective, as both sides are feasible. `iterations` is the largest number
    that a slot took.
    """

    estimate: Tensor
    objective: Tensor
    gap: Tensor
    iterations: int


def semidefinite(y: Tensor, h: Tensor, levels: Tensor, *, iterations: int, tolerance: float) -> tuple[Tensor, int]:
    """Estimates complex64 [S, N] of the symbols of y [S, R] and h [S, R, N], and the iterations that they took.

    `levels` [L] are those of a square constellation, ascending.
    """
    unit = (levels[-1] - levels[-2]).double().item() / 2
    users = h.shape[-1]
    step = max(1, NUMBERS_AT_A_TIME // (2 * users + 1) ** 2)
    parts, taken = [], 0
    for start in range(0, len(y), step):
        chunk = slice(start, start + step)
        known = real_form(statistics(y[chunk].to(torch.complex128), h[chunk].to(torch.complex128)))
        solved = relax(
            known.gram * unit**2,
            known.matched * unit,
            float((len(levels) - 1) ** 2),
            iterations=iterations,
            tolerance=tolerance,
        )
        taken = max(taken, solved.iterations)
        parts.append(torch.complex(solved.estimate[:, :users], solved.estimate[:, users:]) * unit)
    return torch.cat(parts).to(torch.complex64), taken


def relax(gram: Tensor, matched: Tensor, largest: float, *, iterations: int, tolerance: float) -> Relaxation:
    """Relax min x^T G x - 2 u^T x over 1 <= x_i^2 <= `largest`, until the gap is `tolerance` times mean(G_ii) n.

    Args:
        gram: G [S, n, n], float64.
        matched: u [S, n].
        largest: U; 1 for symbols of one level and its negative.
        iterations: at most so many.
        tolerance: of the gap between both sides, in the power of one level of one user.
    """
    slots, size = matched.shape
    scale = diagonal(gram).mean(dim=-1).clamp_min(torch.finfo(gram.dtype).tiny)
    state = _start(gram / scale[:, None, None], matched / scale[:, None], largest)
    estimate, left = torch.empty_like(matched), torch.arange(slots, device=matched.device)
    objective, gap = matched.new_empty(slots), matched.new_empty(slots)
    step = 0
    while True:
        found = _gap(state, largest)
        done = (found <= tolerance) | torch.tensor(step == iterations, device=found.device)
        at = left[done]
        estimate[at], gap[at] = state.primal[done, :size, size], found[done]
        objective[at] = (state.cost[done] * state.primal[done]).sum(dim=(-2, -1))
        left, state = left[~done], _State(*(part[~done] for part in state))
        if len(left) == 0:
            return Relaxation(estimate, objective * scale, gap * scale, step)
        state = _advance(state, largest)
        step += 1


class _State(NamedTuple):
    """Both sides of each slot: Q, X and Z [S, m, m], a and b [S, n]."""

    cost: Tensor
    primal: Tensor
    dual: Tensor
    lower: Tensor
    upper: Tensor


def _start(gram: Tensor, matched: Tensor, largest: float) -> _State:
    """A diagonal X in the middle of its bounds, and multipliers that make Z dominate its off-diagonal entries."""
    slots, size = matched.shape
    cost = gram.new_zeros(slots, size + 1, size + 1)
    cost[:, :size, :size], cost[:, :size, size], cost[:, size, :size] = gram, -matched, -matched
    primal = torch.diag_embed(torch.full_like(cost[:, 0], (1 + largest) / 2))
    primal[:, size, size] = 1
    least = 1 + 1.1 * matched.norm(dim=-1)  # -|u| is the least eigenvalue that the border can give Q
    lower = torch.ones_like(matched)
    upper = lower + least.unsqueeze(-1)
    dual = loaded(cost, least.unsqueeze(-1))
    return _State(cost, primal, dual, lower, upper)


def _pairs(size: int, largest: float) -> int:
    """How many products are to reach the target: eigenvalues of X Z, and two bounds of each part where they differ."""
    return size + 1 + (2 * size if largest > 1 else 0)


def _rooms(primal: Tensor, largest: float) -> tuple[Tensor, Tensor]:
    own = diagonal(primal)[:, :-1]
    return own - 1, largest - own


def _gap(state: _State, largest: float) -> Tensor:
    """<Q, X> above the dual objective [S]."""
    above, below = _rooms(state.primal, largest)
    bounds = (state.lower * above + state.upper * below).sum(dim=-1) if largest > 1 else 0.0
    return (state.primal * state.dual).sum(dim=(-2, -1)) + bounds


class _Change(NamedTuple):
    """What a Newton step adds to X [S, m, m], to l [S, m], and to a and b [S, n]."""

    primal: Tensor
    multiplier: Tensor
    lower: Tensor
    upper: Tensor


def _advance(state: _State, largest: float) -> _State:
    """One step of Mehrotra's predictor and corrector, as far as both sides stay feasible."""
    newton = _Newton(state, largest)
    gap = _gap(state, largest)
    ahead = newton.direction(torch.zeros_like(gap), None)
    reached = _gap(_moved(state, ahead, largest), largest)
    share = (reached / gap).clamp(0, 1)
    target = gap / _pairs(state.lower.shape[1], largest) * share.square().clamp_min(LEAST_SHARE)
    return _moved(state, newton.direction(target, ahead), largest)


class _Newton:
    """The linear system of a Newton step, factored once for predictor and corrector."""

    def __init__(self, state: _State, largest: float) -> None:
        self.state, self.bounded = state, largest > 1
        self.inverse = inverse(state.dual)
        self.pull = torch.zeros_like(self.inverse[:, 0])
        if self.bounded:
            self.above, self.below = _rooms(state.primal, largest)
            self.pull[:, :-1] = 1 / (state.lower / self.above + state.upper / self.below)
        self.factor = torch.linalg.cholesky_ex(loaded(state.primal * self.inverse, self.pull))[0]

    def direction(self, target: Tensor, ahead: _Change | None) -> _Change:
        """The step towards `target` [S] for all products; with the second-order terms of the step `ahead`."""
        state, goal = self.state, target.unsqueeze(-1)
        base = goal.unsqueeze(-1) * self.inverse - state.primal
        above_goal = below_goal = goal
        if ahead is not None:
            base = base + self._product(ahead.primal, ahead.multiplier)
            own = diagonal(ahead.primal)[:, :-1]
            above_goal, below_goal = goal - own * ahead.lower, goal + own * ahead.upper
        wanted = -diagonal(base)
        if not self.bounded:
            turn = self._solve(wanted)
            none = torch.zeros_like(state.lower)
            return _Change(base + self._product(state.primal, turn), turn, none, none)
        lower, upper = above_goal / self.above - state.lower, below_goal / self.below - state.upper
        wanted[:, :-1] += (lower - upper) * self.pull[:, :-1]
        turn = self._solve(wanted)
        change = base + self._product(state.primal, turn)
        own = diagonal(change)[:, :-1]
        return _Change(change, turn, lower - state.lower / self.above * own, upper + state.upper / self.below * own)

    def _product(self, matrix: Tensor, multiplier: Tensor) -> Tensor:
        """The symmetric part of `matrix` diag(`multiplier`) Z^-1."""
        moved = (matrix * multiplier.unsqueeze(-2)) @ self.inverse
        return (moved + moved.mT) / 2

    def _solve(self, wanted: Tensor) -> Tensor:
        solved: Tensor = torch.cholesky_solve(wanted.unsqueeze(-1), self.factor).squeeze(-1)
        return solved


def _moved(state: _State, change: _Change, largest: float) -> _State:
    """The state after the longest step on each side that was found to keep it feasible."""
    first = second = torch.ones_like(state.cost[:, 0, 0])
    if largest > 1:
        own = diagonal(change.primal)[:, :-1]
        above, below = _rooms(state.primal, largest)
        first = torch.minimum(_to_boundary(above, own), _to_boundary(below, -own))
        second = torch.minimum(_to_boundary(state.lower, change.lower), _to_boundary(state.upper, change.upper))
    first = _within_cone(state.primal, change.primal, first)
    second = _within_cone(state.dual, -torch.diag_embed(change.multiplier), second).unsqueeze(-1)
    return _State(
        cost=state.cost,
        primal=state.primal + first[:, None, None] * change.primal,
        dual=loaded(state.dual, -second * change.multiplier),
        lower=state.lower + second * change.lower,
        upper=state.upper + second * change.upper,
    )


def _to_boundary(value: Tensor, change: Tensor) -> Tensor:
    """The longest step [S], up to 1, that keeps positive `value` [S, n] positive."""
    longest = torch.where(change < 0, -INSIDE * value / change, 1.0).amin(dim=-1)
    return longest.clamp_max(1.0)


def _within_cone(matrix: Tensor, change: Tensor, longest: Tensor) -> Tensor:
    """The longest step [S] tried, from `longest` downwards, that keeps positive definite matrices so."""
    step = longest.clone()
    trying = torch.arange(len(step), device=step.device)
    cut = torch.zeros_like(step, dtype=torch.bool)
    while len(trying):
        tried = matrix[trying] + step[trying, None, None] * change[trying]
        trying = trying[torch.linalg.cholesky_ex(tried)[1] > 0]
        step[trying] *= SHORTER
        cut[trying] = True
    return torch.where(cut, INSIDE * step, step)
