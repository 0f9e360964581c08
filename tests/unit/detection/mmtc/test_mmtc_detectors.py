"""All detectors of massive access: their answers, their errors beside those of an independent study, wrong input."""

from __future__ import annotations

import functools
import math

import pytest
import torch

from cellfree_sim.detection import create_detector, list_detectors, plain_mmtc
from cellfree_sim.detection.mmtc.bounds import Genie
from cellfree_sim.detection.plain_mmtc import PLAIN_MMTC
from cellfree_sim.errors import DetectorError
from cellfree_sim.uplink import MmtcProblem, state_error_rates

SMALL = MmtcProblem(devices=6, pilot_length=8, antennas=4)
UNTRAINED = ["covariance", "map-cd", "exact", "amp", "amp-section", "omp", "all-zero"]


def frames(problem, count=6, seed=1):
    return problem.sample(count, generator=torch.Generator().manual_seed(seed))


def test_they_are_registered():
    assert set(UNTRAINED) <= set(list_detectors("mmtc"))


@pytest.mark.parametrize("problem", [SMALL, SMALL.changed(pilots="dft"), SMALL.changed(stations=2)])
@pytest.mark.parametrize("name", UNTRAINED)
def test_every_detector_answers_with_probabilities(name, problem):
    batch = frames(problem, 4)
    detector = create_detector(name, problem)
    found = detector(batch.y, batch.h, batch.noise_variance)
    assert found.logits.shape == (4, 6, 3) and found.logits.dtype == torch.float32
    assert torch.allclose(found.logits.exp().sum(-1), torch.ones(4, 6), atol=1e-5)
    assert detector(batch.y[:0], batch.h[:0], batch.noise_variance[:0]).logits.shape == (0, 6, 3)
    one = detector(batch.y[2:3], batch.h[2:3], batch.noise_variance[2:3])
    assert torch.allclose(one.logits, found.logits[2:3], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("amplitude", [8.0, 1e-8])
@pytest.mark.parametrize("name", UNTRAINED)
def test_what_counts_is_the_gain_over_the_noise(name, amplitude):
    """Also in watts, where the noise of 1 MHz has the power 1e-14."""
    batch = frames(SMALL)
    detector = create_detector(name, SMALL)
    plain = detector(batch.y, batch.h, batch.noise_variance)
    power = amplitude**2
    other = detector(amplitude * batch.y, power * batch.h, power * batch.noise_variance)
    assert torch.allclose(plain.logits.exp(), other.logits.exp(), atol=1e-4)


@pytest.mark.parametrize("name", ["map-cd", "exact"])
def test_stations_with_the_same_gains_are_one_station(name):
    """The antennas and their statistics are the same, whatever belongs to which station."""
    spread = SMALL.changed(stations=2)
    batch = frames(SMALL, 10)
    one = create_detector(name, SMALL)(batch.y, batch.h, batch.noise_variance)
    two = create_detector(name, spread)(batch.y, batch.h.unsqueeze(-1).repeat(1, 1, 2), batch.noise_variance)
    assert torch.allclose(one.logits.exp(), two.logits.exp(), atol=1e-5)


@pytest.mark.parametrize("name", sorted(PLAIN_MMTC))
def test_batched_detectors_decide_as_plain_ones(name):
    """Second implementations, frame by frame: coordinate ascent takes other ways, and may end elsewhere, rarely."""
    problem = MmtcProblem(devices=30, pilot_length=15, antennas=8)
    batch = frames(problem, 12)
    options = {"amp": {"damping": 0.4, "prior": True}, "covariance": {"tolerance": 1e-6}}
    plain = {"amp": {"damping": 0.4, "prior": True}, "covariance": {"sweeps": 100}}
    found = create_detector(name, problem, **options.get(name, {}))(batch.y, batch.h, batch.noise_variance).messages
    same = plain_mmtc.detect(name, batch.y, batch.h, batch.noise_variance, problem.codebook, 0.1, **plain.get(name, {}))
    differ = (found != torch.from_numpy(same)).sum().item()
    assert differ <= (2 if name in ("covariance", "map-cd") else 0)
    assert (batch.messages > 0).sum() > 20


@functools.cache
def measured(length):
    """SER of 96 frames (of 48 where pilots are long) of 100 decisions on one set of pilots, and its standard error."""
    frames = 96 if length == 20 else 48
    columns = {
        "printed": ("amp", {}),
        "matrix": ("amp", {"onsager": "matrix"}),
        "damped": ("amp", {"damping": 0.3}),
        "prior": ("amp", {"damping": 0.3, "prior": True}),
        "section": ("amp-section", {}),
        "half": ("covariance", {}),
        "quarter": ("covariance", {"threshold": "quarter"}),
        "map": ("map-cd", {}),
        "genie": ("genie", {}),
    }
    rates = {}
    for column, (name, options) in columns.items():
        problem = MmtcProblem(pilot_length=length, pilot_seed=2)
        detector = Genie(problem) if name == "genie" else create_detector(name, problem, **options)
        rates[column] = state_error_rates(problem, detector, frames_max=frames, target_errors=None, batch=frames).ser
    return rates


@pytest.mark.parametrize("length", [40, 20])
def test_error_rates_are_those_of_an_independent_study(length):
    """From 100 000 decisions elsewhere, with other pilots: a factor of two, or four standard errors."""
    expected = {
        40: {"printed": 0.26, "matrix": 0.0039, "damped": 0.0026, "prior": 0.0012, "section": 0.0012, "half": 0.0036,
             "quarter": 0.0014, "map": 0.00073, "genie": 0.00073},
        20: {"printed": 0.39, "matrix": 0.046, "damped": 0.018, "prior": 0.010, "section": 0.010, "half": 0.0083,
             "quarter": 0.0053, "map": 0.0038, "genie": 0.0029},
    }[length]  # fmt: skip
    rates = measured(length)
    for column, rate in rates.items():
        other = math.sqrt(2 * expected[column] / 100_000)  # errors of a frame go together
        error = math.hypot(max(rate.standard_error, math.sqrt(expected[column] / rate.trials)), other)
        assert abs(rate.value - expected[column]) < 4 * error, column


def test_what_helps_is_seen():
    hard = measured(20)
    assert hard["genie"].value <= hard["map"].value < 1.7 * hard["genie"].value
    assert hard["map"].value < hard["quarter"].value < hard["half"].value
    assert hard["map"].value < hard["section"].value < 0.5 * hard["damped"].value + 0.01 < hard["printed"].value


def test_unknown_and_wrong_gains_cost_little():
    """64 frames: nobody known would be 0.1, notes of others have 1e-2 for unknown gains, known gains give 1.4e-3."""
    unknown = MmtcProblem(gains="unknown")
    off = MmtcProblem(gains="estimated", gain_error_db=3.0)
    for problem, name, most in (
        (unknown, "map-cd", 4e-3),
        (off, "map-cd", 4e-3),
        (off, "amp-section", 6e-3),
    ):
        rates = state_error_rates(problem, create_detector(name, problem), frames_max=64, target_errors=None)
        assert rates.ser.value < most, (problem.gains, name)


def test_pursuit_finds_everybody_without_noise():
    problem = MmtcProblem(devices=40, pilot_length=20, antennas=8, activity=0.05, radii_km=(0.2, 0.2))
    batch = problem.sample(20, 60.0, generator=torch.Generator().manual_seed(1))
    assert torch.equal(create_detector("omp", problem)(batch.y, None, batch.noise_variance).messages, batch.messages)


def test_nobody_is_found_even_where_most_are_active():
    problem = SMALL.changed(activity=0.9)
    batch = frames(problem)
    assert not create_detector("all-zero", problem)(batch.y, batch.h, batch.noise_variance).messages.any()


@pytest.mark.parametrize(
    ("name", "problem", "options", "text"),
    [
        ("amq", SMALL, {}, "detector: found 'amq'; allowed: "),
        ("amp", SMALL, {"dampin": 0.1}, "detector 'amp': unknown option 'dampin'; allowed: "),
        ("amp", SMALL, {"damping": 1.0}, "detector 'amp': damping: found 1.0; allowed: less than 1"),
        (
            "covariance",
            SMALL.changed(gains="unknown"),
            {},
            "detector 'covariance': threshold: found 'half' with unknown gains; allowed: ratio",
        ),
        ("exact", MmtcProblem(20), {}, "detector 'exact': found 3.49e+09 joint states; allowed: up to 16384"),
        (
            "covariance",
            MmtcProblem(4, pilot_length=5000),
            {},
            "detector 'covariance': found pilot_length 5000; allowed: at most 4096",
        ),
        (
            "map-cd",
            MmtcProblem(10_000, pilot_length=4000, pilots="dft"),
            {},
            "detector 'map-cd': found pilots of 80000000 numbers; allowed: up to 16777216",
        ),
    ],
)
def test_what_does_not_suit_is_refused_in_one_line(name, problem, options, text):
    with pytest.raises(DetectorError) as error:
        create_detector(name, problem, **options)
    assert str(error.value).startswith(text) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda y, h, n: (y[:, :5], h, n), "y: found [6, 5, 4]; expected [6, 8, 4]"),
        (lambda y, h, n: (y, h * float("nan"), n), "h: found a gain below 0, or none; expected gains of at least 0"),
        (lambda y, h, n: (y, h, 0 * n), "noise_variance: found 0; expected positive numbers"),
        (lambda y, h, n: (y * float("inf"), h, n), "y: found a value that is not finite; expected finite numbers"),
    ],
)
def test_wrong_input_is_refused_in_one_line(change, text):
    batch = frames(SMALL)
    with pytest.raises(DetectorError) as error:
        create_detector("amp-section", SMALL)(*change(batch.y, batch.h, batch.noise_variance))
    assert str(error.value) == f"detector 'amp-section': {text}"


