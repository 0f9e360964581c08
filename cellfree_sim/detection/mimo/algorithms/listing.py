"""A short list of likely vectors around a Gaussian posterior, for what an iterative detector is unsure of."""

from __future__ import annotations

import torch
from torch import Tensor

from cellfree_sim.detection.mimo.algorithms.common import Statistics, apply

UNLISTED = 10.0  # log-likelihood that a level lacks at most


def ranked_by_list(
    known: Statistics,
    noise_variance: Tensor,
    mean: Tensor,
    covariance: Tensor,
    scores: Tensor,
    levels: Tensor,
    undecided: int,
) -> Tensor:
    """Max-log scores [S, 2N, L] from a list of vectors around the decisions of `scores`, in the real form.

    The best vector's levels get 0, those of others the log-likelihood that they lack, at most `UNLISTED`; so do levels
    that no vector has.

    Args:
        known: statistics in the real form.
        noise_variance: s [S].
        mean, covariance: Gaussian posterior [S, 2N] and, but for a factor, [S, 2N, 2N].
        scores: of the levels of each part [S, 2N, L].
        levels: of a part, equally spaced [L].
        undecided: parts of which two levels are tried.
    """
    parts = mean.shape[1]
    count = min(undecided, parts)
    top = scores.topk(2, dim=-1)
    decided = levels[top.indices[..., 0]]
    chosen = (top.values[..., 0] - top.values[..., 1]).topk(count, dim=-1, largest=False).indices  # [S, K]
    two = levels[top.indices.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 2))]  # [S, K, 2]
    which = torch.arange(2**count, device=mean.device).unsqueeze(-1) >> torch.arange(count, device=mean.device) & 1
    tried = torch.where(which.bool(), two[:, None, :, 1], two[:, None, :, 0])  # [S, C, K]
    beside = covariance.gather(2, chosen.unsqueeze(1).expand(-1, parts, -1))  # [S, 2N, K]
    among = beside.gather(1, chosen.unsqueeze(-1).expand(-1, -1, count))
    shift = (tried - mean.gather(1, chosen).unsqueeze(1)) @ torch.linalg.solve(among, beside.mT)  # [S, C, 2N]
    place = (mean.unsqueeze(1) + shift - levels[0]) / (levels[1] - levels[0])
    vectors = levels[place.round().clamp(0, len(levels) - 1).long()]
    vectors.scatter_(2, chosen.unsqueeze(1).expand(-1, 2**count, -1), tried)
    vectors = torch.cat([decided.unsqueeze(1), vectors], dim=1)
    change = vectors - decided.unsqueeze(1)  # |y - H x|^2 is counted from that of the decisions, which keeps its digits
    residual = known.matched - apply(known.gram, decided)
    energy = ((change @ known.gram - 2 * residual.unsqueeze(1)) * change).sum(dim=-1)
    lacking = (energy - energy.amin(dim=1, keepdim=True)) / noise_variance.unsqueeze(-1)
    listed = (-lacking).clamp_min(-UNLISTED).unsqueeze(-1).expand_as(vectors)
    at = ((vectors - levels[0]) / (levels[1] - levels[0])).round().long()
    result = torch.full_like(scores, -UNLISTED)
    return result.scatter_reduce(-1, at.movedim(1, -1), listed.movedim(1, -1), "amax")
