"""Antennas and users: what requests to one service may differ in, and the problem with other numbers of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from cellfree_sim.errors import DetectorError

if TYPE_CHECKING:
    from cellfree_sim.uplink.mimo import MimoProblem
    from cellfree_sim.uplink.problem import Problem


def sizes_of(problem: Problem, y: Any = None, h: Any = None) -> tuple[int, int]:
    """Antennas and users of what was received; without it, of the problem itself.

    Raises:
        DetectorError: y or h has another number of axes than the family's.

    >>> from cellfree_sim.uplink import MimoProblem
    >>> import numpy as np
    >>> sizes_of(MimoProblem(n_rx=8, n_tx=4), np.zeros((5, 16)), np.zeros((5, 16, 2)))
    (16, 2)
    """
    mimo = cast("MimoProblem", problem)
    if y is None or h is None:
        return mimo.n_rx, mimo.n_tx
    if y.ndim != 2 or h.ndim != 3:
        raise DetectorError(f"found y {list(y.shape)}, h {list(h.shape)}; expected y [S, R], h [S, R, N]")
    return h.shape[1], h.shape[2]


def resized(problem: Problem, antennas: int, users: int) -> Problem:
    """The problem with other numbers of antennas and users.

    Raises:
        UserError: there is no such problem.
    """
    return problem.changed(n_rx=antennas, n_tx=users)
