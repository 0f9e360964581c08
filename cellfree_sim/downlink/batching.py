"""Mini-batches: which drop each user of each realisation in a batch comes from, identical at every station."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cellfree_sim import seeds


def draw_batch(seed: int, realisations: int, users: int, size: int, resample_users: bool) -> Tensor:
    """Index [size, users] int64: user i of batch element s is user i of training drop ``index[s, i]``.

    Drops are drawn without replacement as far as there are enough. With `resample_users` this is done for each user
    apart, so that users meet others of other drops: free augmentation, as positions are independent. What the users of
    one drop share is lost in training, above all the shadowing that TR 38.901 correlates over tens of metres. A user
    keeps one drop at all stations, so that its links stay those of one place.

    The same seed gives the same index at every station, in any process.

    >>> index = draw_batch(seed=1, realisations=10, users=3, size=4, resample_users=False)
    >>> index.shape, bool((index == index[:, :1]).all())
    (torch.Size([4, 3]), True)
    """
    generator = seeds.generator(seed, "batch-members")
    rounds = -(-size // realisations)
    if not resample_users:
        drops = torch.from_numpy(_drops(generator, realisations, rounds)[:size])
        return drops[:, None].expand(size, users).contiguous()
    columns = [torch.from_numpy(_drops(generator, realisations, rounds)[:size]) for _ in range(users)]
    return torch.stack(columns, 1)


def take_batch(channels: Tensor, index: Tensor) -> Tensor:
    """Gather a batch: channels [Rz, N, T, I, R] and index [S, I] to [S, N, T, I, R].

    >>> channels = torch.arange(6.0).reshape(3, 1, 1, 2, 1)          # drop d, user i: 2 d + i
    >>> take_batch(channels, torch.tensor([[2, 0]])).flatten()
    tensor([4., 1.])
    """
    users = torch.arange(index.shape[1], device=index.device)
    picked: Tensor = channels.permute(0, 3, 1, 2, 4)[index, users]  # [S, I, N, T, R]
    return picked.permute(0, 2, 3, 1, 4).contiguous()


def _drops(generator: np.random.Generator, realisations: int, rounds: int) -> NDArray[np.int64]:
    """`rounds` permutations of all drops, one after the other."""
    return np.concatenate([generator.permutation(realisations) for _ in range(rounds)])
