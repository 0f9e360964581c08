"""MIMO detectors as one would first write them: NumPy, one slot at a time, straight from the formulas.

They are what `cellfree bench detectors` compares the batched ones with, and a second implementation to test against:
in double precision, on tall channel matrices, with a new inverse wherever a formula has one. Each is a function of y
[R], H [R, N], the noise variance s and the points [M], and returns the messages [N].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Complex: TypeAlias = NDArray[np.complex128]
Decide: TypeAlias = Callable[[Complex, Complex, float, Complex], NDArray[np.int64]]
LEAST = 1e-10


def nearest(estimate: Complex, points: Complex) -> NDArray[np.int64]:
    """Index of the point nearest to each estimate.

    >>> nearest(np.array([0.9 + 0.1j, -2.0]), np.array([1.0 + 0j, -1.0]))
    array([0, 1])
    """
    return np.asarray(np.abs(estimate[:, None] - points).argmin(axis=1), dtype=np.int64)


def lmmse(y: Complex, h: Complex, s: float, points: Complex) -> NDArray[np.int64]:
    """The unbiased linear estimate of least mean square error."""
    users = h.shape[1]
    filters = np.linalg.solve(h.conj().T @ h + s * np.eye(users), h.conj().T)
    gain = np.einsum("nr,rn->n", filters, h).real
    return nearest(filters @ y / gain, points)


def vblast(y: Complex, h: Complex, s: float, points: Complex) -> NDArray[np.int64]:
    """Ordered successive cancellation with zero-forcing, a pseudo-inverse for each user."""
    left, decided = list(range(h.shape[1])), np.zeros(h.shape[1], dtype=np.int64)
    while left:
        inverse = np.linalg.pinv(h[:, left])
        best = int((np.abs(inverse) ** 2).sum(axis=1).argmin())
        user = left.pop(best)
        decided[user] = nearest((inverse[best] @ y)[None], points)[0]
        y = y - h[:, user] * points[decided[user]]
    return decided


def amp(y: Complex, h: Complex, s: float, points: Complex, *, iterations: int) -> NDArray[np.int64]:
    """Approximate message passing on residuals, with Onsager's term."""
    antennas, users = h.shape
    mean, residual = np.zeros(users, complex), y
    excess = users / antennas / s
    estimate = mean
    for _ in range(iterations):
        estimate = mean + h.conj().T @ residual
        mean, spread = _posterior(estimate, np.full(users, s * (1 + excess)), points)
        new = users / antennas * spread.mean() / s
        residual = y - h @ mean + new / (1 + excess) * residual
        excess = new
    return nearest(mean + h.conj().T @ residual, points)


def oamp(y: Complex, h: Complex, s: float, points: Complex, *, iterations: int) -> NDArray[np.int64]:
    """Orthogonal AMP with an LMMSE filter of R x R in each iteration."""
    antennas, users = h.shape
    mean, estimate = np.zeros(users, complex), np.zeros(users, complex)
    power = np.vdot(h, h).real
    for _ in range(iterations):
        residual = y - h @ mean
        spread = max((np.vdot(residual, residual).real - antennas * s) / power, 1e-6)
        filters = spread * h.conj().T @ np.linalg.inv(spread * h @ h.conj().T + s * np.eye(antennas))
        filters *= users / np.trace(filters @ h).real
        estimate = mean + filters @ residual
        passed = np.eye(users) - filters @ h
        error = (np.vdot(passed, passed).real * spread + np.vdot(filters, filters).real * s) / users
        mean, _ = _posterior(estimate, np.full(users, max(error, 1e-6)), points)
    return nearest(estimate, points)


