"""Antennas and users: what requests to one service may differ in, and the problem with other numbers of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from cellfree_sim.errors import DetectorError

if TYPE_CHECKING:
    from cellfree_sim.uplink.mimo import MimoProblem
    from cellfree_sim.uplink.mmtc import MmtcProblem
    from cellfree_sim.uplink.noma import NomaProblem
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
    if problem.family == "noma":
        return _sizes_of_noma(cast("NomaProblem", problem), y, h)
    if problem.family == "mmtc":
        return _sizes_of_mmtc(cast("MmtcProblem", problem), y, h)
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
    if problem.family == "noma":
        expected = cast("NomaProblem", problem).users
        if users != expected:
            raise DetectorError(f"h: found {users} users; expected {expected}, as the codebook has")
        return problem.changed(antennas=antennas)
    if problem.family == "mmtc":
        each = cast("MmtcProblem", problem)
        stations = max(antennas // (each.antennas // each.stations), 1)
        return problem.changed(antennas=antennas, devices=users, stations=stations)
    return problem.changed(n_rx=antennas, n_tx=users)


def _sizes_of_noma(problem: NomaProblem, y: Any, h: Any) -> tuple[int, int]:
    if y is None or h is None:
        return problem.antennas, problem.users
    if y.ndim != 2 or h.ndim != 3:
        raise DetectorError(f"found y {list(y.shape)}, h {list(h.shape)}; expected y [S, R], h [S, N, R]")
    if h.shape[2] == 0 or h.shape[2] % problem.resources:
        expected = f"{problem.resources}, the resources, for each antenna"
        raise DetectorError(f"h: found {h.shape[2]} samples; expected {expected}")
    return h.shape[2] // problem.resources, h.shape[1]


def _sizes_of_mmtc(problem: MmtcProblem, y: Any, h: Any) -> tuple[int, int]:
    """Antennas of all stations, and devices; h without entries stands for unknown gains."""
    if y is None or h is None:
        return problem.antennas, problem.devices
    if y.ndim != 3 or h.ndim not in (2, 3):
        found = f"found y {list(y.shape)}, h {list(h.shape)}"
        raise DetectorError(f"{found}; expected y [S, L, M], h [S, N] or [S, N, B]")
    return y.shape[2], h.shape[1] if h.size else problem.devices
