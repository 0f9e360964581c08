"""Operations counted by hand, and by the definition of what a detector does."""

from __future__ import annotations

import pytest
import torch

from cellfree_sim.detection import create_detector
from cellfree_sim.detection.flops import OperationCounter, count_operations
from cellfree_sim.uplink import MimoProblem

S, R, N = 5, 7, 3


def complex_matrix(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda h: h.mT @ h, 8 * S * N * R * N),
        (lambda h: h.real @ h.real.mT, 2 * S * R * N * R),
        (lambda h: h + h, 2 * S * R * N),
        (lambda h: h * h, 6 * S * R * N),
        (lambda h: h * 2.0, 2 * S * R * N),
        (lambda h: h.real + 1, S * R * N),
        (lambda h: h.real.sum(dim=1), S * R * N),
        (lambda h: h[:, 0].reshape(-1).clone(), 0),
        (lambda h: torch.cat([h, h]).conj().mT, 0),
        (lambda h: torch.linalg.inv(h[:, :N]), 8 * S * N**3),
        (lambda h: torch.linalg.solve(h[:, :N], h[:, :N]), 8 * S * (N**3 / 3 + N * N * N)),
        (lambda h: h.real.softmax(dim=-1), 3 * S * R * N),
    ],
)
def test_single_operators(work: object, expected: float) -> None:
    h = complex_matrix(S, R, N)
    assert count_operations(lambda: work(h)) == pytest.approx(expected)  # type: ignore[operator]


def test_nothing_is_counted_outside() -> None:
    h = complex_matrix(S, R, N)
    with OperationCounter() as counter:
        pass
    _ = h @ h.mT
    assert counter.total == 0
    assert counter.by_operator == {}


def test_lmmse_grows_as_its_textbook_count() -> None:
    """Gram matrix 8 N^2 R, inverse 8 N^3 / 2: beside them all else is small where R and N are large."""
    problem = MimoProblem(n_rx=128, n_tx=64, constellation="qpsk")
    slots = problem.sample(4, 10.0, generator=torch.Generator().manual_seed(1))
    lmmse = create_detector("lmmse", problem)
    found = count_operations(lambda: lmmse(slots.y, slots.h, slots.noise_variance)) / 4
    assert found == pytest.approx(8 * 64**2 * 128 + 4 * 64**3, rel=0.1)


def test_a_detector_is_linear_in_its_slots_and_iterations() -> None:
    problem = MimoProblem(n_rx=16, n_tx=8, constellation="qam16")
    slots = problem.sample(32, 10.0, generator=torch.Generator().manual_seed(1))

    def count(number: int, iterations: int) -> float:
        ep = create_detector("ep", problem, iterations=iterations)
        return count_operations(lambda: ep(slots.y[:number], slots.h[:number], slots.noise_variance[:number]))

    assert count(32, 5) / count(8, 5) == pytest.approx(4, rel=0.01)
    assert count(8, 9) - count(8, 7) == pytest.approx(count(8, 7) - count(8, 5))
