"""TR 38.901 channels: repeatable, isolated from everything else in the process, and shaped as asked."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from cellfree_sim.channel import check_channels
from cellfree_sim.channel.models import tr38901
from cellfree_sim.errors import ChannelError
from cellfree_sim.scenario.extensions import CHANNEL_MODELS

MODELS = [name for name in CHANNEL_MODELS.names() if name.startswith("tr38901")]


def generate(request, model="tr38901-uma", **options):
    return CHANNEL_MODELS.create(model, **options).generate(request)


def test_all_four_models_are_there():
    assert MODELS == ["tr38901-uma", "tr38901-umi", "tr38901-rma", "tr38901-inh"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("specification", ["16.1", 19.2])
def test_every_model_makes_channels_of_the_asked_shape(make_request, model, specification):
    request = make_request(
        drops=3,
        users=2,
        user_antennas=3,
        indoor=np.array([[True, False]] * 3),
        radio={"subcarriers": 5},
        antennas={"rows": 2, "columns": 3, "element": "38.901", "downtilt_deg": 10},
    )
    channels = generate(request, model, specification=specification)
    assert channels.shape == (3, 5, 6, 2, 3) and channels.dtype == np.complex64
    assert channels.flags.c_contiguous and np.isfinite(channels).all()
    power = np.abs(channels) ** 2
    assert power.min() > 1e-16 and power.max() < 1e-3


def test_a_sector_serves_who_stands_before_it(make_request):
    """Table 7.3-1: 8 dBi at boresight, up to 30 dB less behind; line of sight without shadowing shows it."""
    positions = np.array([[[80.0, 50.0, 1.5], [20.0, 50.0, 1.5]]] * 20)
    power = {}
    for azimuth in (0.0, 180.0):
        antennas = {"rows": 1, "columns": 1, "element": "38.901", "azimuth_deg": azimuth}
        request = make_request(positions_m=positions, site_m=(50.0, 50.0, 10.0), antennas=antennas)
        channels = generate(request, los=True, shadow_fading=False)
        power[azimuth] = 10 * np.log10((np.abs(channels) ** 2).mean(axis=(0, 1, 2, 4)))
    assert 10 < power[0.0][0] - power[0.0][1] < 30.5 and 10 < power[180.0][1] - power[180.0][0] < 30.5
    assert np.allclose(power[0.0][::-1], power[180.0], atol=4)


def test_versions_of_the_specification_differ_where_tables_do(make_request):
    requests = make_request(drops=2)
    assert not np.array_equal(generate(requests, specification="16.1"), generate(requests, specification="19.2"))


def test_the_result_depends_on_the_request_alone(make_request):
    """Whatever ran before: another station, another model, anything that draws from torch or from Sionna."""
    request, other = make_request(drops=30), make_request(drops=4, seed=99)
    alone = generate(request)
    generate(other, "tr38901-umi", o2i="high")
    torch.manual_seed(123)
    from sionna.phy import config

    config.seed = 77
    config.torch_rng("cpu").manual_seed(8)
    assert np.array_equal(generate(request), alone)
    assert not np.isin(generate(make_request(drops=30, seed=6)), alone).any()


def test_no_random_stream_of_torch_or_sionna_is_disturbed(make_request):
    generate(make_request(drops=1))
    from sionna.phy import config

    before = torch.get_rng_state(), config.torch_rng("cpu").get_state()
    generate(make_request(drops=2))
    after = torch.get_rng_state(), config.torch_rng("cpu").get_state()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_process_of_its_own_makes_the_same_bits_and_keeps_torchs_stream(make_request, tmp_path):
    """One process per station or all in one; and the first import of Sionna, which seeds torch, goes unnoticed."""
    request = make_request(drops=3)
    (tmp_path / "request").write_bytes(pickle.dumps(request))
    script = (
        "import hashlib, pathlib, pickle, sys, torch\n"
        "torch.set_num_threads(1); torch.manual_seed(4)\n"
        "from cellfree_sim.scenario.extensions import CHANNEL_MODELS\n"
        "request = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "channels = CHANNEL_MODELS.create('tr38901-uma').generate(request)\n"
        "print(hashlib.sha256(channels.tobytes()).hexdigest(), torch.rand(()).item())\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "request")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    torch.manual_seed(4)
    assert answer == [hashlib.sha256(generate(request).tobytes()).hexdigest(), str(torch.rand(()).item())]


def test_chunks_are_told_and_bound_the_memory(make_request):
    told = []
    CHANNEL_MODELS.create("tr38901-uma").generate(make_request(drops=60, users=1), lambda *now: told.append(now))
    assert told == [(25, 60), (50, 60), (60, 60)]
    told.clear()
    # 4 users x 64 x 2 antennas: four drops have 2048 coefficients
    request = make_request(drops=9, users=4, antennas={"rows": 8, "columns": 8})
    CHANNEL_MODELS.create("tr38901-uma").generate(request, lambda *now: told.append(now))
    assert told == [(4, 9), (8, 9), (9, 9)]


def test_chunks_do_not_repeat_each_other(make_request):
    everywhere_the_same = np.tile([60.0, 60.0, 1.5], (50, 1, 1))
    channels = generate(make_request(positions_m=everywhere_the_same))
    assert len(np.unique(channels)) == channels.size


def test_subcarriers_of_a_narrow_band_fade_together_and_of_a_wide_one_apart(make_request):
    def correlation(bandwidth_hz):
        request = make_request(drops=25, radio={"bandwidth_hz": bandwidth_hz, "subcarriers": 2}, antennas={"rows": 1})
        first, second = np.moveaxis(generate(request, los=False), 1, 0).astype(np.complex128)
        products = (first.conj() * second).sum(axis=(1, 3))
        norms = np.sqrt((np.abs(first) ** 2).sum(axis=(1, 3)) * (np.abs(second) ** 2).sum(axis=(1, 3)))
        return (np.abs(products) / norms).mean()

    assert correlation(1e3) > 0.999
    assert correlation(400e6) < 0.9


def test_the_array_is_the_one_of_the_scenario(make_request):
    """In line of sight, with a strong K factor, phases along the array are those of a plane wave (H^H w convention)."""
    east = np.array([[[1025.0, 25.0, 25.0]]] * 25)
    request = make_request(
        positions_m=east, antennas={"rows": 2, "columns": 3, "azimuth_deg": 30}, radio={"subcarriers": 1}
    )
    channels = generate(request, los=True)[:, 0, :, 0, 0].astype(np.complex128)
    # element k in row k % 2 and column k // 2; columns run along the array's y axis, turned by 30 degrees from north
    column = np.arange(6) // 2
    phase = 2 * np.pi * 0.5 * column * np.sin(np.deg2rad(-30))
    steering = np.exp(-1j * phase) / np.sqrt(6)
    match = np.abs(channels @ steering.conj()) ** 2 / (np.abs(channels) ** 2).sum(axis=1)
    mirrored = np.abs(channels @ steering) ** 2 / (np.abs(channels) ** 2).sum(axis=1)
    assert np.median(match) > 0.8 > 0.3 > np.median(mirrored)


def test_indoor_users_are_behind_a_wall(make_request):
    outdoor, indoor = (
        np.abs(generate(make_request(drops=25, indoor=np.full((25, 3), state)), los=False, shadow_fading=False)) ** 2
        for state in (False, True)
    )
    # 20 dB and half a dB for each of up to 25 m (Table 7.4.3-3)
    assert 10 ** (-3.5) < indoor.mean() / outdoor.mean() < 10 ** (-1.8)


def test_the_depth_in_the_building_is_the_users_where_it_is_shared(make_request):
    """From 6 GHz on a deep user loses half a dB per metre; below, the depth is drawn for each link."""
    indoor = np.ones((2, 2), dtype=bool)

    def ratio_db(carrier_frequency_hz):
        radio = {"carrier_frequency_hz": carrier_frequency_hz}
        near, deep = (
            generate(
                make_request(drops=2, users=2, indoor=indoor, depth=np.full((2, 2), depth), radio=radio), los=False
            )
            for depth in (0.0, 0.8)
        )
        return 20 * np.log10(np.abs(near.astype(np.complex128) / deep))

    assert ratio_db(7e9) == pytest.approx(10.0, abs=1e-3)
    assert ratio_db(2.1e9) == pytest.approx(0.0, abs=1e-9)


def test_in_an_office_everybody_is_indoors_without_a_wall(make_request):
    outdoor, indoor = (
        generate(make_request(drops=2, indoor=np.full((2, 3), state)), "tr38901-inh") for state in (False, True)
    )
    assert np.array_equal(outdoor, indoor)


def test_a_car_takes_its_toll(make_request):
    request = make_request(drops=25)
    walking, driving = (
        generate(request, "tr38901-rma", in_car=state, shadow_fading=False, los=True) for state in (False, True)
    )
    loss_db = 20 * np.log10(np.abs(walking.astype(np.complex128)) / np.abs(driving))[:, 0, 0, :, 0]
    # N(9 dB, 5 dB), one for each user and drop
    assert loss_db.mean() == pytest.approx(9, abs=5 * 5 / np.sqrt(loss_db.size))


def test_without_sionna_2_the_scenario_is_refused(small_scenario, monkeypatch):
    scenario = small_scenario(**{"channel.model": "tr38901-uma"})
    check_channels(scenario)
    monkeypatch.setattr(tr38901.metadata, "version", lambda name: "1.2.0")
    with pytest.raises(ChannelError, match=r"'tr38901-uma' needs Sionna 2, found 1\.2\.0; pip install"):
        check_channels(scenario)

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(tr38901.metadata, "version", missing)
    with pytest.raises(ChannelError, match="needs Sionna 2, found none"):
        check_channels(scenario)


def test_heights_outside_the_specification_are_told(small_scenario, caplog):
    with caplog.at_level(logging.WARNING):
        check_channels(small_scenario(**{"channel.model": "tr38901-uma", "network.users.height_m": 30}))
        check_channels(small_scenario(**{"channel.model": "tr38901-umi"}))
    assert [record.getMessage() for record in caplog.records] == [
        "network.users.height_m is 30; tr38901-uma is specified for 1.5 to 22.5 m",
        "network.sbs.height_m is 25; tr38901-umi is specified for 10 m",
    ]
