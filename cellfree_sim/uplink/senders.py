"""What users send for their messages, by the family of the uplink: torch-free, as all that runs where users are.

Shape letters: S slots, I users, L samples of a codeword.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from cellfree_sim.scenario.uplink_mimo import MimoUplink
from cellfree_sim.uplink.constellations import qam_points
from cellfree_sim.uplink.population import section

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.scenario.schema import Scenario

Sender: TypeAlias = "Callable[[NDArray[np.int32], NDArray[np.int64]], NDArray[np.complex64]]"
"""Function of users [I] and their messages [S, I]: codewords complex64 [S, I, L] of mean power 1 per sample.

Where bursts name their codewords (`Uplink.by_number`), what each of them is multiplied with instead, [S, I, 1].
"""


def sender_of(scenario: Scenario) -> Sender:
    """What turns messages into codewords in a scenario with an `uplink`."""
    uplink = section(scenario)
    if uplink.assigns:
        return _unassigned
    if uplink.by_number:
        return lambda users, messages: np.ones((*messages.shape, 1), np.complex64)
    assert isinstance(uplink, MimoUplink)
    points = qam_points(uplink.constellation)
    return lambda users, messages: points[messages][:, :, None]


def _unassigned(users: NDArray[np.int32], messages: NDArray[np.int64]) -> NDArray[np.complex64]:
    raise AssertionError("users were assigned no codebooks")


class Assigned:
    """A sender of what its users were assigned.

    Args:
        first: number of the first of its users.
        words: codewords complex64 [users, M, L].
    """

    def __init__(self, first: int, words: NDArray[np.complex64]) -> None:
        self.words = words
        self._first = first

    def __call__(self, users: NDArray[np.int32], messages: NDArray[np.int64]) -> NDArray[np.complex64]:
        """See `Sender`."""
        return self.words[users - self._first, messages]
