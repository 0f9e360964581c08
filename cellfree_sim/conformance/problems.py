"""Small problems of each family that detectors are checked on, and what the best detector can do on them."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from cellfree_sim.detection import create_detector
from cellfree_sim.uplink import MimoProblem, MmtcProblem, NomaProblem
from cellfree_sim.uplink.problem import Batch

BASELINE = {"mimo": "mf", "noma": "mf", "mmtc": "all-zero"}
"""What any detector of a family must not be worse than."""
YARDSTICK = {"mimo": "lmmse", "noma": "mmse", "mmtc": "covariance"}
"""What times are compared with."""
SNR_DB = {"mimo": 8.0, "noma": 14.0, "mmtc": 0.0}


def small(family: str) -> Any:
    """The problem that most checks are made on."""
    if family == "mimo":
        return MimoProblem(n_rx=8, n_tx=4, constellation="qpsk")
    if family == "noma":
        return NomaProblem(4, 3, 1, 0.6, "rayleigh", "wbe")
    return MmtcProblem(devices=5, pilot_length=8, antennas=4)


def tiny(family: str) -> Any:
    """One whose best decisions are found by enumeration."""
    if family == "mimo":
        return MimoProblem(n_rx=3, n_tx=2, constellation="qpsk")
    if family == "noma":
        return NomaProblem(3, 2, 1, 0.6, "rayleigh", "wbe")
    return MmtcProblem(devices=4, pilot_length=4, antennas=2, activity=0.3)


def slots(problem: Any, count: int, snr_db: float | None = None, seed: int = 1) -> Batch:
    """Slots of a problem; power belongs to the problem for mMTC."""
    generator = torch.Generator().manual_seed(seed)
    batch: Batch
    if problem.family == "mmtc":
        batch = problem.sample(count, generator=generator)
    else:
        batch = problem.sample(count, SNR_DB[problem.family] if snr_db is None else snr_db, generator=generator)
    return batch


def answers(problem: Any, batch: Batch) -> Tensor:
    """What should be decided [S, N]: the messages, and for NOMA silence as the last answer."""
    if problem.family == "noma":
        return torch.where(batch.active, batch.messages, max(problem.counts))
    return batch.messages


def errors(found: Any, problem: Any, batch: Batch) -> Tensor:
    """Wrong answers of each slot, float64 [S]."""
    wrong: Tensor = found.messages != answers(problem, batch)
    return wrong.sum(-1).double()


def best(problem: Any, batch: Batch) -> Any:
    """The decisions with the fewest errors that there can be: the likeliest answer of each user by itself."""
    if problem.family == "mimo":
        return _Decided(_likeliest_symbols(problem, batch))
    name = "ml" if problem.family == "noma" else "exact"
    return create_detector(name, problem)(batch.y, batch.h_known, batch.noise_variance)


class _Decided:
    def __init__(self, messages: Tensor) -> None:
        self.messages = messages


def _likeliest_symbols(problem: MimoProblem, batch: Batch) -> Tensor:
    """The symbol of each user with the largest posterior, by enumeration in float64."""
    points = problem.constellation.to(torch.complex128)
    users = batch.h.shape[-1]
    vectors = torch.tensor(list(itertools.product(range(len(points)), repeat=users)))
    sent = points[vectors] @ batch.h.to(torch.complex128).mT
    metric = -(batch.y.unsqueeze(1) - sent).abs().square().sum(-1) / batch.noise_variance.double().unsqueeze(-1)
    each = [
        torch.stack([metric[:, vectors[:, user] == message].logsumexp(-1) for message in range(len(points))], -1)
        for user in range(users)
    ]
    return torch.stack(each, 1).argmax(-1)