@pytest.mark.parametrize(("name", "options"), [("map-cd", {}), ("covariance", {"threshold": "ratio"})])
def test_devices_90_db_over_the_noise_drown_nobody(name, options):
    """720 states at 44 to 92 dB: louder by 40 dB than in the cell, all are found (nobody found would be about 72)."""
    problem = MmtcProblem(devices=30, pilot_length=16, antennas=8, power_dbm=63.0)
    batch = frames(problem, 24)
    assert batch.h.max() > 1e9
    found = create_detector(name, problem, **options)(batch.y, batch.h, batch.noise_variance)
    assert torch.isfinite(found.logits).all() and (found.messages != batch.messages).sum() <= 1


@pytest.mark.parametrize("name", ["covariance", "exact"])
def test_frames_without_gains_are_refused_by_what_needs_them(name):
    batch = frames(SMALL)
    with pytest.raises(DetectorError, match=f"^detector '{name}': .*found .*unknown gains; allowed: "):
        create_detector(name, SMALL)(batch.y, None, batch.noise_variance)


def test_thresholds_are_parts_of_the_estimate_however_many_errors_are_weighed():
    problem = MmtcProblem(30, pilot_length=12, gains="estimated", gain_error_db=6.0)
    batch = frames(problem)
    one, some = (
        create_detector("covariance", problem, gain_points=points)(batch.y, batch.h_known, batch.noise_variance)
        for points in (1, 4)
    )
    assert torch.equal(one.messages, some.messages) and one.messages.any()


@pytest.mark.parametrize("name", ["map-cd", "amp-section"])
def test_unknown_gains_to_several_stations_are_those_of_places(name):
    """On the same 480 states hardly more errors than where gains are known; to find nobody would be about 48."""
    known = MmtcProblem(devices=30, pilot_length=20, antennas=8, stations=2)
    unknown = known.changed(gains="unknown")
    wrong = [
        state_error_rates(problem, create_detector(name, problem, gain_points=12), frames_max=16, batch=16).ser.errors
        for problem in (known, unknown)
    ]
    assert wrong[1] <= wrong[0] + 4 and wrong[1] < 12
