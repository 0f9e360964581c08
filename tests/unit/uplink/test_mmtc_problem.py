"""Massive access: pilots as operators, powers and gains, who is active, and what is refused."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import pytest
import torch

from cellfree_sim.errors import UserError
from cellfree_sim.uplink import MmtcProblem
from cellfree_sim.uplink.pilots import DftPilots, GaussianPilots, pilots_of

KINDS = ["gaussian", "dft"]


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def complex_normal(*shape, seed=1):
    return torch.view_as_complex(torch.randn(*shape, 2, generator=seeded(seed)))


@pytest.mark.parametrize("kind", KINDS)
def test_operators_are_their_matrix(kind):
    pilots = pilots_of(kind, 7, 4, 9, 1)
    dense = pilots.dense()
    assert dense.shape == (7, 4, 9) and dense.dtype == torch.complex64
    matrix = dense.flatten(0, 1).T  # S [L, N Q]
    x, r = complex_normal(3, 2, 28), complex_normal(3, 2, 9)
    assert torch.allclose(pilots.forward(x), torch.einsum("lj,abj->abl", matrix, x), atol=1e-5)
    assert torch.allclose(pilots.adjoint(r), torch.einsum("lj,abl->abj", matrix.conj(), r), atol=1e-5)
    index = torch.tensor([[0, 27], [5, 11]])
    assert torch.allclose(pilots.columns(index), matrix.T[index], atol=1e-6)
    assert torch.allclose(matrix.abs().square().sum(0), torch.ones(28), atol=1e-5)
    inner = (pilots.forward(x).conj() * r).sum(-1), (x.conj() * pilots.adjoint(r)).sum(-1)
    assert torch.allclose(*inner, atol=1e-4)
    moved = pilots.to("cpu")
    assert torch.equal(moved.forward(x), pilots.forward(x)) and moved.device == pilots.device


def test_dft_pilots_are_rows_of_a_fourier_matrix_with_turned_columns():
    dense = DftPilots(4, 2, 5, seed=3).dense().flatten(0, 1).T * math.sqrt(5)  # [L, 8]
    assert torch.allclose(dense.abs(), torch.ones(5, 8), atol=1e-5)
    unturned = dense / dense[:1]  # relative to the first row the phases are gone, and powers of one root are left
    steps = torch.angle(unturned[:, 1:] / unturned[:, :-1]) / (2 * math.pi / 8)
    assert torch.allclose(steps, steps[:, :1].expand_as(steps), atol=1e-4) or torch.allclose(
        (steps - steps[:, :1]).remainder(8).minimum(8 - (steps - steps[:, :1]).remainder(8)), torch.zeros(()), atol=1e-4
    )


def test_gaussian_pilots_hardly_correlate():
    dense = GaussianPilots(40, 2, 64, seed=1).dense().flatten(0, 1)
    gram = (dense.conj() @ dense.T).abs().square()
    across = (gram.sum() - 80) / (80 * 79)
    assert across.item() == pytest.approx(1 / 64, rel=0.05)


def test_pilots_follow_from_their_seed():
    one = MmtcProblem(10, pilot_length=8).codebook
    assert torch.equal(one, MmtcProblem(10, pilot_length=8, antennas=2).codebook)
    assert not torch.isclose(one, MmtcProblem(10, pilot_length=8, pilot_seed=2).codebook).any()


def test_received_frames_are_what_was_sent_and_noise():
    """The energy of a frame is that of the noise, and of all active devices' pilots; and one device is its pilot."""
    problem = MmtcProblem(devices=50, pilot_length=20, antennas=8)
    batch = problem.sample(2000, generator=seeded())
    assert batch.y.shape == (2000, 20, 8) and batch.y.dtype == torch.complex64
    expected = 1 + (batch.h * batch.active).sum(1) / 20
    ratio = batch.y.abs().square().mean(dim=(1, 2)) / expected
    assert ratio.mean().item() == pytest.approx(1, abs=4 * ratio.std().item() / math.sqrt(2000))
    alone = torch.zeros(500, 50, dtype=torch.bool)
    alone[:, 7] = True
    loud = problem.sample(500, generator=seeded(), active=alone, gains=torch.full((500, 50), 1e8))
    pilots = problem.codebook[7, loud.messages[:, 7] - 1]
    seen = torch.einsum("sl,slm->sm", pilots.conj(), loud.y)
    assert seen.abs().square().mean().item() == pytest.approx(1e8, rel=4 / math.sqrt(500 * 8))
    rest = loud.y - pilots.unsqueeze(-1) * seen.unsqueeze(1)
    assert rest.abs().square().sum(1).mean().item() == pytest.approx(19, rel=0.02)  # noise in the other dimensions


