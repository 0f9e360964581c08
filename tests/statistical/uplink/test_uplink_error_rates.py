"""Error rates against closed forms, and whether confidence intervals hold what they promise."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import integrate, special, stats

from cellfree_sim.detection import Detection
from cellfree_sim.uplink import MimoProblem, error_rates


def q(x):
    return 0.5 * special.erfc(x / math.sqrt(2))


def qam_ser(snr, size):
    """Symbol error rate of square QAM at a signal-to-noise ratio, without fading."""
    axis = 2 * (1 - 1 / math.sqrt(size)) * q(math.sqrt(3 * snr / (size - 1)))
    return 1 - (1 - axis) ** 2


def qam16_ber(snr):
    a = math.sqrt(snr / 5)
    return 0.75 * q(a) + 0.5 * q(3 * a) - 0.25 * q(5 * a)


def over_branches(rate, branches, mean):
    """The mean of a rate over the sum of `branches` exponential SNRs of one mean."""
    density = stats.gamma(branches, scale=mean).pdf
    return integrate.quad(lambda snr: rate(snr) * density(snr), 0, mean * (branches + 60), limit=500)[0]


def maximum_ratio(problem):
    """The exact posterior of a single user."""

    def detect(y: Any, h: Any, noise_variance: Any) -> Detection:
        distance = (y.unsqueeze(-1) - h * problem.constellation).abs().square().sum(dim=1)
        return Detection.of((-distance / noise_variance.unsqueeze(-1)).unsqueeze(1))

    return detect


@pytest.mark.parametrize(("name", "size", "snr_db"), [("qpsk", 4, 8.0), ("qam16", 16, 15.0), ("qam64", 64, 20.0)])
def test_awgn(name, size, snr_db):
    problem = MimoProblem(3, 1, constellation=name, channel="awgn")
    # the SNR of the problem is that of one antenna; all three together have three times as much
    found = error_rates(problem, maximum_ratio(problem), snr_db - 10 * math.log10(3), slots_max=100_000, batch=50_000)
    assert found.ser.value == pytest.approx(qam_ser(10 ** (snr_db / 10), size), abs=4 * found.ser.standard_error)
    assert 0 < found.ser.standard_error < 0.1 * found.ser.value


@pytest.mark.parametrize(("name", "size", "branches", "snr_db"), [("qpsk", 4, 2, 6.0), ("qam16", 16, 4, 8.0)])
def test_maximum_ratio_combining_in_rayleigh_fading(name, size, branches, snr_db):
    problem = MimoProblem(branches, 1, constellation=name)
    found = error_rates(
        problem, maximum_ratio(problem), snr_db, slots_max=200_000, target_errors=None, batch=50_000, seed=7
    )
    mean = 10 ** (snr_db / 10)
    expected = over_branches(lambda snr: qam_ser(snr, size), branches, mean)
    assert found.ser.value == pytest.approx(expected, abs=4 * found.ser.standard_error)
    bits = over_branches(qam16_ber if size == 16 else lambda snr: q(math.sqrt(snr)), branches, mean)
    assert found.ber.value == pytest.approx(bits, abs=4 * found.ber.standard_error)


class Faulty:
    """A detector that errs as told: in a bad block with probability 0.4, elsewhere never."""

    def __init__(self, problem: MimoProblem, seed: int, bad: float) -> None:
        self.problem, self.bad = problem, bad
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, y: Any, h: Any, noise_variance: Any) -> Detection:
        blocks = torch.rand(len(y) // self.problem.block, 1, 1, generator=self.generator) < self.bad
        wrong = torch.rand(len(blocks), self.problem.block, self.problem.n_tx, generator=self.generator) < 0.4
        return Detection.hard((wrong & blocks).reshape(len(y), -1).long(), 4)


class Silent(MimoProblem):
    """A problem in which everybody always sends message 0."""

    def sample(self, count, snr_db=12.0, *, generator=None, device="cpu"):
        batch = super().sample(count, snr_db, generator=generator, device=device)
        batch.messages.zero_()
        return batch


@pytest.mark.parametrize(("users", "block"), [(1, 1), (4, 1), (2, 5)])
def test_intervals_cover_the_truth_as_often_as_they_say(users, block):
    problem = Silent(users, users, constellation="qpsk", block=block)
    bad, runs = 0.05, 300
    hits = {"ser": 0, "bler": 0}
    truth = {"ser": 0.4 * bad, "bler": bad * (1 - 0.6**block)}
    for run in range(runs):
        found = error_rates(
            problem, Faulty(problem, run, bad), 10.0, slots_max=600 * block, target_errors=None, batch=600 * block
        )
        for kind, value in truth.items():
            low, high = getattr(found, kind).interval(0.9)
            hits[kind] += low <= value <= high
    for kind, count in hits.items():
        # 300 runs know a coverage of 0.9 to +- 0.017; with all symbols taken for independent it would be 0.73 and 0.53
        assert 0.84 < count / runs < 0.96, kind


def test_stopping_early_costs_little_coverage_and_little_bias():
    problem = Silent(1, 1, constellation="qpsk")
    found = [
        error_rates(problem, Faulty(problem, run, 0.05), 10.0, slots_max=10**6, target_errors=40, batch=100).ser
        for run in range(300)
    ]
    covered = sum(rate.interval(0.9)[0] <= 0.02 <= rate.interval(0.9)[1] for rate in found)
    assert 0.84 < covered / len(found) < 0.96
    mean = sum(rate.value for rate in found) / len(found)
    assert mean == pytest.approx(0.02, rel=1 / 40 + 4 * 40**-0.5 / 300**0.5)
