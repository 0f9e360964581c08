"""State evolution beside AMP itself on many devices, and where it must end."""

from __future__ import annotations

import pytest
import torch

from cellfree_sim.detection.mmtc.algorithms.denoiser import GainGrid, Prior
from cellfree_sim.detection.mmtc.algorithms.passing import Passing, message_passing
from cellfree_sim.detection.mmtc.state_evolution import state_evolution
from cellfree_sim.uplink import MmtcProblem

EQUAL = MmtcProblem(devices=1000, pilot_length=400, antennas=8, radii_km=(0.3, 0.3))
SPREAD = MmtcProblem(devices=1000, pilot_length=400, antennas=8, radii_km=(0.2, 1.0), positions="fixed")


@pytest.mark.parametrize(
    ("problem", "sections"),
    [(EQUAL, True), (EQUAL, False), (SPREAD, True), (SPREAD.changed(stations=4), True)],
    ids=["equal", "elements", "spread", "stations"],
)
def test_messages_have_the_variances_that_state_evolution_says(problem, sections):
    """Mean over ten frames with every tenth device by its gain active, undamped: within 0.5 dB in all iterations."""
    law = state_evolution(problem, iterations=12, sections=sections, samples=5000)
    order = problem.sample(1).h.reshape(1000, -1).sum(-1).argsort()
    active = torch.zeros(10, 1000, dtype=torch.bool)
    for frame in range(10):
        active[frame, order[frame::10]] = True
    batch = problem.sample(10, generator=torch.Generator().manual_seed(1), active=active)
    how = Passing(12, 0.0, "scalar", sections=sections)
    passed = message_passing(batch.y, GainGrid.known(batch.h), Prior.of(problem), problem.operator, how)
    tracked = torch.stack(passed.variances).mean(dim=1)
    assert (10 * (tracked / law).log10()).abs().max() < 0.5
    assert 1 < law[-1].max() < 1.5 < law[0].min() / 10


def test_it_starts_with_the_power_received_and_knows_silence():
    law = state_evolution(EQUAL.changed(activity=1e-6), iterations=3, samples=2000)
    assert torch.allclose(law, torch.ones(3, 1), atol=1e-2)
    gain = EQUAL.sample(1).h[0, 0].item()
    first = state_evolution(EQUAL, iterations=1, samples=2000)[0, 0].item()
    assert first == pytest.approx(1 + 1000 / 400 * 0.1 * gain, rel=1e-5)


def test_given_gains_are_gone_through():
    gains = torch.linspace(1, 5, 1000)
    law = state_evolution(EQUAL, iterations=2, samples=3000, gains=gains)
    assert law[0, 0].item() == pytest.approx(1 + 2.5 * 0.1 * 3, rel=1e-4)
