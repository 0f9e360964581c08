"""Schemes on equal frames: rates and paired differences against sums by hand, codes that share the draws."""

import math
from types import SimpleNamespace

import pytest
import torch

from cellfree_sim.scenario.schema import Scenario
from cellfree_sim.studies import mmtc_link, noma_link
from cellfree_sim.studies.schemes import Scheme, measure
from cellfree_sim.uplink import NomaProblem


class Numbered:
    """Frames that carry their number, counted over all batches."""

    family = "noma"

    def __init__(self) -> None:
        self.sent = 0

    def sample(self, count, snr_db, *, generator):
        numbers = torch.arange(self.sent, self.sent + count)
        self.sent += count
        torch.rand(count, generator=generator)
        return SimpleNamespace(y=numbers, h_known=None, noise_variance=None)


def every(period):
    """A detector that errs in each `period`-th frame."""
    return lambda y, h, noise: (y % period == 0).double()


def count(scheme, frames, detection):
    return {"ser": (2 * detection, torch.full((len(detection),), 4.0).double())}


def rows_of(schemes, **changes):
    options = {"seed": 1, "frames_max": 1000, "target_errors": None, "batch": 300, "count": count, "primary": "ser"}
    return {row["algorithm"]: row for row in measure(schemes, 10.0, **{**options, **changes})}


def test_rates_and_paired_differences_are_those_of_sums_by_hand():
    problem = Numbered()
    rows = rows_of({"five": Scheme(problem, every(5)), "ten": Scheme(problem, every(10))})
    assert rows["five"]["ser"] == pytest.approx(2 * 200 / 4000) and rows["ten"]["ser"] == pytest.approx(0.05)
    scatter = math.sqrt(1000 / 999 * (0.2 * 0.8)) * 2  # of 2 x Bernoulli(0.2), divided by N - 1
    assert rows["five"]["ser_error"] == pytest.approx(scatter / 4 / math.sqrt(1000), rel=1e-9)
    assert rows["five"]["minus ten"] == pytest.approx(0.05)
    assert rows["five"]["ser minus ten, error"] == pytest.approx(
        math.sqrt(1000 / 999 * 0.1 * 0.9) * 2 / 4 / math.sqrt(1000), rel=1e-9
    )


def test_a_scheme_with_enough_errors_gets_no_more_frames_and_pairs_are_cut():
    problem = Numbered()
    rows = rows_of({"two": Scheme(problem, every(2)), "never": Scheme(problem, every(10**9))}, target_errors=300)
    assert (rows["two"]["slots"], rows["never"]["slots"]) == (300, 1000)
    assert rows["two"]["errors"] == 300 and rows["two"]["minus never"] == pytest.approx((300 - 2) / 1200)


def test_codes_see_the_same_users_channels_and_noise():
    """What is received differs by what the codes make of it, and by nothing else."""
    seen = []
    options = {"users": 6, "resources": 4, "activity": 0.5, "channel": "flat"}
    problems = [NomaProblem(**options, codebook=name) for name in ("wbe", "musa")]

    def spy(problem):
        def detect(y, h, noise):
            seen.append((problem, y, h))
            return torch.zeros(len(y)).double()

        return detect

    rows_of({name: Scheme(each, spy(each)) for name, each in zip("ab", problems, strict=True)}, frames_max=300)
    (first, y, h), (second, other_y, other_h) = seen
    assert first is not second and torch.equal(h, other_h) and not torch.equal(y, other_y)


def test_rates_of_a_link_agree_with_those_of_the_library():
    """3000 frames each, other draws: within four standard errors of both."""
    from cellfree_sim.detection import create_detector
    from cellfree_sim.uplink.noma_metrics import noma_error_rates

    link = {"family": "noma", "problem": {"activity": 0.5, "channel": "flat"}, "snr_db": [15.0]}
    link |= {"schemes": [{"codebook": "wbe", "detector": "mmse-sic"}], "frames_max": 3000, "target_errors": None}
    row = noma_link.evaluate(Scenario.model_validate({"link": link}))[0]
    problem = NomaProblem(6, 4, 2, 0.5, "flat")
    theirs = noma_error_rates(problem, create_detector("mmse-sic", problem), 15.0, frames_max=3000, target_errors=None)
    for rate in ("ser", "ber", "ber_missed", "bler", "missed", "false_alarms"):
        other = getattr(theirs, rate)
        assert abs(row[rate] - other.value) < 4 * math.hypot(row[f"{rate}_error"], other.standard_error)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        ({"gains": "estimated"}, "found 0 with gains estimated; allowed: above 0"),
        ({"gain_error_db": 2}, "found 2 with gains known; allowed: 0, or gains estimated"),
        ({"devices": 10_000, "pilot_length": 10_000}, "found gaussian with 200000000 numbers; allowed: up to"),
        ({"devices": 4, "pilots": "dft"}, "found 40 with dft pilots; allowed: up to 8, as many as there are"),
        ({"activity": 0.9999}, "less than or equal to 0.999"),
    ],
)
def test_a_problem_that_cannot_be_is_refused_before_the_study_begins(problem, text):
    with pytest.raises(ValueError, match=text):
        Scenario.model_validate({"link": {"family": "mmtc", "problem": problem}})


def test_the_genie_stands_beside_and_nobody_beats_it():
    """64 frames of 30 devices: the bound has no more errors; the all-zero line is the activity."""
    problem = {"devices": 30, "pilot_length": 16, "antennas": 4}
    link = {"family": "mmtc", "problem": problem, "detectors": ["amp-section"], "frames_max": 64}
    rows = {row["algorithm"]: row for row in mmtc_link.evaluate(Scenario.model_validate({"link": link}))}
    assert rows["genie"]["ser"] <= rows["amp-section"]["ser"] < rows["genie"]["activity"]
    assert rows["amp-section"]["activity"] == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / 1920))
