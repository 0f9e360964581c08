"""MIMO detectors against brute force, closed forms in float64, Sionna's own, and each other."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from cellfree_sim.detection import create_detector, list_detectors
from cellfree_sim.detection.mimo.algorithms.common import Alphabet, column_powers, inverse, inverse_factor
from cellfree_sim.detection.mimo.algorithms.message_passing import expectation_propagation
from cellfree_sim.uplink.mimo import MimoProblem
from cellfree_sim.uplink.problem import Batch

ANY_LOAD = ["mf", "lmmse", "mmse-as-published", "mmse-pic", "amp", "oamp", "ep", "sdr"]
NOT_OVERLOADED = ["zf", "vblast", "zf-pic", "kbest", "sphere"]
OURS = ANY_LOAD + NOT_OVERLOADED
SIONNA = ["sionna-lmmse", "sionna-ep", "sionna-kbest"]
SINGLE_USER_EXACT = ["mf", "zf", "lmmse", "vblast", "zf-pic", "mmse-pic", "oamp", "ep"]


def slots(problem: MimoProblem, count: int, snr_db: float, seed: int = 1) -> Batch:
    return problem.sample(count, snr_db=snr_db, generator=torch.Generator().manual_seed(seed))


def distances(batch: Batch, points: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances [S, V] to all vectors of messages, and these [V, N], in float64, by enumeration."""
    vectors = torch.tensor(list(itertools.product(range(len(points)), repeat=batch.h.shape[-1])))
    sent = points.to(torch.complex128)[vectors]
    return (batch.y.unsqueeze(1) - sent @ batch.h.to(torch.complex128).mT).abs().square().sum(-1), vectors


def errors(name: str, problem: MimoProblem, batch: Batch, **options: object) -> Tensor:
    """Wrong symbols of each slot."""
    out = create_detector(name, problem, **options)(batch.y, batch.h_known, batch.noise_variance)
    return (out.messages != batch.messages).sum(-1).double()


def assert_fewer(first: Tensor, second: Tensor, sigmas: float = 4.0) -> None:
    """`first` has fewer errors than `second` on the same slots, beyond chance."""
    gap = second - first
    assert gap.mean() > sigmas * gap.std() / math.sqrt(len(gap))


def assert_no_worse(first: Tensor, second: Tensor, sigmas: float = 4.0) -> None:
    gap = second - first
    assert gap.mean() > -sigmas * gap.std() / math.sqrt(len(gap))


def test_all_detectors_are_listed() -> None:
    assert set(OURS + SIONNA) <= set(list_detectors())


@pytest.mark.parametrize("name", OURS + SIONNA)
def test_noise_free_messages_are_found(name: str) -> None:
    problem = MimoProblem(n_rx=32, n_tx=4)
    batch = slots(problem, 20, snr_db=20.0 if name in ("mf", "amp") else 40.0)
    out = create_detector(name, problem)(batch.y, batch.h, batch.noise_variance)
    assert out.logits.shape == (20, 4, 16) and out.logits.dtype == torch.float32
    assert torch.allclose(out.logits.logsumexp(-1), torch.zeros(20, 4), atol=1e-5)
    if name != "mf":
        assert torch.equal(out.messages, batch.messages)


@pytest.mark.parametrize(("n_rx", "n_tx", "constellation", "snr_db"), [(3, 3, "qpsk", 6.0), (4, 3, "qam16", 12.0)])
def test_sphere_is_brute_force_maximum_likelihood(n_rx: int, n_tx: int, constellation: str, snr_db: float) -> None:
    problem = MimoProblem(n_rx=n_rx, n_tx=n_tx, constellation=constellation)
    batch = slots(problem, 60, snr_db)
    found, vectors = distances(batch, problem.constellation)
    out = create_detector("sphere", problem)(batch.y, batch.h, batch.noise_variance)
    assert torch.equal(out.messages, vectors[found.argmin(-1)])
    assert not out.soft


def test_sphere_goes_on_where_its_start_was_wrong() -> None:
    """A square system, where 16 survivors (the start) are often not enough."""
    problem = MimoProblem(n_rx=6, n_tx=6)
    batch = slots(problem, 200, snr_db=14.0)
    points = problem.constellation

    def residual(messages: Tensor) -> Tensor:
        return (batch.y - (batch.h @ points[messages].unsqueeze(-1)).squeeze(-1)).abs().square().sum(-1)

    start = create_detector("kbest", problem, survivors=16)(batch.y, batch.h, batch.noise_variance).messages
    exact = create_detector("sphere", problem)(batch.y, batch.h, batch.noise_variance).messages
    wide = create_detector("kbest", problem, survivors=4096)(batch.y, batch.h, batch.noise_variance).messages
    assert (residual(exact) < residual(start) * (1 - 1e-6)).sum() >= 2
    assert (residual(exact) <= residual(wide) * (1 + 1e-5)).all()
    assert (residual(exact) <= residual(batch.messages) * (1 + 1e-5)).all()