def ep(y: Complex, h: Complex, s: float, points: Complex, *, iterations: int, damping: float) -> NDArray[np.int64]:
    """Expectation propagation on the real-valued model, one inverse in each iteration."""
    users = h.shape[1]
    tall = np.block([[h.real, -h.imag], [h.imag, h.real]])
    matched, gram = tall.T @ np.concatenate([y.real, y.imag]), tall.T @ tall
    levels, noise = np.unique(points.real.round(6)), s / 2
    precision, weighted = np.full(2 * users, 2.0), np.zeros(2 * users)
    cavity = weighted
    for _ in range(iterations):
        covariance = np.linalg.inv(gram / noise + np.diag(precision))
        mean, own = covariance @ (matched / noise + weighted), np.diag(covariance)
        spread = own / np.maximum(1 - own * precision, 1e-6)
        cavity = spread * (mean / own - weighted)
        chances = np.exp(_scores(cavity, levels, 2 * spread))
        chances /= chances.sum(axis=1, keepdims=True)
        centre = chances @ levels
        variance = np.maximum((chances * (levels - centre[:, None]) ** 2).sum(axis=1), 5e-6)
        new, shift = 1 / variance - 1 / spread, centre / variance - cavity / spread
        step = np.where(new > 0, 1 - damping, 0.0)
        precision, weighted = precision + step * (new - precision), weighted + step * (shift - weighted)
    return nearest(cavity[:users] + 1j * cavity[users:], points)


def kbest(y: Complex, h: Complex, s: float, points: Complex, *, survivors: int) -> NDArray[np.int64]:
    """Breadth-first search over a QR decomposition, the users sorted by the norms of their channels."""
    users = h.shape[1]
    order = np.argsort((np.abs(h) ** 2).sum(axis=0))
    q, upper = np.linalg.qr(h[:, order])
    target = q.conj().T @ y
    distances, paths = np.zeros(1), np.zeros((1, users), dtype=np.int64)
    for row in range(users - 1, -1, -1):
        rest = target[row] - points[paths[:, row + 1 :]] @ upper[row, row + 1 :]
        candidates = distances[:, None] + np.abs(rest[:, None] - upper[row, row] * points) ** 2
        best = np.argsort(candidates, axis=None)[:survivors]
        distances = candidates.ravel()[best]
        paths = paths[best // len(points)]
        paths[:, row] = best % len(points)
    decided = np.empty(users, dtype=np.int64)
    decided[order] = paths[0]
    return decided


PLAIN: dict[str, Callable[..., NDArray[np.int64]]] = {
    "lmmse": lmmse,
    "vblast": vblast,
    "amp": amp,
    "oamp": oamp,
    "ep": ep,
    "kbest": kbest,
}
"""By the name of the detector that does the same in batches; the options are the same, too."""


def detect(name: str, y: Any, h: Any, s: Any, points: Any, **options: Any) -> NDArray[np.int64]:
    """Messages [S, N] of all slots: y [S, R], h [S, R, N], s [S], points [M], anything that NumPy can read."""
    received, channels, noise, alphabet = (np.asarray(each) for each in (y, h, s, points))
    alphabet = alphabet.astype(np.complex128)
    decide = PLAIN[name]
    slots = zip(received.astype(np.complex128), channels.astype(np.complex128), noise.tolist(), strict=True)
    return np.stack([decide(one, channel, variance, alphabet, **options) for one, channel, variance in slots])


def _scores(estimate: NDArray[Any], points: NDArray[Any], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    scores = -(np.abs(estimate[:, None] - points) ** 2) / variance[:, None]
    return np.asarray(scores - scores.max(axis=1, keepdims=True))


def _posterior(
    estimate: Complex, variance: NDArray[np.float64], points: Complex
) -> tuple[Complex, NDArray[np.float64]]:
    """Mean and variance of symbols seen in circular noise."""
    chances = np.exp(_scores(estimate, points, np.maximum(variance, LEAST)))
    chances /= chances.sum(axis=1, keepdims=True)
    mean = chances @ points
    return mean, (chances * np.abs(points - mean[:, None]) ** 2).sum(axis=1)
