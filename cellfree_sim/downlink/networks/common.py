"""What all policy networks share: seeded construction, the loss-weight head's floor, power normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)

BETA_FLOOR = 0.01
_TINY = 1e-20


def seeded(seed: int, build: Callable[[], ModuleT]) -> ModuleT:
    """What `build` makes, initialised from `seed` alone; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # and no device's
        return build()


def positive_weights(logits: Tensor) -> Tensor:
    """beta = sigmoid + 0.01: without the floor, the joint loss (16) drives the weight of a solved task to zero."""
    return torch.sigmoid(logits) + BETA_FLOOR


def normalise_power(beams: Tensor, allocation: Tensor) -> Tensor:
    """Beams [S, N, T, I] scaled so that sum_{n,i} |v w|^2 is exactly the budget 1 (full power, as the paper wants it).

    A realisation in which nothing is sent stays silent.
    """
    per_link: Tensor = torch.view_as_real(beams).square().sum((2, 4))
    power = (per_link * allocation.square()).sum((1, 2))
    return beams * (power + _TINY).rsqrt()[:, None, None, None]


def by_station(tensor: Tensor, apart: tuple[int, int]) -> Tensor:
    """[S B, …] as [S, B, …], where `apart` is (S, B).

    >>> by_station(torch.arange(6), (3, 2)).tolist()
    [[0, 1], [2, 3], [4, 5]]
    """
    return tensor.reshape(*apart, *tensor.shape[1:])