def test_gains_are_those_of_the_macro_cell():
    problem = MmtcProblem()
    gains = 10 * problem.sample(500, generator=seeded()).h.log10()
    assert gains.min().item() == pytest.approx(3.9, abs=0.01)  # 23 dBm - 128.1 dB + 109 dBm at 1 km
    assert gains.max().item() == pytest.approx(3.9 + 36.7 * math.log10(20), abs=0.1)
    distance = 10 ** ((3.9 - gains) / 36.7)
    assert distance.mean().item() == pytest.approx(0.525, abs=0.005)
    louder = 10 * problem.changed(power="per-symbol").sample(500, generator=seeded()).h.log10()
    assert torch.allclose(louder - gains, torch.tensor(10 * math.log10(40)), atol=1e-4)
    assert torch.allclose(problem.sample(5, 0.0, generator=seeded()).h.log10() * 10, gains[:5] - 3.9, atol=1e-4)


def test_states_are_uniform_among_active_devices():
    activity = tuple([0.05] * 20 + [0.4] * 20)
    batch = MmtcProblem(devices=40, bits=2, activity=activity, pilot_length=4, antennas=1).sample(
        4000, generator=seeded()
    )
    assert torch.equal(batch.active, batch.messages > 0) and batch.messages.max() == 4
    for half, chance in ((batch.active[:, :20], 0.05), (batch.active[:, 20:], 0.4)):
        assert half.float().mean().item() == pytest.approx(chance, abs=4 * math.sqrt(chance / 80_000))
    counts = torch.bincount(batch.messages[batch.active], minlength=5)[1:]
    assert (counts / counts.sum() - 0.25).abs().max() < 4 * math.sqrt(0.1875 / counts.sum())


def test_bursts_last_as_long_as_they_should():
    batch = MmtcProblem(devices=200, pilot_length=2, antennas=1, burst=5).sample(1500, generator=seeded())
    now, later = batch.active[:-1], batch.active[1:]
    assert (now & later).sum() / now.sum() == pytest.approx(0.8, abs=0.01)
    assert batch.active.float().mean().item() == pytest.approx(0.1, abs=0.006)


