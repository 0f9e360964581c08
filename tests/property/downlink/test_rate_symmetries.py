"""What rates must not depend on, and what they must grow with, whatever the sizes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cellfree_sim.downlink.rates import project_to_budget, station_power, user_rates

few_examples = settings(max_examples=40, deadline=None)


@st.composite
def situations(draw):
    """Beams, allocation and channel of any small size, at any scale from -60 to +60 dB; and a generator."""
    s, b, n, t, i, r = (draw(st.integers(1, largest)) for largest in (2, 3, 3, 4, 4, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    gain = 10 ** (draw(st.integers(-60, 60)) / 20)
    beams = torch.randn(s, b, n, t, i, dtype=torch.complex128, generator=generator)
    allocation = torch.randint(2, (s, b, n, i), generator=generator).double()
    channel = gain * torch.randn(s, b, n, t, i, r, dtype=torch.complex128, generator=generator)
    return beams, allocation, channel, generator


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-13)


@few_examples
@given(situations())
def test_a_unitary_combiner_at_the_receiver_changes_nothing(situation):
    beams, allocation, channel, generator = situation
    r = channel.shape[-1]
    rotation, _ = torch.linalg.qr(torch.randn(r, r, dtype=torch.complex128, generator=generator))
    close(user_rates(beams, allocation, channel @ rotation), user_rates(beams, allocation, channel))


@few_examples
@given(situations())
def test_a_unitary_precoder_undone_by_the_beams_changes_nothing(situation):
    beams, allocation, channel, generator = situation
    t = beams.shape[3]
    rotation, _ = torch.linalg.qr(torch.randn(t, t, dtype=torch.complex128, generator=generator))
    rotated = torch.einsum("ut,sbntir->sbnuir", rotation, channel)
    close(user_rates(rotation @ beams, allocation, rotated), user_rates(beams, allocation, channel))


@few_examples
@given(situations())
def test_a_phase_common_to_all_stations_changes_nothing(situation):
    beams, allocation, channel, generator = situation
    angle = 6.28 * torch.rand(beams.shape[2], 1, beams.shape[4], dtype=torch.float64, generator=generator)
    turned = beams * torch.polar(torch.ones_like(angle), angle)
    close(user_rates(turned, allocation, channel), user_rates(beams, allocation, channel))


@few_examples
@given(situations())
def test_users_and_subcarriers_and_stations_have_no_order(situation):
    beams, allocation, channel, generator = situation
    b, n, i = (torch.randperm(size, generator=generator) for size in (beams.shape[1], beams.shape[2], beams.shape[4]))
    permuted = user_rates(
        beams[:, b][:, :, n][..., i], allocation[:, b][:, :, n][..., i], channel[:, b][:, :, n][:, :, :, :, i]
    )
    close(permuted, user_rates(beams, allocation, channel)[:, i])


@few_examples
@given(situations(), st.integers(-40, 40))
def test_only_the_ratio_of_power_to_noise_counts(situation, gain_db):
    beams, allocation, channel, _ = situation
    factor = 10 ** (gain_db / 20)
    plain = user_rates(beams, allocation, channel)
    close(user_rates(beams / factor, allocation, channel * factor), plain)
    close(user_rates(beams * factor, allocation, channel, factor**2), plain)


@few_examples
@given(situations())
def test_rates_add_up_over_subcarriers(situation):
    beams, allocation, channel, _ = situation
    parts = [user_rates(beams[:, :, [n]], allocation[:, :, [n]], channel[:, :, [n]]) for n in range(beams.shape[2])]
    close(user_rates(beams, allocation, channel), torch.stack(parts).sum(0))


@few_examples
@given(situations(), st.floats(1.0, 100.0))
def test_noise_never_helps(situation, noise_power):
    beams, allocation, channel, _ = situation
    quiet, noisy = user_rates(beams, allocation, channel), user_rates(beams, allocation, channel, noise_power)
    assert (noisy <= quiet * (1 + 1e-9)).all() and (noisy >= 0).all()


@few_examples
@given(situations())
def test_another_user_never_helps(situation):
    beams, allocation, channel, _ = situation
    alone = user_rates(beams[..., :1], allocation[..., :1], channel[..., :1, :])
    together = user_rates(beams, allocation, channel)[:, :1]
    assert (together <= alone * (1 + 1e-9) + 1e-13).all()


@few_examples
@given(situations(), st.floats(0.1, 10.0))
def test_projection_ends_within_any_budget_and_is_done_once(situation, budget):
    beams, allocation, _, _ = situation
    projected = project_to_budget(beams, allocation, budget)
    before, after = station_power(beams, allocation), station_power(projected, allocation)
    close(after, before.clamp_max(budget))
    close(project_to_budget(projected, allocation, budget), projected)


@few_examples
@given(situations())
def test_single_precision_stays_close_to_double(situation):
    beams, allocation, channel, _ = situation
    w, v, h = beams.to(torch.complex64), allocation.float(), channel.to(torch.complex64)
    single = user_rates(w, v, h)
    double = user_rates(w.to(torch.complex128), v.double(), h.to(torch.complex128))
    assert single.dtype == torch.float32
    assert single.double().tolist() == [pytest.approx(row, rel=1e-6, abs=1e-30) for row in double.tolist()]
