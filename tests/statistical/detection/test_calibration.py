"""Error rates against published ones, closed forms and each other: within three standard errors, seeds as stated."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import integrate, special

from cellfree_sim.benchmarks import calibration
from cellfree_sim.detection import create_detector
from cellfree_sim.detection.published import published
from cellfree_sim.uplink import MimoProblem

SLOTS = {"mmse-as-published": 6000, "zf-pic": 6000, "amp": 3000, "sdr": 500}
MOST = 3.0  # standard errors


def test_published_rates_are_met():
    """64 x 16 at 9 and 11 dB (seed 5): the sum of z^2 of 8 points, too, is what chance would make it."""
    found = []
    for point in published():
        if point.detector in SLOTS and point.snr_db < 12:
            detector = create_detector(point.detector, point.problem(), **point.options)
            row = calibration._row("", detector, point.snr_db, SLOTS[point.detector], point.ser, "")
            found.append((point, row["z"]))
    assert len(found) == 8
    for point, z in found:
        assert abs(z) < MOST, point
    assert sum(z * z for _, z in found) < 26.1  # chi^2 of 8 degrees, 1 in 1000


CLOSED_FORMS = [("zf", MimoProblem(*sizes), snr_db) for *sizes, snr_db in calibration.ZERO_FORCING] + [
    (name, MimoProblem(calibration.BRANCHES, 1), calibration.ONE_USER_DB) for name in calibration.ONE_USER
]


@pytest.mark.parametrize(("name", "problem", "snr_db"), CLOSED_FORMS)
def test_closed_forms_are_met(name, problem, snr_db):
    """6000 slots, seed 5. Zero-forcing, and every detector with one user."""
    expected = calibration.zero_forcing_ser(problem, snr_db)
    row = calibration._row("", create_detector(name, problem), snr_db, 6000, expected, "")
    assert abs(row["z"]) < MOST
    assert row["standard_error"] < 0.1 * row["expected"]


@pytest.mark.parametrize(("n_rx", "n_tx", "size", "snr_db"), [(4, 1, 16, 8.0), (8, 6, 4, 12.0), (64, 32, 64, 24.0)])
def test_the_closed_form_is_that_of_its_moment_generating_function(n_rx, n_tx, size, snr_db):
    """The same mean by Craig's integrals instead of the density of the signal-to-noise ratio."""
    shape, mean = n_rx - n_tx + 1, 10 ** (snr_db / 10) / n_tx
    a = 1 - 1 / math.sqrt(size)
    g = 1.5 / (size - 1)

    def transform(angle):
        return (1 + g * mean / math.sin(angle) ** 2) ** -shape

    once = integrate.quad(transform, 0, math.pi / 2)[0]
    twice = integrate.quad(transform, 0, math.pi / 4)[0]
    expected = 4 / math.pi * (a * once - a * a * twice)
    problem = MimoProblem(n_rx, n_tx, constellation={4: "qpsk", 16: "qam16", 64: "qam64"}[size])
    assert calibration.zero_forcing_ser(problem, snr_db) == pytest.approx(expected, rel=1e-7)


def test_one_branch_of_qpsk_has_the_closed_form_of_textbooks():
    """Each part errs with p = (1 - sqrt(g / (2 + g))) / 2, both with the mean of Q^2."""
    snr = 10 ** (8.0 / 10)
    root = math.sqrt(snr / (2 + snr))
    p = (1 - root) / 2
    both = 0.25 * (1 - root * 4 / math.pi * math.atan(1 / root))
    problem = MimoProblem(1, 1, constellation="qpsk")
    assert calibration.zero_forcing_ser(problem, 8.0) == pytest.approx(2 * p - both, rel=1e-9)


def test_sphere_is_brute_force_and_nothing_has_fewer_errors():
    """16-QAM, 4 x 3, 14 dB, 1500 slots (seed 2): maximum likelihood by enumeration in float64."""
    problem = MimoProblem(n_rx=4, n_tx=3)
    batch = problem.sample(1500, 14.0, generator=torch.Generator().manual_seed(2))
    vectors = torch.tensor(list(itertools.product(range(16), repeat=3)))
    sent = problem.constellation.to(torch.complex128)[vectors]
    h, y = batch.h.to(torch.complex128), batch.y.to(torch.complex128)
    gram, matched = h.mH @ h, (h.mH @ y.unsqueeze(-1)).squeeze(-1)
    outer = (sent.conj().unsqueeze(-1) * sent.unsqueeze(-2)).flatten(1)
    exact = vectors[((gram.flatten(1) @ outer.T).real - 2 * (matched.conj() @ sent.T).real).argmin(dim=1)]
    found = {
        name: create_detector(name, problem, **options)(batch.y, batch.h, batch.noise_variance).messages
        for name, options in (("sphere", {}), ("kbest", {"survivors": 64}), ("ep", {}), ("sdr", {}), ("lmmse", {}))
    }
    assert torch.equal(found["sphere"], exact)
    wrong = {name: (messages != batch.messages).double().mean(dim=1) for name, messages in found.items()}
    for better, worse in itertools.pairwise(("sphere", "kbest", "ep", "lmmse")):
        gap = wrong[worse] - wrong[better]
        assert gap.mean() >= -MOST * gap.std() / math.sqrt(len(gap)), (better, worse)
    for better, worse in (("ep", "lmmse"), ("sdr", "lmmse"), ("sphere", "sdr")):
        gap = wrong[worse] - wrong[better]
        assert gap.mean() > MOST * gap.std() / math.sqrt(len(gap)), (better, worse)


def test_yardsticks_are_ordered_on_correlated_channels():
    """64 x 16, receive correlation 0.8, 11 dB, 600 slots (seed 3): sphere, K-best, EP, LMMSE; paired."""
    problem = MimoProblem(n_rx=64, n_tx=16, correlation=0.8, correlated="receive")
    batch = problem.sample(600, 11.0, generator=torch.Generator().manual_seed(3))
    wrong = {}
    for name in ("sphere", "kbest", "ep", "lmmse"):
        out = create_detector(name, problem)(batch.y, batch.h, batch.noise_variance)
        wrong[name] = (out.messages != batch.messages).double().mean(dim=1)
    for better, worse in (("sphere", "kbest"), ("kbest", "ep"), ("ep", "lmmse"), ("sphere", "ep")):
        gap = wrong[worse] - wrong[better]
        assert gap.mean() >= -MOST * gap.std() / math.sqrt(len(gap)), (better, worse)
    for better, worse in (("kbest", "ep"), ("ep", "lmmse")):
        gap = wrong[worse] - wrong[better]
        assert gap.mean() > MOST * gap.std() / math.sqrt(len(gap)), (better, worse)


def test_a_gamma_variable_is_what_zero_forcing_leaves():
    """1 / (G^-1)_nn of 16 x 8 channels, times R: Gamma of R - N + 1 = 9 degrees; its distribution, by quantiles."""
    problem = MimoProblem(n_rx=16, n_tx=8)
    batch = problem.sample(4000, 10.0, generator=torch.Generator().manual_seed(4))
    left = 16 / torch.linalg.inv(batch.h.mH @ batch.h)[:, 0, 0].real.double()
    levels = special.gammainc(9, left.numpy())
    for part in (0.1, 0.5, 0.9):
        assert (levels < part).mean() == pytest.approx(part, abs=4 * math.sqrt(part * (1 - part) / 4000))
