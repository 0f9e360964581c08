"""A trained policy in a network of another size: what belongs to single stations grows and shrinks with the roster.

Of a policy network (`cellfree_sim.downlink.policy`), only the head of the loss weights beta, K = 1 + I + B, depends on
the number B of stations. Its last B rows belong to the stations, in stacking order. The policy is built anew for the
new roster and takes over all parameters of the old one; stations that stayed keep their rows, whatever their new place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn


def refit(tensor: Tensor, old: Sequence[str], new: Sequence[str], *, fresh: Literal["mean", "zero"]) -> Tensor:
    """`tensor`, whose last rows belong to the stations `old`, for the stations `new`.

    The row of a station that was not there before is the mean of the old stations' rows, or zero.

    >>> refit(torch.tensor([9.0, 1.0, 3.0]), ["a", "b"], ["b", "c"], fresh="mean").tolist()
    [9.0, 3.0, 2.0]
    """
    common, own = tensor[: len(tensor) - len(old)], tensor[len(tensor) - len(old) :]
    filler = own.mean(0) if fresh == "mean" else torch.zeros_like(own[0])
    rows = [own[old.index(name)] if name in old else filler for name in new]
    return torch.cat([common, torch.stack(rows)])


def station_parameters(build: Callable[[int], nn.Module], stations: int) -> frozenset[str]:
    """Names of the tensors in the state of a policy whose length depends on the number of stations.

    `build` makes the policy for a number of stations; two sizes are compared.
    """
    one, other = (
        {name: tensor.shape for name, tensor in build(n).state_dict().items()} for n in (stations, stations + 1)
    )
    return frozenset(name for name in one if one[name] != other[name])


def refit_state(
    state: Mapping[str, Tensor], names: frozenset[str], old: Sequence[str], new: Sequence[str]
) -> dict[str, Tensor]:
    """The state of a policy for the stations `new`; `names` are those that `station_parameters` gave."""
    return {name: refit(tensor, old, new, fresh="mean") if name in names else tensor for name, tensor in state.items()}