@pytest.mark.parametrize("pilots", KINDS)
def test_blocks_share_fading_and_places(pilots):
    problem = MmtcProblem(devices=1, pilot_length=2, antennas=2, block=4, activity=0.9, pilots=pilots)
    batch = problem.sample(10, 120.0, generator=seeded())
    assert torch.equal(batch.h[:4], batch.h[:1].expand(4, -1)) and not torch.isclose(batch.h[3], batch.h[4]).any()
    same = [(a, b) for a in range(10) for b in range(a) if torch.equal(batch.messages[a], batch.messages[b])]
    for a, b in same:
        assert torch.allclose(batch.y[a], batch.y[b], rtol=1e-3) == (a // 4 == b // 4)
    assert {a // 4 == b // 4 for a, b in same} == {True, False}


def test_fixed_places_are_those_of_the_seed():
    problem = MmtcProblem(devices=10, positions="fixed")
    first, second = (problem.sample(3, generator=seeded(seed)).h for seed in (1, 2))
    assert torch.equal(first, second) and torch.equal(first[0], first[2])
    assert not torch.isclose(problem.changed(pilot_seed=2).sample(1).h, first[:1]).any()


def test_stations_share_the_antennas_and_have_gains_of_their_own():
    problem = MmtcProblem(devices=30, pilot_length=10, antennas=8, stations=4, activity=0.5)
    assert problem.station_of == (0, 0, 1, 1, 2, 2, 3, 3)
    batch = problem.sample(3000, generator=seeded())
    assert batch.h.shape == (3000, 30, 4)
    power = batch.y.abs().square().mean(dim=1).unflatten(-1, (4, 2)).mean(-1)  # [S, B]
    ratio = power / (1 + (batch.h * batch.active.unsqueeze(-1)).sum(1) / 10)
    assert torch.allclose(ratio.mean(0), torch.ones(4), atol=0.06)
    assert 10 * batch.h.log10().max() <= 3.9 + 36.7 * math.log10(20) + 0.01  # none nearer than 50 m


def test_receivers_know_what_they_are_said_to_know():
    known = MmtcProblem(20).sample(50, generator=seeded())
    assert known.h_known is known.h
    assert MmtcProblem(20, gains="unknown").sample(5).h_known is None
    off = MmtcProblem(200, gains="estimated", gain_error_db=3.0).sample(200, generator=seeded())
    error = 10 * (off.h_known / off.h).log10()
    assert error.std().item() == pytest.approx(3, rel=0.03) and abs(error.mean().item()) < 0.06


def test_the_generator_decides():
    problem = MmtcProblem(10, pilot_length=6)
    one, two = (problem.sample(20, generator=seeded(5)) for _ in range(2))
    assert torch.equal(one.y, two.y) and torch.equal(one.messages, two.messages)
    assert not torch.equal(one.y, problem.sample(20, generator=seeded(6)).y)
    assert problem.sample(0).y.shape == (0, 6, 16)


def test_problems_are_values():
    problem = MmtcProblem(3, activity=(0.1, 0.2, 0.3), pilots="dft", pilot_length=5, gains="unknown", burst=3.0)
    assert MmtcProblem(**problem.options()) == problem and len({problem, problem.changed()}) == 1
    assert eval(repr(problem), {"MmtcProblem": MmtcProblem}) == problem
    assert problem.changed(activity=[0.1, 0.2, 0.3]) == problem
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.devices = 4
    assert problem.family == "mmtc" and problem.per_device == 2 and problem.states == 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"devices": 0}, "devices: found 0; allowed: a whole number from 1 to 2000000"),
        ({"bits": 9}, "bits: found 9; allowed: a whole number from 1 to 8"),
        ({"pilots": "gausian"}, "pilots: found 'gausian'; allowed: gaussian, dft; did you mean 'gaussian'?"),
        ({"activity": 1.0}, "activity: found 1.0; allowed: a number from 1e-09 to 0.999"),
        (
            {"activity": (0.1, 0.2)},
            "activity: found 2 numbers; allowed: one, or one for each of the 100 devices",
        ),
        ({"stations": 3}, "stations: found 3; allowed: a divisor of the 16 antennas"),
        (
            {"gain_error_db": 2.0},
            "gain_error_db: found 2 with gains 'known'; allowed: 0, or gains 'estimated'",
        ),
        ({"gains": "estimated"}, "gain_error_db: found 0 with gains 'estimated'; allowed: more than 0"),
        (
            {"burst": 2.0, "activity": 0.8},
            "burst: found 2; allowed: at least 4 for an activity of 0.8",
        ),
        ({"radii_km": (1.0, 0.5)}, "radii_km: found 1, 0.5; allowed: the smaller one first"),
        ({"radii_km": 1.0}, "radii_km: found 1.0; allowed: the smallest and the largest distance"),
        (
            {"pilots": "dft", "pilot_length": 201},
            "pilot_length: found 201; allowed: up to 200 with 'dft' pilots",
        ),
        (
            {"devices": 100_000, "pilot_length": 40_000},
            "pilots: found 'gaussian' with 8000000000 numbers; allowed: up to 134217728, or 'dft'",
        ),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(options, text):
    with pytest.raises(UserError) as error:
        MmtcProblem(**options)
    assert str(error.value) == text


def test_a_wrong_sample_is_refused():
    with pytest.raises(UserError, match=r"^count: found -1; allowed: a whole number"):
        MmtcProblem(4).sample(-1)
    with pytest.raises(UserError, match=r"^sample: found gains \[2, 4\], active \[2, 3\]; allowed: gains \[2, 4\], a"):
        MmtcProblem(4).sample(2, active=torch.ones(2, 3, dtype=torch.bool))


def test_misfits_are_named():
    problem = MmtcProblem(5, pilot_length=4, antennas=2)
    batch = problem.sample(3)
    y, h, noise = batch.y, batch.h, batch.noise_variance
    assert problem.misfit(y, h, noise) is None and problem.misfit(y, None, noise) is None
    assert problem.answers(y, h) == (5, 3)
    cases = [
        ((y[:, :3], h, noise), "y: found [3, 3, 2]; expected [3, 4, 2]"),
        ((y, h[:, :4], noise), "h: found [3, 4]; expected [3, 5]"),
        ((y, h, noise[:2]), "noise_variance: found [2]; expected [3]"),
        ((y.real, h, noise), "y: found float32 [3, 4, 2]; expected a complex64 tensor [frames, samples, antennas]"),
        ((y, h.double(), noise), "h: found float64 [3, 5]; expected a float32 tensor [frames, devices]"),
        ((y, -h, noise), "h: found a gain below 0, or none; expected gains of at least 0"),
        ((None, h, noise), "y: found NoneType; expected a complex64 tensor [frames, samples, antennas]"),
    ]
    for given, text in cases:
        assert problem.misfit(*given) == text


def test_it_is_named_without_torch():
    code = "import sys, cellfree_sim.uplink as u; u.MmtcProblem(4); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
