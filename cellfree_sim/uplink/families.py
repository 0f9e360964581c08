"""Problems of all families as plain values, to be made again in another process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellfree_sim.uplink.codebook import Codebook
from cellfree_sim.uplink.mimo import MimoProblem
from cellfree_sim.uplink.mmtc import MmtcProblem
from cellfree_sim.uplink.noma import NomaProblem

if TYPE_CHECKING:
    from cellfree_sim.uplink.problem import Problem

_CLASSES: dict[str, type[Any]] = {"mimo": MimoProblem, "noma": NomaProblem, "mmtc": MmtcProblem}


def described(problem: Problem) -> dict[str, Any]:
    """The family and the options of a problem, for `problem_of`."""
    options = problem.options()
    if isinstance(options.get("codebook"), Codebook):
        book = options["codebook"]
        options["codebook"] = {"codewords": book.codewords, "counts": book.counts, "name": book.name}
    return {"family": problem.family, **options}


def problem_of(description: dict[str, Any]) -> Problem:
    """The problem that was `described`.

    >>> problem = MimoProblem(n_rx=8, n_tx=4)
    >>> problem_of(described(problem)) == problem
    True
    """
    options = dict(description)
    if "codewords" in options.get("codebook", ()):
        options["codebook"] = Codebook(**options["codebook"])
    problem: Problem = _CLASSES[options.pop("family")](**options)
    return problem
