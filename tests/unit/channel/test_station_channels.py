"""A station's channels depend on itself and the user drops alone."""

from __future__ import annotations

import numpy as np
import pytest

from cellfree_sim.channel import cache, check_channels, outside_notes, station_channels
from cellfree_sim.channel.models.rayleigh import Rayleigh
from cellfree_sim.channel.station import channel_request
from cellfree_sim.errors import ChannelError
from cellfree_sim.network import build_network, draw_users
from cellfree_sim.network.changes import with_admitted, with_joining, without


def all_channels(scenario, split="train"):
    network = build_network(scenario)
    return {station: station_channels(scenario, network, station, split) for station in network.stations}


def test_another_station_changes_no_channel_of_the_others(small_scenario):
    places = [[25, 25], [75, 25], [25, 75]]
    three = all_channels(small_scenario(**{"network.sbs": {"positions_m": places}}))
    four = all_channels(small_scenario(**{"network.sbs": {"positions_m": [*places, [75, 75]]}}))
    assert all(np.array_equal(four[station], channels) for station, channels in three.items())


def test_stations_and_splits_share_no_coefficient(small_scenario):
    scenario = small_scenario()
    parts = [
        channels.ravel()
        for split in ("train", "validation", "test")
        for channels in all_channels(scenario, split).values()
    ]
    everything = np.concatenate(parts)
    assert len(np.unique(everything)) == len(everything)


def test_moving_a_station_keeps_its_fading(small_scenario):
    users = draw_users(small_scenario(), "train").positions_m
    near, far = (
        all_channels(small_scenario(**{"network.sbs": {"positions_m": [[x, 50]]}}))["sbs-0"].astype(np.complex128)
        for x in (20, 80)
    )
    distances = [np.linalg.norm(users - np.array([x, 50, 25]), axis=-1) for x in (20, 80)]
    ratio = (distances[0] / distances[1]) ** 1.5
    np.testing.assert_allclose(far, near * ratio[:, None, None, :, None], rtol=1e-5)


def test_a_channel_that_is_not_finite_is_named(small_scenario, monkeypatch):
    def broken(self, request, progress=None):
        channels = np.ones(request.shape, dtype=np.complex64)
        channels[3, 0, 0, 1, 0] = np.nan
        return channels

    monkeypatch.setattr(Rayleigh, "generate", broken)
    scenario = small_scenario()
    with pytest.raises(ChannelError, match="station 'sbs-2' in validation realisation 3 is not finite"):
        station_channels(scenario, build_network(scenario), "sbs-2", "validation")


def test_a_model_without_needs_fits_every_scenario(small_scenario):
    check_channels(small_scenario())


def test_stations_that_come_and_go_change_no_channel_and_no_index(small_scenario):
    scenario = small_scenario()
    before = build_network(scenario)
    after, name = with_joining(scenario, without(before, "sbs-0"), None, (75, 75), learns=True)
    after = with_admitted(after, name)
    for station in ("sbs-1", "sbs-2"):
        there, here = (station_channels(scenario, network, station, "test") for network in (before, after))
        assert np.array_equal(there, here)
    requests = [channel_request(scenario, after, station, "test") for station in after.stations]
    assert [(request.station_index, request.stations) for request in requests] == [(1, 4), (2, 4), (3, 4)]


def test_a_station_looks_where_its_place_in_the_network_says(small_scenario):
    antennas = {"azimuth_deg": 20.0, "element": "38.901"}
    scenario = small_scenario(**{"network.sbs": {"antennas": antennas, "azimuths_deg": [20, 110, -70]}})
    network, name = with_joining(scenario, build_network(scenario), None, (75, 75), learns=True, azimuth_deg=200)
    requests = [channel_request(scenario, network, station, "test") for station in network.sites]
    assert [request.antennas.azimuth_deg for request in requests] == [20, 110, -70, 200] and name == network.sites[3]
    assert all(request.antennas.element == "38.901" for request in requests)


def test_azimuths_all_equal_are_those_of_one_for_all(small_scenario):
    """The same address in the cache, so the same channels; another azimuth is another address."""
    settings = ({"antennas": {"azimuth_deg": 90}}, {"azimuths_deg": [90, 90, 90]}, {"azimuths_deg": [90, 90.5, 90]})
    keys = []
    for sbs in settings:
        scenario = small_scenario(**{"network.sbs": sbs})
        request = channel_request(scenario, build_network(scenario), "sbs-1", "train")
        keys.append(cache.key_of(scenario.channel.model, request))
    assert keys[0] == keys[1] != keys[2]


def test_azimuths_that_a_model_ignores_are_told(small_scenario, caplog):
    check_channels(small_scenario())
    assert caplog.records == []
    check_channels(small_scenario(**{"network.sbs.azimuths_deg": [0, 90, 180]}))
    assert "network.sbs.azimuths_deg has no effect: in channel.model 'rayleigh'" in caplog.text
    events = [{"at_step": 1, "inject_sbs": {"position_m": [75, 75], "azimuth_deg": 90}}]
    check_channels(small_scenario(**{"network.sbs.antennas.azimuth_deg": 40, "events": events}))
    assert "network.sbs.antennas.azimuth_deg has no effect" in caplog.text
    assert "azimuth_deg of an injection has no effect" in caplog.text


def test_a_model_that_reads_no_file_leaves_no_folder(small_scenario, tmp_path):
    assert outside_notes(small_scenario(), tmp_path) == []
