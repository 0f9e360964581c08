"""The plain detectors decide as the batched ones do: two implementations of the same formulas."""

from __future__ import annotations

import pytest
import torch

from cellfree_sim.detection import create_detector, plain
from cellfree_sim.uplink import MimoProblem

SAME = [
    ("lmmse", {}, 1.0),
    ("vblast", {}, 0.999),
    ("amp", {"iterations": 20}, 0.99),  # the batched one scales the columns of a slot
    ("oamp", {"iterations": 10}, 0.995),  # they measure the residual by different dimensions
    ("ep", {"iterations": 10, "damping": 0.7}, 0.999),
    ("kbest", {"survivors": 64}, 0.998),  # the users in another order
]


def test_all_of_them_are_compared():
    assert {name for name, _, _ in SAME} == set(plain.PLAIN)


@pytest.mark.parametrize(("name", "options", "least"), SAME)
@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_decisions_agree(name, options, least, correlation):
    if correlation and name == "amp":
        correlation = 0.0  # it does not converge there, and what it then says is rounding
    correlated = "receive" if correlation else "none"
    problem = MimoProblem(n_rx=32, n_tx=8, correlation=correlation, correlated=correlated)
    batch = problem.sample(120, 12.0, generator=torch.Generator().manual_seed(2))
    found = plain.detect(name, batch.y, batch.h, batch.noise_variance, problem.constellation, **options)
    batched = create_detector(name, problem, **options)(batch.y, batch.h, batch.noise_variance).messages.numpy()
    assert (found == batched).mean() >= least
    assert 0 < (found != batch.messages.numpy()).mean() < 0.1
