"""The Rayleigh model: what it is asked for is what it makes."""

from __future__ import annotations

import numpy as np
import pytest

from cellfree_sim.scenario.extensions import CHANNEL_MODELS


def test_channels_have_the_asked_shape_and_repeat_themselves(make_request):
    model = CHANNEL_MODELS.create("rayleigh")
    calls = []
    one = model.generate(make_request(drops=150), lambda done, total: calls.append((done, total)))
    assert one.shape == (150, 4, 4, 3, 2) and one.dtype == np.complex64
    assert calls == [(64, 150), (128, 150), (150, 150)]
    assert np.array_equal(one, model.generate(make_request(drops=150)))
    assert not np.isin(one, model.generate(make_request(drops=150, seed=6))).any()


def test_path_gain_is_the_log_distance_law(make_request):
    positions = np.array([[[25.0, 25.0, 24.5], [25.0, 25.0, 15.0], [65.0, 55.0, 25.0]]])
    indoor = np.array([[False, False, True]])
    model = CHANNEL_MODELS.create("rayleigh", path_loss_exponent=4, reference_loss_db=30, indoor_loss_db=7)
    gain_db = 10 * np.log10(model.path_gain(make_request(positions_m=positions, indoor=indoor)))
    # nearer than 1 m counts as 1 m; 10 m; 50 m and a wall
    assert gain_db[0] == pytest.approx([-30, -30 - 40, -30 - 40 * np.log10(50) - 7])


def test_reference_loss_is_free_space_by_default(make_request):
    positions = np.array([[[26.0, 25.0, 25.0]]])
    gain = CHANNEL_MODELS.create("rayleigh").path_gain(
        make_request(positions_m=positions, radio={"carrier_frequency_hz": 3.5e9})
    )
    # Friis at 1 m: (lambda / 4 pi)^2
    assert gain[0, 0] == pytest.approx((299_792_458 / 3.5e9 / (4 * np.pi)) ** 2, rel=1e-12)


def test_subcarriers_are_the_middles_of_equal_parts(make_request):
    four = make_request(radio={"bandwidth_hz": 20e6, "subcarriers": 4}).subcarrier_offsets_hz()
    assert four.tolist() == [-7.5e6, -2.5e6, 2.5e6, 7.5e6]
    assert make_request(radio={"subcarriers": 1}).subcarrier_offsets_hz().tolist() == [0.0]
