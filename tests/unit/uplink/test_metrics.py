"""Counting of errors by hand, intervals against SciPy, and when measuring stops."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from cellfree_sim.errors import UserError
from cellfree_sim.uplink import MimoProblem, Rate, error_rates
from cellfree_sim.uplink.metrics import grouped_interval
from cellfree_sim.uplink.problem import Batch


class Scripted(MimoProblem):
    """A problem whose y is the decision that `echo` takes, and whose messages are given."""

    def sample(self, count, snr_db=12.0, *, generator=None, device="cpu"):
        batch = super().sample(count, snr_db, generator=generator, device=device)
        wrong = torch.zeros_like(batch.messages)
        wrong[1, 0] = 0b0001  # one bit
        wrong[2, 0] = 0b1011  # three bits
        wrong[5, 1] = 0b1111  # four bits
        decided = (batch.messages ^ wrong).to(torch.complex64)
        return Batch(decided, batch.h, batch.h_known, batch.noise_variance, batch.messages, batch.active)


def echo(y, h, noise_variance):
    return SimpleNamespace(messages=y.real.long())


def guess(y, h, noise_variance):
    return SimpleNamespace(messages=torch.zeros(h.shape[0], h.shape[2], dtype=torch.int64))


def test_symbols_bits_and_blocks_are_counted_by_user_and_overall():
    found = error_rates(Scripted(2, 2, block=3), echo, 10.0, slots_max=9, target_errors=None)
    assert found.slots == 9 and found.snr_db == 10.0
    assert [(rate.errors, rate.trials) for rate in found.ser_by_user] == [(2, 9), (1, 9)]
    assert [(rate.errors, rate.trials) for rate in found.ber_by_user] == [(4, 36), (4, 36)]
    assert [(rate.errors, rate.trials) for rate in found.bler_by_user] == [(1, 3), (1, 3)]
    assert (found.ser.errors, found.ser.trials, found.ser.group, found.ser.squares) == (3, 18, 6, 4 + 1)
    assert (found.ber.errors, found.ber.trials, found.ber.group, found.ber.squares) == (8, 72, 24, 16 + 16)
    assert (found.bler.errors, found.bler.trials, found.bler.group, found.bler.squares) == (2, 6, 2, 2)


def test_it_stops_at_the_target_or_at_the_last_slot_and_sends_whole_blocks():
    problem = MimoProblem(4, 2, block=4)
    early = error_rates(problem, guess, 10.0, slots_max=10_000, target_errors=100, batch=50)
    assert early.slots == 104 and early.ser.errors >= 100  # 50 slots are 13 blocks
    assert early.ser.value == pytest.approx(15 / 16, abs=0.1)
    late = error_rates(problem, guess, 10.0, slots_max=107, target_errors=None, batch=50)
    assert late.slots == 104
    assert error_rates(problem, guess, 10.0, slots_max=107, target_errors=1, batch=50).slots == 52


def test_the_seed_decides():
    problem = MimoProblem(4, 2)
    one, two = (error_rates(problem, guess, 10.0, slots_max=500, seed=3) for _ in range(2))
    assert one == two != error_rates(problem, guess, 10.0, slots_max=500, seed=4)


@pytest.mark.parametrize(("errors", "trials"), [(0, 50), (1, 50), (13, 400), (50, 50), (3, 10**6)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_the_interval_of_independent_trials_is_wilsons(errors, trials, confidence):
    rate = Rate(errors, trials, 1, errors)
    wanted = stats.binomtest(errors, trials).proportion_ci(confidence, method="wilson")
    assert rate.design_effect == pytest.approx(1)
    assert rate.interval(confidence) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_trials_that_err_together_count_as_one():
    together = Rate(errors=80, trials=4000, group=8, squares=10 * 64)
    alone = Rate(errors=10, trials=500, group=1, squares=10)
    assert together.design_effect == pytest.approx(8)
    assert together.interval() == pytest.approx(alone.interval())
    assert together.standard_error == pytest.approx(alone.standard_error)


def test_what_cannot_be_measured_is_refused_in_one_line():
    problem = MimoProblem(4, 2, block=4)
    with pytest.raises(UserError, match=r"^slots_max: found 3; allowed: at least one block of 4 slots$"):
        error_rates(problem, guess, 10.0, slots_max=3)
    with pytest.raises(UserError, match=r"^target_errors: found 0; allowed: a whole number from 1 to"):
        error_rates(problem, guess, 10.0, target_errors=0)
    with pytest.raises(UserError, match=r"^detector: found decisions \[1000, 1\]; expected \[1000, 2\]: slots, users$"):
        error_rates(problem, lambda y, h, n: SimpleNamespace(messages=guess(y, h, n).messages[:, :1]), 10.0)
    with pytest.raises(UserError, match=r"^confidence: found 1; allowed: a number from 0.01 to 0.999999$"):
        Rate(1, 10, 1, 1).interval(1)


def test_groups_of_one_size_have_the_interval_of_a_rate() -> None:
    """Up to G / (G - 1) in the variance, which is that of a sample there, and of a population here."""
    rng = np.random.default_rng(1)
    errors = rng.binomial(50, rng.beta(0.5, 4.5, 4000))
    rate = Rate(int(errors.sum()), 50 * 4000, 50, int((errors**2).sum()))
    value, low, high = grouped_interval(errors.tolist(), [50] * 4000)
    assert value == rate.value
    assert (low, high) == pytest.approx(rate.interval(), rel=1e-4)


def test_intervals_of_unequal_groups_hold_what_they_say() -> None:
    """40 groups of 0 to 200 trials, their own rates 0.1 +- 0.067: 95 % +- 1.1 % of 400 intervals hold 0.1."""
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(400):
        trials = rng.integers(0, 201, 40)
        errors = rng.binomial(trials, rng.beta(1.9, 17.1, 40))
        _, low, high = grouped_interval(errors.tolist(), trials.tolist())
        held += low <= 0.1 <= high
    assert held / 400 > 0.95 - 4 * 0.011


@pytest.mark.parametrize("groups", [2, 4, 8, 20])
def test_intervals_of_few_groups_hold_what_they_say(groups: int) -> None:
    """Groups of 200 trials, their own rates 0.1 +- 0.067: of 1000 intervals, 95 % +- 0.7 % and more hold 0.1."""
    rng = np.random.default_rng(groups)
    held = 0
    for _ in range(1000):
        errors = rng.binomial(200, rng.beta(1.9, 17.1, groups))
        _, low, high = grouped_interval(errors.tolist(), [200] * groups)
        held += low <= 0.1 <= high
    assert held / 1000 > 0.95 - 4 * 0.007


def test_without_errors_it_counts_independent_units_and_not_symbols() -> None:
    for errors in ([0, 0], [300, 200]):
        value, low, high = grouped_interval(errors, [300, 200], units=20)
        wanted = stats.binomtest(round(20 * value), 20).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)
    assert grouped_interval([0], [3], units=20) == grouped_interval([0], [3])  # never more than there are trials


def test_nothing_tried_is_no_rate_and_no_errors_are_not_certainty() -> None:
    assert np.isnan(grouped_interval([0, 0], [0, 0])).all()
    value, low, high = grouped_interval([0, 0], [300, 0])
    assert (value, low) == (0.0, 0.0)
    assert high == pytest.approx(3.84 / 303.84, rel=1e-3)  # z^2 / (n + z^2)
