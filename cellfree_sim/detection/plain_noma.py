"""NOMA receivers as one would first write them: NumPy, one frame at a time, straight from the formulas.

They are what `cellfree bench noma` compares the batched ones with, and a second implementation to test against. Each is
a function of y [R], the codewords as they arrive g [N, A, R] (silence last, where users may be silent), the noise
variance s and ln P of the answers [N, A], and returns the answers [N]. A user's answers are those of finite ln P.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cellfree_sim.uplink import NomaProblem

Complex: TypeAlias = NDArray[np.complex128]
Real: TypeAlias = NDArray[np.float64]
Decide: TypeAlias = Callable[..., NDArray[np.int64]]


def ml(y: Complex, g: Complex, s: float, prior: Real) -> NDArray[np.int64]:
    """The most probable answer of each user, from the probabilities of all combinations."""
    return np.asarray(posterior(y, g, s, prior).argmax(axis=1), dtype=np.int64)


def posterior(y: Complex, g: Complex, s: float, prior: Real) -> Real:
    """P(answer | y) of each user [N, A], by enumeration."""
    users, size = prior.shape
    chances = np.zeros((users, size))
    combinations = list(itertools.product(*(np.flatnonzero(np.isfinite(row)) for row in prior)))
    every = np.arange(users)
    logs = np.array([
        prior[every, one].sum() - (np.abs(y - g[every, one].sum(axis=0)) ** 2).sum() / s
        for one in map(list, combinations)
    ])  # fmt: skip
    for one, chance in zip(combinations, np.exp(logs - logs.max()), strict=True):
        chances[every, one] += chance
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def mmse(y: Complex, g: Complex, s: float, prior: Real) -> NDArray[np.int64]:
    """Linear estimates of least mean square error."""
    signatures, points = _spreading(g)
    return np.array([
        _decision(*_estimate(y, signatures, points, s, prior, range(len(g)), user), points[user], prior[user])
        for user in range(len(g))
    ])  # fmt: skip


def mmse_sic(y: Complex, g: Complex, s: float, prior: Real, *, order: str = "reliability") -> NDArray[np.int64]:
    """MMSE estimates with one inverse per user that is left, one decided and cancelled after the other."""
    signatures, points = _spreading(g)
    left, answers = list(range(len(g))), np.zeros(len(g), dtype=np.int64)
    while left:
        found = {user: _estimate(y, signatures, points, s, prior, left, user) for user in left}
        if order == "sinr":
            merit = {user: 1 / variance for user, (_, variance) in found.items()}
        elif order == "power":
            merit = {user: float(np.vdot(signatures[user], signatures[user]).real) for user in left}
        else:
            merit = {user: _chances(*found[user], points[user], prior[user]).max() for user in left}
        user = max(left, key=lambda each: merit[each])
        answers[user] = _decision(*found[user], points[user], prior[user])
        y = y - g[user, answers[user]]
        left.remove(user)
    return answers


def kbest(y: Complex, g: Complex, s: float, prior: Real, *, survivors: int = 16) -> NDArray[np.int64]:
    """Breadth-first search; what is not decided yet counts as Gaussian interference of its own covariance."""
    users = len(g)
    chance = np.exp(prior)
    cover = np.einsum("na,nar,nak->nrk", chance, g, g.conj())
    everything = np.linalg.inv(s * np.eye(len(y)) + cover.sum(axis=0))
    seen = [np.trace(everything @ cover[user]).real for user in range(users)]
    order = np.argsort(seen)[::-1]
    paths: list[tuple[float, list[int], Complex]] = [(0.0, [], y)]
    for place, user in enumerate(order):
        whitener = np.linalg.inv(s * np.eye(len(y)) + cover[order[place + 1 :]].sum(axis=0))
        grown = []
        for log, answers, rest in paths:
            for answer in np.flatnonzero(np.isfinite(prior[user])):
                left = rest - g[user, answer]
                total = log + prior[user, answer]
                grown.append((total - np.vdot(left, whitener @ left).real, total, [*answers, int(answer)], left))
        best = sorted(grown, key=lambda each: -each[0])[:survivors]
        paths = [(total, answers, left) for _, total, answers, left in best]
    result = np.empty(users, dtype=np.int64)
    result[order] = paths[0][1]
    return result


def mpa(y: Complex, g: Complex, s: float, prior: Real, *, iterations: int = 5) -> NDArray[np.int64]:
    """Sums and products between users and the samples on which they are not zero."""
    chance = np.exp(prior)
    on = [np.flatnonzero(np.abs(g[:, :, sample]).max(axis=1) > 0) for sample in range(len(y))]
    heard = {(sample, user): np.ones(prior.shape[1]) for sample, some in enumerate(on) for user in some}
    for _ in range(iterations):
        told = {}
        for sample, user in heard:
            message = chance[user].copy()
            for other in range(len(y)):
                if other != sample and (other, user) in heard:
                    message *= heard[other, user]
            told[sample, user] = message / message.sum()
        for sample, some in enumerate(on):
            sums = {user: np.zeros(prior.shape[1]) for user in some}
            for answers in itertools.product(*(np.flatnonzero(chance[user]) for user in some)):
                left = y[sample] - sum(g[user, answer, sample] for user, answer in zip(some, answers, strict=True))
                weight = np.exp(-(abs(left) ** 2) / s)
                parts = [told[sample, user][answer] for user, answer in zip(some, answers, strict=True)]
                for place, (user, answer) in enumerate(zip(some, answers, strict=True)):
                    sums[user][answer] += weight * np.prod(parts[:place] + parts[place + 1 :])
            heard.update({(sample, user): sums[user] / max(sums[user].sum(), 1e-300) for user in some})
    for sample, user in heard:
        chance[user] *= heard[sample, user]
    return np.asarray(chance.argmax(axis=1), dtype=np.int64)


PLAIN_NOMA: dict[str, Decide] = {"ml": ml, "mmse": mmse, "mmse-sic": mmse_sic, "kbest": kbest, "mpa": mpa}
"""By the name of the receiver that does the same in batches; the options are the same, too."""


def detect(name: str, problem: NomaProblem, y: Any, h: Any, s: Any, **options: Any) -> NDArray[np.int64]:
    """Answers [S, N] of all frames: y [S, R], h [S, N, R], s [S], anything that NumPy can read."""
    received, channels = np.asarray(y).astype(np.complex128), np.asarray(h).astype(np.complex128)
    words = problem.book.codewords.astype(np.complex128)
    if problem.silence:
        words = np.concatenate([words, np.zeros_like(words[:, :1])], axis=1)
    words = np.tile(words, (1, 1, received.shape[1] // problem.resources))
    prior = problem.log_prior.double().numpy()
    decide = PLAIN_NOMA[name]
    frames = zip(received, channels, np.asarray(s).tolist(), strict=True)
    return np.stack([decide(one, words * over[:, None], noise, prior, **options) for one, over, noise in frames])


def _spreading(g: Complex) -> tuple[Complex, Complex]:
    """Arriving signatures [N, R] and symbols [N, A] of spread codewords: symbols relative to the first."""
    signatures = g[:, 0]
    energy = (np.abs(signatures) ** 2).sum(axis=1)
    return signatures, np.einsum("nar,nr->na", g, signatures.conj()) / energy[:, None]


def _estimate(
    y: Complex, signatures: Complex, points: Complex, s: float, prior: Real, left: Any, user: int
) -> tuple[complex, float]:
    """Unbiased MMSE estimate of a user's symbol among the users `left`, and its error variance."""
    power = (np.exp(prior) * np.abs(points) ** 2).sum(axis=1)
    cover = s * np.eye(len(y)) + sum(
        power[other] * np.outer(signatures[other], signatures[other].conj()) for other in left if other != user
    )
    filtered = np.linalg.solve(cover, signatures[user])
    gain = np.vdot(signatures[user], filtered).real
    return complex(np.vdot(filtered, y) / gain), float(1 / gain)


def _chances(estimate: complex, variance: float, points: Complex, prior: Real) -> Real:
    logs = prior - np.abs(estimate - points) ** 2 / variance
    chances = np.exp(logs - logs.max())
    return np.asarray(chances / chances.sum())


def _decision(estimate: complex, variance: float, points: Complex, prior: Real) -> int:
    return int(_chances(estimate, variance, points, prior).argmax())
