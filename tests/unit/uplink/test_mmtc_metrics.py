"""Errors in states: what is counted, how sure it is, and when counting ends."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from cellfree_sim.errors import UserError
from cellfree_sim.uplink import FrameRate, MmtcProblem, state_error_rates
from cellfree_sim.uplink.mmtc_metrics import StateCounts

PROBLEM = MmtcProblem(devices=20, pilot_length=4, antennas=1)


def silent(y, h, noise_variance):
    return SimpleNamespace(messages=torch.zeros(len(y), 20, dtype=torch.int64))


def test_every_kind_of_error_is_counted_where_it_belongs():
    sent = torch.tensor([[0, 0, 1, 2, 1], [0, 0, 0, 0, 2]])
    decided = torch.tensor([[0, 1, 0, 1, 1], [0, 0, 2, 0, 2]])
    counts = StateCounts()
    counts.add_states(sent, decided)
    rates = counts.rates()
    assert (rates.frames, counts.errors) == (2, 4)
    assert (rates.ser.errors, rates.ser.trials) == (4, 10)
    assert (rates.missed.errors, rates.missed.trials) == (1, 4)
    assert (rates.false_alarms.errors, rates.false_alarms.trials) == (2, 6)
    assert (rates.data.errors, rates.data.trials) == (1, 4)
    double = rates + rates
    assert double.frames == 4 and double.ser.errors == 8 and double.missed.value == 0.25


def test_nobody_found_is_the_line_of_the_activity():
    rates = state_error_rates(PROBLEM, silent, frames_max=2000, target_errors=None)
    assert rates.frames == 2000 and rates.ser.trials == 40_000
    assert rates.ser.value == pytest.approx(0.1, abs=4 * rates.ser.standard_error)
    assert rates.missed.value == 1 and rates.false_alarms.errors == rates.data.errors == 0
    assert rates.missed.interval()[1] == 1 and rates.false_alarms.interval()[0] == 0


def test_counting_ends_with_enough_errors():
    rates = state_error_rates(PROBLEM, silent, frames_max=2000, target_errors=50, batch=10)
    assert 50 <= rates.ser.errors < 50 + 60 and rates.frames % 10 == 0


def test_a_bound_is_told_the_truth():
    def bound(y, h, noise_variance, *, messages):
        assert h is not None
        return SimpleNamespace(messages=messages)

    bound.told = True
    rates = state_error_rates(PROBLEM.changed(gains="unknown"), bound, frames_max=64)
    assert rates.ser.errors == 0 and rates.ser.trials == 1280


def test_the_standard_error_is_that_of_many_runs():
    """Errors that go together in a frame: the spread of 400 measurements, beside what one says."""
    generator = torch.Generator().manual_seed(1)
    bad = torch.rand(400, 50, 1, generator=generator) < 0.2
    wrong = torch.rand(400, 50, 10, generator=generator) < torch.where(bad, 0.5, 0.02)
    active = torch.rand(400, 50, 10, generator=generator) < 0.5
    values, told = [], []
    for one, who in zip(wrong, active, strict=True):
        counts = StateCounts()
        counts.add_states(who.long(), (who & ~one).long())
        rate = counts.rates().missed
        values.append(rate.value)
        told.append(rate.standard_error)
    spread = torch.tensor(values).std().item()
    assert torch.tensor(told).square().mean().sqrt().item() == pytest.approx(spread, rel=0.12)  # 3.5 % is a sigma


def test_no_trials_have_no_rate():
    nothing = FrameRate(0, 0, 0, 0, 0, 0)
    assert math.isnan(nothing.value) and math.isnan(nothing.standard_error) and math.isnan(nothing.interval()[0])


def test_wrong_decisions_are_refused():
    with pytest.raises(
        UserError, match=r"^detector: found decisions \[64, 19\]; expected \[64, 20\]: frames, devices$"
    ):
        state_error_rates(PROBLEM, lambda y, h, n: SimpleNamespace(messages=torch.zeros(len(y), 19)))
    with pytest.raises(UserError, match=r"^frames_max: found 0"):
        state_error_rates(PROBLEM, silent, frames_max=0)
