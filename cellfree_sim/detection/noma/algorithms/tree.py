"""K-best: breadth-first search of the tree of all users' answers, silence among them.

The joint posterior of the coordinates under Gaussian priors (see `gaussian`) factors along any order of the users,

    -|y - G z|^2 / s = sum_j (|z_j|^2 - |z_j - x_j|^2 / E_jj) + a constant,

x_j and E_jj being the mean and variance of coordinate j given those before it. This is the QR decomposition of
[G; sqrt(s) I] for any codebook and any number of users: what is not decided yet counts as Gaussian interference. With
ln P added, the sum of a full path is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cellfree_sim.detection.noma.algorithms.gaussian import LEAST, Coordinates, Posterior, squared, variances

UNSEEN = 0.3  # of the probability of the least probable path, for answers that no path has
UNLIKELY = -80.0  # paths below it from the best count as this: exp is slow where it underflows


def k_best(y: Tensor, h: Tensor, noise_variance: Tensor, code: Coordinates, *, survivors: int) -> Tensor:
    """The `survivors` best partial paths are kept at each user, the surest user first: scores [S, N, A].

    The score of an answer is the log-sum of the probabilities of the paths at the last user that have it; answers of
    none are less probable than the least probable path.
    """
    order, posterior = _surest_first(code.posterior(y, h, noise_variance), code)
    metric, answers = _search(posterior, order, code, survivors)
    return _path_scores(metric, answers, order, code)


def _surest_first(posterior: Posterior, code: Coordinates) -> tuple[Tensor, Posterior]:
    """Users by their mean uncertainty, least first: order [N, S], and the posterior with its coordinates so ordered."""
    users, depth = code.basis.shape[:2]
    slots = posterior.mean.shape[1]
    unsure = variances(posterior.covariance).reshape(users, depth, slots).sum(dim=1)
    order = unsure.argsort(dim=0)
    place = (order.unsqueeze(1) * depth + torch.arange(depth, device=order.device)[:, None]).flatten(0, 1)
    rows = posterior.covariance.gather(0, place.unsqueeze(1).expand(-1, len(place), -1))
    covariance = rows.gather(1, place.unsqueeze(0).expand(len(place), -1, -1))
    return order, Posterior(posterior.mean.gather(0, place), covariance)


def _search(posterior: Posterior, order: Tensor, code: Coordinates, survivors: int) -> tuple[Tensor, Tensor]:
    """Metrics [K, A, S] of the paths at the last user, and the answers [K, N - 1, S] of these paths before it."""
    users, size, depth = code.values.shape
    values, prior = code.values.movedim(0, -1), code.log_prior.mT  # [A, D, N], [A, N]
    means, covariance = posterior.mean.unsqueeze(0), posterior.covariance
    metric = means.real.new_zeros(1, 1, means.shape[-1])
    answers = torch.empty(1, 0, means.shape[-1], dtype=torch.int16, device=means.device)
    for level in range(users):
        own, gains, covariance = _eliminated(covariance, depth)
        gap, away = _steps(values[..., order[level]], means[:, :depth], own, gains)
        gap = gap + prior[:, order[level]] + metric
        if level == users - 1:
            return gap, answers
        found, best = gap.flatten(0, 1).topk(min(survivors, gap.shape[0] * size), dim=0, sorted=False)
        metric, parent = found.unsqueeze(1), best // size
        chosen = (best - parent * size).to(answers.dtype)
        up = parent.unsqueeze(1)
        answers = torch.cat([answers.gather(0, up.expand(-1, level, -1)), chosen.unsqueeze(1)], dim=1)
        left = means[:, depth:]
        means = left.gather(0, up.expand(-1, left.shape[1], -1))
        for coordinate, step in enumerate(away):
            taken = step.flatten(0, 1).gather(0, best).unsqueeze(1)
            means = means + gains[coordinate][depth - coordinate - 1 :] * taken
    raise AssertionError("there is at least one user")


def _eliminated(covariance: Tensor, depth: int) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """The first `depth` coordinates taken out, one after the other, of a covariance [J, J, S].

    Returns the variance [S] of each given those before, its gains [J - 1 …, S] on those after, and what is left.
    """
    own, gains = [], []
    for _ in range(depth):
        own.append(covariance[0, 0].real.clamp_min(LEAST))
        column = covariance[1:, 0]
        gains.append(column / own[-1])
        covariance = covariance[1:, 1:] - gains[-1].unsqueeze(1) * column.conj().unsqueeze(0)
    return own, gains, covariance


def _steps(values: Tensor, means: Tensor, own: list[Tensor], gains: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """What each answer adds to the metric [K, A, S], and how far it is from the mean in each coordinate [K, A, S].

    values [A, D, S] and means [K, D, S] of one user; own and gains as `_eliminated` gives them.
    """
    away: list[Tensor] = []
    gap: Tensor | float = 0.0
    for coordinate, variance in enumerate(own):
        value = values[:, coordinate]
        step = value - means[:, coordinate].unsqueeze(1)
        for before, earlier in enumerate(away):
            step = step - gains[before][coordinate - before - 1] * earlier
        away.append(step)
        gap = gap + squared(value) - squared(step) / variance
    assert isinstance(gap, Tensor)
    return gap, away


def _path_scores(metric: Tensor, answers: Tensor, order: Tensor, code: Coordinates) -> Tensor:
    """Scores [S, N, A] of users from the paths; see `k_best`."""
    users, size = code.log_prior.shape
    weight = (metric - metric.amax(dim=(0, 1))).clamp_min(UNLIKELY).exp()
    paths = weight.sum(dim=1)
    least = paths.amin(dim=0) * UNSEEN
    table = weight.new_zeros(users, size, metric.shape[-1])
    table[-1] = weight.sum(dim=0)
    for level in range(users - 1):
        table[level].scatter_add_(0, answers[:, level].long(), paths)
    scores = torch.where(table > 0, table, least).log()
    return torch.empty_like(scores).scatter_(0, order.unsqueeze(1).expand(-1, size, -1), scores).movedim(-1, 0)
