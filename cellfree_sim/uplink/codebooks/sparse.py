"""Sparse code multiple access: multidimensional constellations on few resources each."""

from __future__ import annotations

from typing import Literal

import numpy as np

from cellfree_sim.errors import CodebookError
from cellfree_sim.scenario.extensions import CODEBOOKS
from cellfree_sim.uplink.codebook import Codebook, CodebookOptions

USERS, RESOURCES = 6, 4
# The codebook that most publications use (1st 5G Algorithm Innovation Competition, 2015): each user has two resources;
# its four messages have the amplitudes _FIRST on the one and _SECOND on the other, each turned by a phase of its own.
_FIRST = np.array([0.7851, -0.2243, 0.2243, -0.7851])
_SECOND = np.array([0.2243, 0.7851, -0.7851, -0.2243])
_TURNS = {0: 0j + 1, 1: -0.1815 - 0.1318j, 2: 0.1392 - 0.1759j, 3: -0.0055 - 0.2242j, 4: -0.6351 + 0.4615j}
_PLACES = (  # of each user: resource and turn of the first, then of the second
    ((3, 0), (1, 1)),
    ((0, 0), (2, 1)),
    ((0, 4), (1, 2)),
    ((2, 0), (3, 3)),
    ((3, 4), (0, 3)),
    ((1, 0), (2, 2)),
)


@CODEBOOKS.register
class Scma(CodebookOptions):
    """The common codebook of sparse code multiple access: 6 users on 4 resources, three on each.

    Users of one bit keep an antipodal pair of their four codewords. 4 B resources are B blocks of up to 6 users each.
    """

    name: Literal["scma"] = "scma"

    def design(
        self, users: int, resources: int, rates: tuple[int, ...], activity: tuple[float, ...] | None
    ) -> Codebook:
        """See `CodebookOptions.design`."""
        blocks = -(-users // USERS)
        if resources != RESOURCES * blocks:
            found = f"found {users} users on {resources} resources"
            raise CodebookError(f"codebook 'scma': {found}; allowed: 1 to 6 users for every 4 resources")
        if max(rates) > 2:
            raise CodebookError(f"codebook 'scma': found a rate of {max(rates)} bits; allowed: 1 or 2")
        words = np.zeros((users, 2 ** max(rates), resources), dtype=np.complex64)
        for user, rate in enumerate(rates):
            block, place = divmod(user, USERS)
            own = _user(place)[[0, 3]] if rate == 1 else _user(place)
            words[user, : 2**rate, block * RESOURCES : (block + 1) * RESOURCES] = own
        return Codebook(words, [2**rate for rate in rates], self.name).scaled(1.0)


def _user(place: int) -> np.ndarray[tuple[int, int], np.dtype[np.complex128]]:
    """The four codewords of a user [4, 4]."""
    words = np.zeros((4, RESOURCES), dtype=np.complex128)
    for (resource, turn), amplitudes in zip(_PLACES[place], (_FIRST, _SECOND), strict=True):
        words[:, resource] = amplitudes * np.exp(1j * np.angle(_TURNS[turn]))
    return words