def test_kbest_with_all_survivors_has_the_exact_max_log_posterior() -> None:
    problem = MimoProblem(n_rx=3, n_tx=3, constellation="qpsk")
    batch = slots(problem, 50, snr_db=4.0)
    found, vectors = distances(batch, problem.constellation)
    metric = -found / batch.noise_variance.unsqueeze(-1)
    exact = torch.stack(
        [torch.stack([metric[:, vectors[:, n] == m].amax(-1) for m in range(4)], -1) for n in range(3)], 1
    )
    out = create_detector("kbest", problem, survivors=64)(batch.y, batch.h, batch.noise_variance)
    assert torch.equal(out.messages, vectors[found.argmin(-1)])
    assert torch.allclose(out.logits.double(), exact.log_softmax(-1), atol=2e-3)


def test_kbest_with_one_survivor_is_vblast() -> None:
    problem = MimoProblem(n_rx=8, n_tx=6)
    batch = slots(problem, 200, snr_db=15.0)
    one = create_detector("kbest", problem, survivors=1)(batch.y, batch.h, batch.noise_variance)
    blast = create_detector("vblast", problem)(batch.y, batch.h, batch.noise_variance)
    assert (one.messages == blast.messages).float().mean() > 0.999


def test_lmmse_against_its_definition_in_float64() -> None:
    """The error variance is computed from what the filter does to users and noise, not from the closed form."""
    problem = MimoProblem(n_rx=12, n_tx=8, correlation=0.6, correlated="receive")
    batch = slots(problem, 100, snr_db=10.0)
    h, y, s = batch.h.to(torch.complex128), batch.y.to(torch.complex128), batch.noise_variance.double()
    received = h @ h.mH + s[:, None, None] * torch.eye(12)
    filters = torch.linalg.solve(received, h).mH
    passed = filters @ h
    gain = passed.diagonal(dim1=-2, dim2=-1)
    leak = passed.abs().square().sum(-1) - gain.abs().square() + s[:, None] * filters.abs().square().sum(-1)
    estimate = (filters @ y.unsqueeze(-1)).squeeze(-1) / gain
    scores = -(estimate.unsqueeze(-1) - problem.constellation).abs().square()
    expected = (scores / (leak / gain.abs().square()).unsqueeze(-1)).log_softmax(-1)
    for name in ("lmmse", "sionna-lmmse"):
        out = create_detector(name, problem)(batch.y, batch.h, batch.noise_variance)
        assert torch.allclose(out.logits.double(), expected, rtol=2e-3, atol=2e-3), name
    first = create_detector("mmse-pic", problem, iterations=1)(batch.y, batch.h, batch.noise_variance)
    assert torch.allclose(first.logits.double(), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("criterion", ["zf", "mmse"])
def test_vblast_against_recomputed_inverses(criterion: str) -> None:
    """One slot at a time, in float64, with a fresh inverse for each user instead of rank-1 steps."""
    problem = MimoProblem(n_rx=8, n_tx=6)
    batch = slots(problem, 40, snr_db=14.0)
    points = problem.constellation.to(torch.complex128)
    out = create_detector("vblast", problem, criterion=criterion)(batch.y, batch.h, batch.noise_variance)
    for slot in range(40):
        h, y = batch.h[slot].to(torch.complex128), batch.y[slot].to(torch.complex128)
        loading = batch.noise_variance[slot].double() * (criterion == "mmse")
        left = list(range(6))
        while left:
            part = h[:, left]
            error = torch.linalg.inv(part.mH @ part + loading * torch.eye(len(left)))
            best = int(error.diagonal().real.argmin())
            passed = 1 - loading * error[best, best].real
            estimate = (error @ part.mH @ y)[best] / passed
            message = int((points - estimate).abs().argmin())
            assert out.messages[slot, left[best]] == message
            y = y - part[:, best] * points[message]
            del left[best]


@pytest.mark.parametrize("name", SINGLE_USER_EXACT)
@pytest.mark.parametrize("constellation", ["qpsk", "qam16", "qam64"])
def test_posterior_of_a_single_user_is_exact(name: str, constellation: str) -> None:
    problem = MimoProblem(n_rx=4, n_tx=1, constellation=constellation)
    batch = slots(problem, 50, snr_db=6.0)
    found, _ = distances(batch, problem.constellation)
    exact = (-found / batch.noise_variance.unsqueeze(-1)).log_softmax(-1).unsqueeze(1)
    out = create_detector(name, problem)(batch.y, batch.h, batch.noise_variance)
    assert torch.allclose(out.logits.double(), exact, rtol=5e-3, atol=5e-3)


def test_order_of_merit_on_correlated_channels() -> None:
    """R = 64, N = 16, receive correlation 0.7 at 12 dB: what must hold, beyond four standard errors."""
    problem = MimoProblem(n_rx=64, n_tx=16, correlation=0.7, correlated="receive")
    batch = slots(problem, 800, snr_db=12.0)
    wrong = {name: errors(name, problem, batch) for name in ("mf", "zf", "lmmse", "vblast", "oamp", "ep", "kbest")}
    assert_fewer(wrong["zf"], wrong["mf"])
    assert_no_worse(wrong["lmmse"], wrong["zf"])
    assert_fewer(wrong["vblast"], wrong["lmmse"])
    assert_fewer(wrong["oamp"], wrong["lmmse"])
    assert_fewer(wrong["ep"], wrong["lmmse"])
    assert_no_worse(wrong["kbest"], wrong["ep"])
    assert_fewer(wrong["ep"], errors("amp", problem, batch))


@pytest.mark.parametrize(("name", "published"), [("mmse-as-published", 0.04360), ("zf-pic", 0.02981), ("amp", 0.02463)])
def test_published_symbol_error_rates(name: str, published: float) -> None:
    """64 x 16, QAM-16, i.i.d., 9 dB."""
    problem = MimoProblem(n_rx=64, n_tx=16)
    wrong = errors(name, problem, slots(problem, 3000, snr_db=9.0)) / 16
    assert abs(wrong.mean() - published) < 3.5 * wrong.std() / math.sqrt(len(wrong))


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("snr_db", [-10.0, 60.0])
def test_extreme_noise_and_singular_channels_give_finite_answers(name: str, snr_db: float) -> None:
    """Two users with the same channel, and one with none."""
    problem = MimoProblem(n_rx=6, n_tx=3, constellation="qpsk")
    batch = slots(problem, 10, snr_db)
    for columns in ([0, 0, 1], [0, 1, 2]):
        h = batch.h[:, :, columns].contiguous()
        h[:5, :, 2] = 0
        out = create_detector(name, problem)(batch.y, h, batch.noise_variance)
        assert out.logits.isfinite().all(), columns


def test_sionna_agrees_on_the_same_slots() -> None:
    problem = MimoProblem(n_rx=32, n_tx=8)
    batch = slots(problem, 500, snr_db=10.0)
    options = {"iterations": 10, "damping": 0.9}
    pairs = [("ep", options, "sionna-ep"), ("kbest", {"survivors": 64}, "sionna-kbest"), ("lmmse", {}, "sionna-lmmse")]
    for ours, chosen, theirs in pairs:
        one = create_detector(ours, problem, **chosen)(batch.y, batch.h, batch.noise_variance)
        other = create_detector(theirs, problem)(batch.y, batch.h, batch.noise_variance)
        assert (one.messages == other.messages).float().mean() > 0.998, ours


def test_sionna_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    create_detector("sionna-kbest", MimoProblem(n_rx=4, n_tx=2))
    assert torch.equal(torch.rand(3), expected)


def test_points_that_are_no_square_qam_are_treated_whole() -> None:
    """8-PSK: its single user has the exact posterior, and moments are those of the points."""
    points = torch.exp(2j * math.pi * torch.arange(8) / 8).to(torch.complex64)
    alphabet = Alphabet(points)
    assert alphabet.levels is None
    generator = torch.Generator().manual_seed(2)
    h = torch.randn(20, 3, 1, dtype=torch.complex64, generator=generator)
    y = torch.randn(20, 3, dtype=torch.complex64, generator=generator)
    noise = torch.full((20,), 0.5)
    exact = (-(y.unsqueeze(-1) - h * points).abs().square().sum(1) / 0.5).log_softmax(-1)
    found = expectation_propagation(y, h, noise, alphabet, iterations=5, damping=0.5).log_softmax(-1)
    assert torch.allclose(found[:, 0], exact, atol=1e-3)


def test_circular_ep_is_better_than_lmmse_and_worse_than_the_real_form_on_correlated_channels() -> None:
    problem = MimoProblem(n_rx=32, n_tx=16, correlation=0.7, correlated="receive")
    batch = slots(problem, 1500, snr_db=15.0)
    circular = errors("ep", problem, batch, form="circular", iterations=10)
    assert_fewer(circular, errors("lmmse", problem, batch))
    assert_no_worse(errors("ep", problem, batch, iterations=10), circular)


def test_options_import_no_torch() -> None:
    code = (
        "import sys; from cellfree_sim.detection import list_detectors; list_detectors(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("form", ["real", "circular"])
def test_a_list_brings_expectation_propagation_nearer_to_maximum_likelihood(form: str) -> None:
    """With all four parts of two QPSK users undecided the list has every vector; the cavities are the other opinion."""
    problem = MimoProblem(n_rx=3, n_tx=2, constellation="qpsk")
    batch = slots(problem, 4000, snr_db=6.0)
    exact = create_detector("sphere", problem)(batch.y, batch.h, batch.noise_variance).messages
    alone, listed = [
        (
            create_detector("ep", problem, form=form, undecided=parts)(batch.y, batch.h, batch.noise_variance).messages
            != exact
        )
        .sum(-1)
        .double()
        for parts in (0, 4)
    ]
    assert listed.mean() < 0.75 * alone.mean()
    assert_fewer(listed, alone)


def test_moments_of_square_qam_are_those_of_its_points() -> None:
    alphabet = Alphabet(MimoProblem(n_rx=1, n_tx=1, constellation="qam64").constellation)
    estimate = torch.randn(30, 5, dtype=torch.complex64, generator=torch.Generator().manual_seed(2))
    variance = torch.rand(30, 5, generator=torch.Generator().manual_seed(3)) + 0.05
    mean, spread = alphabet.moments(estimate, variance)
    away = (estimate.unsqueeze(-1) - alphabet.points).abs().square().double()
    weight = (-away / variance.unsqueeze(-1)).softmax(-1)
    expected = (weight * alphabet.points).sum(-1)
    assert torch.allclose(mean, expected.to(mean.dtype), atol=1e-5)
    second = (weight * alphabet.points.abs().square()).sum(-1) - expected.abs().square()
    assert torch.allclose(spread.double(), second, atol=1e-5)


@pytest.mark.parametrize("form", ["real", "circular"])
@pytest.mark.parametrize("users", [4, 16])
def test_expectation_propagation_makes_no_errors_where_there_is_hardly_any_noise(users: int, form: str) -> None:
    """At 50 dB with four antennas or more per user nothing is ever mistaken: the Gaussian tail is below 1e-300."""
    problem = MimoProblem(n_rx=64, n_tx=users, constellation="qam16")
    slots = problem.sample(500, snr_db=50.0, generator=torch.Generator().manual_seed(3))
    found = create_detector("ep", problem, form=form)(slots.y, slots.h, slots.noise_variance)
    assert torch.equal(found.messages, slots.messages)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("size", [1, 7, 16, 17, 33, 65])
def test_the_inverse_factor_is_that_of_cholesky(size: int, dtype: torch.dtype) -> None:
    """Uneven halves, too; a matrix that is not definite gets an answer, and changes no other."""
    tall = torch.randn(5, 2 * size + 3, size, dtype=dtype, generator=torch.Generator().manual_seed(size))
    matrix = tall.mH @ tall
    expected = torch.linalg.inv(torch.linalg.cholesky(matrix))
    assert torch.allclose(inverse_factor(matrix), expected, rtol=1e-9, atol=1e-12)
    assert torch.allclose(column_powers(expected), torch.linalg.inv(matrix).diagonal(dim1=-2, dim2=-1).real)
    matrix[2] = torch.ones(size, size, dtype=dtype)
    found = inverse_factor(matrix)
    assert found[2].isfinite().all()
    assert torch.allclose(found[[0, 1, 3, 4]], expected[[0, 1, 3, 4]], rtol=1e-9, atol=1e-12)


def test_the_inverse_has_a_gradient() -> None:
    tall = torch.randn(2, 25, 19, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    matrix = tall.mH @ tall
    slopes = []
    for invert in (inverse, torch.linalg.inv):
        given = matrix.clone().requires_grad_()
        (slope,) = torch.autograd.grad(invert(given).real.square().sum(), given)
        slopes.append(slope + slope.mH)  # along Hermitian matrices
    assert torch.allclose(*slopes, rtol=1e-8)
