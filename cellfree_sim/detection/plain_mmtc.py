"""Detectors of massive access as one would first write them: NumPy, one frame at a time, straight from the formulas.

They are what `cellfree bench mmtc` compares the batched ones with, and a second implementation to test against: in
double precision, with a new inverse wherever a formula has one. Each is a function of Y [L, M], the gains b [N], the
noise variance s, the pilots S [N, Q, L] and the activity a, all devices alike, and returns the states [N].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv

Complex: TypeAlias = NDArray[np.complex128]
Real: TypeAlias = NDArray[np.float64]
States: TypeAlias = NDArray[np.int64]
Decide: TypeAlias = Callable[[Complex, Real, float, Complex, float], States]


def amp(
    y: Complex,
    b: Real,
    s: float,
    pilots: Complex,
    a: float,
    *,
    iterations: int = 50,
    damping: float = 0.0,
    prior: bool = False,
    sections: bool = False,
) -> States:
    """Approximate message passing with the scalar correction, pilots each for itself or by sections."""
    devices, each, length = pilots.shape
    antennas = y.shape[1]
    matrix = pilots.reshape(-1, length).T
    x, residual = np.zeros((devices * each, antennas), complex), y
    for step in range(iterations):
        z = x + matrix.conj().T @ residual
        t = np.vdot(residual, residual).real / (length * antennas)
        energy = (np.abs(z) ** 2).sum(axis=1).reshape(devices, each)
        c, shrink = (b / (t * (b + t)))[:, None], (b / (b + t))[:, None]
        ratios = c * energy - antennas * np.log1p(b / t)[:, None]
        if step == iterations - 1:
            break
        odds = ratios + np.log(a / each / (1 - a if sections else 1 - a / each))
        chance = _softmax(odds) if sections else 1 / (1 + np.exp(-np.clip(odds, -700, 700)))
        weight = (chance * shrink).reshape(-1, 1)
        slope = (chance * (1 - chance) * shrink * c * energy / antennas).sum()
        new = weight * z
        onsager = (weight.sum() + slope) / length * residual
        if step:
            new = damping * x + (1 - damping) * new
        x = new
        residual = damping * residual + (1 - damping) * (y - matrix @ x + onsager)
    threshold = -np.log(a / each / (1 - a if sections else 1 - a / each)) if prior or sections else 0.0
    return _largest(ratios, threshold)


def amp_section(y: Complex, b: Real, s: float, pilots: Complex, a: float, *, damping: float = 0.3) -> States:
    """See `amp`."""
    return amp(y, b, s, pilots, a, damping=damping, sections=True)


def covariance(
    y: Complex, b: Real, s: float, pilots: Complex, a: float, *, sweeps: int = 30, share: float = 0.5
) -> States:
    """Coordinate descent over all pilots in turn, in a new order each time; active above a share of a device's gain."""
    devices, each, length = pilots.shape
    rows, antennas = pilots.reshape(-1, length), y.shape[1]
    sample = y @ y.conj().T / antennas
    inverse, gains = np.eye(length, dtype=complex) / s, np.zeros(len(rows))
    order = np.random.default_rng(1)
    for _ in range(sweeps):
        moved = 0.0
        for i in order.permutation(len(rows)):
            u = inverse @ rows[i]
            own = np.vdot(rows[i], u).real
            step = max((np.vdot(u, sample @ u).real - own) / own**2, -gains[i])
            gains[i] += step
            inverse -= step / (1 + step * own) * np.outer(u, u.conj())
            moved = max(moved, abs(step) * own)
        if moved < 1e-3:
            break
    return _largest(gains.reshape(devices, each) / b[:, None], share)


def map_cd(y: Complex, b: Real, s: float, pilots: Complex, a: float) -> States:
    """From nobody, all states of all devices in turn, until none changes; an inverse for each device."""
    states = np.zeros(len(b), np.int64)
    while True:
        before = states.copy()
        for n in range(len(b)):
            states[n] = _conditional(y, b, s, pilots, a, states, n).argmax()
        if (states == before).all():
            return states


def omp(y: Complex, b: Real, s: float, pilots: Complex, a: float, *, false_alarm: float = 1e-3) -> States:
    """Orthogonal matching pursuit with a least-squares fit at each step, until no pilot is louder than noise."""
    devices, each, length = pilots.shape
    rows, chosen = pilots.reshape(-1, length), list[int]()
    residual, states = y, np.zeros(devices, np.int64)
    while len(chosen) < length - 1:
        energy = (np.abs(rows.conj() @ residual) ** 2).sum(axis=1)
        energy[np.repeat(states > 0, each)] = 0
        best = int(energy.argmax())
        if energy[best] <= s * gammainccinv(y.shape[1], false_alarm / len(rows)):
            break
        chosen.append(best)
        states[best // each] = 1 + best % each
        basis = rows[chosen].T
        residual = y - basis @ np.linalg.lstsq(basis, y, rcond=None)[0]
    return states


PLAIN_MMTC: dict[str, Callable[..., States]] = {
    "amp": amp,
    "amp-section": amp_section,
    "covariance": covariance,
    "map-cd": map_cd,
    "omp": omp,
}
"""By the name of the detector that does the same in batches."""


def detect(name: str, y: Any, h: Any, s: Any, pilots: Any, activity: float, **options: Any) -> States:
    """States [S, N] of all frames: y [S, L, M], h [S, N], s [S], pilots [N, Q, L], anything that NumPy can read."""
    received, gains, noise = np.asarray(y).astype(complex), np.asarray(h).astype(float), np.asarray(s).tolist()
    sets = np.asarray(pilots).astype(complex)
    frames = zip(received, gains, noise, strict=True)
    return np.stack([PLAIN_MMTC[name](one, b, v, sets, activity, **options) for one, b, v in frames])


def _conditional(y: Complex, b: Real, s: float, pilots: Complex, a: float, states: States, n: int) -> Real:
    """Log-posterior of the states of device n, given those of all others."""
    _, each, length = pilots.shape
    others = [k for k in np.flatnonzero(states) if k != n]
    sent = pilots[others, states[others] - 1]
    inverse = np.linalg.inv(s * np.eye(length) + (sent.T * b[others]) @ sent.conj())
    own = np.einsum("ql,lk,qk->q", pilots[n].conj(), inverse, pilots[n]).real
    power = (np.abs(pilots[n].conj() @ inverse @ y) ** 2).sum(axis=1)
    ratios = b[n] * power / (1 + b[n] * own) - y.shape[1] * np.log1p(b[n] * own)
    return np.concatenate([[np.log(1 - a)], np.log(a / each) + ratios])


def _softmax(odds: Real) -> Real:
    """Probabilities of the pilots of each device, beside that of none."""
    top = np.maximum(odds.max(axis=1, keepdims=True), 0)
    weights = np.exp(odds - top)
    return np.asarray(weights / (np.exp(-top) + weights.sum(axis=1, keepdims=True)))


def _largest(values: Real, threshold: float) -> States:
    best = values.argmax(axis=1)
    return np.where(values[np.arange(len(values)), best] > threshold, best + 1, 0)
