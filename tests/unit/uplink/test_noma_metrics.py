"""Error rates of NOMA: against counting by hand, one frame after the other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cellfree_sim.detection import create_detector
from cellfree_sim.errors import UserError
from cellfree_sim.uplink import NomaProblem, noma_error_rates
from cellfree_sim.uplink.noma_metrics import NomaCounts, jain

PROBLEM = NomaProblem(4, 3, (1, 2, 2, 3), (0.9, 0.5, 0.7, 0.4), "flat", "random")


def guesses(problem, count, seed=1):
    """Frames, and logits that are right rather often."""
    generator = torch.Generator().manual_seed(seed)
    batch = problem.sample(count, 10.0, generator=generator)
    most = max(problem.counts)
    logits = torch.randn(count, problem.users, most + problem.silence, generator=generator)
    sent = torch.where(batch.active, batch.messages, most)
    logits += 2.0 * torch.nn.functional.one_hot(sent, logits.shape[-1])
    return batch, (logits + problem.log_prior.clamp_min(-1e9)).log_softmax(-1)


def test_rates_are_those_of_counting_by_hand():
    batch, logits = guesses(PROBLEM, 300)
    counts = NomaCounts(PROBLEM)
    for part in (slice(0, 120), slice(120, 300)):
        counts.add(type(batch)(**{key: value[part] for key, value in vars(batch).items()}), logits[part])
    found = counts.rates(10.0)
    errors = dict.fromkeys(["ser", "ber", "half", "bler", "missed", "false", "r1", "r2", "r3"], 0.0)
    trials = dict.fromkeys(errors, 0)
    by_user = np.zeros((2, 4))
    for frame in range(300):
        for user, rate in enumerate(PROBLEM.rates):
            sent, answer = int(batch.messages[frame, user]), int(logits[frame, user].argmax())
            best = int(logits[frame, user, :8].argmax())
            trials["ser"] += 1
            errors["ser"] += (answer if answer < 8 else -1) != sent
            if sent < 0:
                trials["false"] += 1
                errors["false"] += answer < 8
                continue
            wrong = sum(a != b for a, b in zip(f"{best:03b}", f"{sent:03b}", strict=True))
            by_user[:, user] += wrong, rate
            for key, count in (("ber", rate), ("half", rate), ("bler", 1), ("missed", 1), (f"r{rate}", 1)):
                trials[key] += count
            errors["ber"] += wrong
            errors["half"] += rate / 2 if answer == 8 else wrong
            errors["bler"] += answer != sent
            errors[f"r{rate}"] += answer != sent
            errors["missed"] += answer == 8
    rates = [found.ser, found.ber, found.ber_missed, found.bler, found.missed, found.false_alarms]
    rates += [found.bler_by_rate[rate] for rate in (1, 2, 3)]
    for rate, key in zip(rates, errors, strict=True):
        assert rate.value == pytest.approx(errors[key] / trials[key]), key
        assert 0 < rate.interval()[0] < rate.value < rate.interval()[1] < 1
    assert [one.value for one in found.ber_by_user] == pytest.approx((by_user[0] / by_user[1]).tolist())
    assert found.fairness.value == pytest.approx(jain(by_user[0] / by_user[1])) and found.frames == 300


def test_fairness_conditions_on_activity_and_its_error_is_that_of_repetitions():
    """A user that sends rarely has few errors, and is as unfairly treated as its rate says; 60 runs of 400 frames."""
    seen = []
    for seed in range(60):
        counts = NomaCounts(PROBLEM)
        counts.add(*guesses(PROBLEM, 400, seed))
        seen.append(counts.rates(10.0).fairness)
    spread = np.std([one.value for one in seen], ddof=1)
    # a standard deviation of 60 values has a relative standard error of 9 %
    assert np.mean([one.standard_error for one in seen]) == pytest.approx(spread, rel=0.35)
    assert jain(np.array([0.1] * 5)) == pytest.approx(1) and jain(np.array([0.3, 0, 0])) == pytest.approx(1 / 3)
    assert math.isnan(jain(np.zeros(3)))


def test_the_standard_error_is_that_of_repetitions():
    problem = NomaProblem(6, 4, 2, 0.6, "flat")
    detector = create_detector("mmse", problem)
    runs = [
        noma_error_rates(problem, detector, 15.0, frames_max=300, target_errors=None, seed=seed) for seed in range(60)
    ]
    for rate in ("ser", "ber", "ber_missed", "bler", "missed", "false_alarms"):
        values = [getattr(run, rate) for run in runs]
        spread = np.std([one.value for one in values], ddof=1)
        assert np.mean([one.standard_error for one in values]) == pytest.approx(spread, rel=0.35), rate


def test_it_stops_after_enough_errors_and_repeats():
    problem = NomaProblem(6, 4, 2, 0.6, "flat")
    detector = create_detector("mf", problem)
    first = noma_error_rates(problem, detector, 15.0, target_errors=200, batch=100)
    assert first.ser.errors >= 200 and first.frames < 1000 and first.frames % 100 == 0
    assert first == noma_error_rates(problem, detector, 15.0, target_errors=200, batch=100)
    assert noma_error_rates(problem, detector, 15.0, frames_max=250, target_errors=None, batch=100).frames == 250


def test_without_silence_every_user_is_active():
    problem = NomaProblem(6, 4, (1, 1, 1, 2, 2, 2), None, "awgn", "scma")
    found = noma_error_rates(problem, create_detector("mpa", problem), 6.0, frames_max=500, target_errors=None)
    assert found.ser == found.bler and found.missed.errors == 0 == found.false_alarms.trials
    assert found.bler_by_rate.keys() == {1, 2} and found.ber.trials == 500 * 9


def test_logits_of_another_problem_are_refused():
    batch, logits = guesses(PROBLEM, 5)
    with pytest.raises(UserError, match=r"found logits \[5, 4, 8\]; expected \[5, 4, 9\]: frames, users, answers"):
        NomaCounts(PROBLEM).add(batch, logits[..., :8])
    with pytest.raises(UserError, match="frames_max: found 0"):
        noma_error_rates(PROBLEM, create_detector("mf", PROBLEM), 3.0, frames_max=0)
