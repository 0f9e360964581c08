"""Spreading signatures: vectors of unit norm by which users differ, and how much they interfere with each other.

A user that spreads sends s_n x_n: its signature s_n, one entry for each resource, times a symbol. Signatures of N users
on K resources are the rows of an array complex128 [N, K].
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_PACKING_POWERS = (8, 32, 128, 512)


def modified_chirp(users: int, resources: int) -> NDArray[np.complex128]:
    """Signatures s_n(k) = exp(j pi (k + n)^2 / N) / sqrt(K), counted from 1: they meet Welch's bound (TR 38.812, A.4).

    >>> cross_correlation(modified_chirp(6, 4), [0.8, 0.8, 0.8, 0.4, 0.4, 0.4]).__round__(8)
    0.03666667
    """
    user, resource = np.arange(1, users + 1)[:, None], np.arange(1, resources + 1)
    phase = np.pi * (user + resource) ** 2 / users
    return np.asarray(np.exp(1j * phase) / math.sqrt(resources))


def random_signatures(users: int, resources: int, seed: int) -> NDArray[np.complex128]:
    """Directions drawn uniformly from the complex sphere."""
    parts = np.random.default_rng(seed).standard_normal((2, users, resources))
    return normalised(parts[0] + 1j * parts[1])


def quantised(signatures: NDArray[np.complex128], levels: int) -> NDArray[np.complex128]:
    """Real and imaginary parts rounded to the integers -Q … Q, the largest of all taken for Q, and normalised.

    >>> quantised(np.array([[0.9 + 0.1j, -0.4]]), 2) * math.sqrt(5)
    array([[ 2.+0.j, -1.+0.j]])
    """
    scale = levels / max(np.abs(signatures.real).max(), np.abs(signatures.imag).max())
    return normalised(np.round(signatures.real * scale) + 1j * np.round(signatures.imag * scale))


def normalised(signatures: NDArray[Any]) -> NDArray[np.complex128]:
    """Rows scaled to unit norm; a row of zeros stays one."""
    norm = np.linalg.norm(signatures, axis=1, keepdims=True)
    return np.asarray(signatures / np.where(norm > 0, norm, 1), dtype=np.complex128) + 0.0


def packed(users: int, resources: int, seed: int) -> NDArray[np.complex128]:
    """Signatures whose largest correlation is small (a Grassmannian packing of lines), by numerical search.

    The sum of |s_i^H s_j|^q over pairs is minimised for rising powers q, from one random start.
    """
    from scipy.optimize import minimize

    if users <= resources:
        return np.eye(users, resources, dtype=np.complex128)
    start = random_signatures(users, resources, seed)
    flat = np.concatenate([start.real.ravel(), start.imag.ravel()])
    for power in _PACKING_POWERS:
        sizes = (users, resources, power)
        flat = minimize(_packing_loss, flat, sizes, "L-BFGS-B", jac=True, options={"maxiter": 200}).x
    return normalised(_unflattened(flat, users, resources))


def _unflattened(flat: NDArray[np.float64], users: int, resources: int) -> NDArray[np.complex128]:
    parts = flat.reshape(2, users, resources)
    return np.asarray(parts[0] + 1j * parts[1])


def _packing_loss(
    flat: NDArray[np.float64], users: int, resources: int, power: int
) -> tuple[float, NDArray[np.float64]]:
    """log(sum of |<s_i, s_j>|^power over i != j) / power of rows normalised, and its gradient."""
    rows = _unflattened(flat, users, resources)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / norm
    gram = unit.conj() @ unit.T
    squares = np.abs(gram) ** 2
    np.fill_diagonal(squares, 0)
    largest = squares.max() + 1e-300
    weights = (squares / largest) ** (power / 2)
    total = weights.sum()
    slope = 2 * (weights / np.where(squares > 0, squares, 1)) / total * gram  # of the loss by conj(gram), twice
    towards = slope.T @ unit
    towards -= unit * (unit.conj() * towards).sum(axis=1, keepdims=True).real
    towards /= norm
    gradient = np.concatenate([towards.real.ravel(), towards.imag.ravel()])
    return (math.log(total) / power + 0.5 * math.log(largest)), gradient


def correlations(signatures: NDArray[np.complex128]) -> NDArray[np.float64]:
    """|s_i^H s_j| of all pairs of rows [N, N]."""
    return np.asarray(np.abs(signatures.conj() @ signatures.T))


def cross_correlation(signatures: NDArray[np.complex128], activity: Sequence[float] | None = None) -> float:
    """Interference between users, weighted by how often both of a pair are active (None: always).

    sum over i != j of p_i p_j |s_i^H s_j|^2 / (N (N - 1)).
    """
    return weighted(correlations(signatures) ** 2, activity)


def weighted(overlaps: NDArray[np.float64], activity: Sequence[float] | None = None) -> float:
    """Mean of `overlaps` [N, N] over all pairs of different users, each times p_i p_j; 0 for a single user."""
    users = len(overlaps)
    p = np.ones(users) if activity is None else np.asarray(activity, dtype=np.float64)
    if users < 2:
        return 0.0
    return float((p @ overlaps @ p - (p * p * overlaps.diagonal()).sum()) / (users * (users - 1)))


def welch_bound(resources: int, activity: Sequence[float]) -> float:
    """The least `cross_correlation` that any signatures of unit norm have: from sum p_i s_i s_i^H = (sum p_i / K) I.

    >>> welch_bound(4, [0.8, 0.8, 0.8, 0.4, 0.4, 0.4]).__round__(8)
    0.028
    """
    p, users = np.asarray(activity, dtype=np.float64), len(activity)
    if users < 2:
        return 0.0
    return max(float((p.sum() ** 2 / resources - (p * p).sum()) / (users * (users - 1))), 0.0)


def searched(
    users: int, resources: int, *, levels: int, activity: Sequence[float], starts: int, seed: int
) -> NDArray[np.complex128]:
    """Signatures of least weighted `cross_correlation` found, their parts among the integers -Q … Q.

    From each of `starts` random starts, one entry of one signature after the other takes the best of its (2 Q + 1)^2
    values (all others being fixed, a Rayleigh quotient), until none changes. The best of all starts is returned.
    """
    return _Search(users, resources, levels, activity, starts, seed).best()


class _Search:
    """Coordinate search from B starts at once: state complex [B, N, K]."""

    def __init__(
        self, users: int, resources: int, levels: int, activity: Sequence[float], starts: int, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        part = np.arange(-levels, levels + 1)
        self._values = (part[:, None] + 1j * part).ravel()
        self._p = np.asarray(activity, dtype=np.float64)
        self._state = self._values[rng.integers(len(self._values), size=(starts, users, resources))]
        self._state[~self._state.any(axis=-1), 0] = levels

    def best(self, sweeps: int = 200) -> NDArray[np.complex128]:
        for _ in range(sweeps):
            moved = [self._moved(user) for user in range(len(self._p))]
            if not any(moved):
                break
        unit = self._unit()
        overlaps = np.abs(unit.conj() @ unit.swapaxes(1, 2)) ** 2
        scores = [weighted(one, self._p.tolist()) for one in overlaps]
        return normalised(self._state[int(np.argmin(scores))])

    def _unit(self) -> NDArray[np.complex128]:
        return np.asarray(self._state / np.linalg.norm(self._state, axis=-1, keepdims=True))

    def _moved(self, user: int) -> bool:
        """Give each entry of a user's signature its best value, in every start; whether any has changed."""
        others = np.delete(self._unit(), user, axis=1) * np.sqrt(np.delete(self._p, user))[:, None]
        frame = others.swapaxes(1, 2) @ others.conj()  # sum of p s s^H, [B, K, K]
        own = np.einsum("bkk->bk", frame).real
        s = self._state[:, user].copy()
        every, v = np.arange(len(s)), self._values
        size = np.abs(v) ** 2
        changed = False
        for resource in range(s.shape[1]):
            old = s[:, resource].copy()
            s[:, resource] = 0
            through = (frame @ s[:, :, None])[:, :, 0]
            rest = (s.conj() * through).sum(axis=1).real
            loss = rest[:, None] + 2 * (v.conj() * through[:, resource, None]).real + own[:, resource, None] * size
            energy = (np.abs(s) ** 2).sum(axis=1)[:, None] + size
            quotient = np.where(energy > 0, loss / np.maximum(energy, 1), np.inf)
            best = quotient.argmin(axis=1)
            better = quotient[every, best] < quotient[every, self._index(old)] - 1e-12
            s[:, resource] = np.where(better, v[best], old)
            changed |= bool(better.any())
        self._state[:, user] = s
        return changed

    def _index(self, values: NDArray[np.complex128]) -> NDArray[np.int64]:
        """Where complex integers stand among the values."""
        levels = (round(math.sqrt(len(self._values))) - 1) // 2
        at = (values.real + levels) * (2 * levels + 1) + values.imag + levels
        return np.asarray(at.astype(np.int64))
