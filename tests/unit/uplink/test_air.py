from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from uplink_support import make_scenario

from cellfree_sim.backhaul import Bundle, decode
from cellfree_sim.channel import station_channels
from cellfree_sim.network import build_network
from cellfree_sim.scenario.uplink_mimo import MimoUplink
from cellfree_sim.uplink.air import known_channels, noise_of, received
from cellfree_sim.uplink.constellations import constellation, qam_points
from cellfree_sim.uplink.geometry import path_gains, serving, uplink_channels
from cellfree_sim.uplink.population import transmissions
from cellfree_sim.uplink.power import amplitudes, noise_mw
from cellfree_sim.uplink.users import UserGroup


def gains_of(scenario: Any) -> Any:
    network = build_network(scenario)
    return np.stack([path_gains(uplink_channels(scenario, network, name)) for name in network.stations])


def powers_dbm(uplink: MimoUplink, snr_db: float, loss_db: list[float]) -> list[float]:
    gain = (10 ** (-np.array(loss_db) / 10)).astype(np.float32)
    return (20 * np.log10(amplitudes(uplink, snr_db, gain).astype(float))).tolist()


def test_power_control_is_that_of_38_213() -> None:
    uplink = MimoUplink.model_validate({"noise_dbm": -90, "power": {"alpha": 0.8, "max_dbm": 20}})
    assert powers_dbm(uplink, 10, [50, 100, 125, 150]) == pytest.approx([-40, 0, 20, 20], abs=1e-3)


def test_without_compensation_all_send_alike() -> None:
    uplink = MimoUplink.model_validate({"noise_dbm": -90, "power": {"alpha": 0.0}})
    assert powers_dbm(uplink, 10, [50, 100]) == pytest.approx([-80, -80], abs=1e-3)


def test_a_user_that_no_station_hears_sends_with_all_it_has() -> None:
    assert 20 * np.log10(amplitudes(MimoUplink(), 10, np.zeros(1, np.float32)))[0] == pytest.approx(23, abs=1e-3)


def test_what_is_received_is_the_sum_over_users_and_noise() -> None:
    rng = np.random.default_rng(1)
    c, h, n = ((rng.normal(size=(*shape, 2)) @ [1, 1j]).astype(np.complex64) for shape in ((7, 5), (3, 5), (7, 3)))
    expected = [[sum(h[t, i] * c[s, i] for i in range(5)) + n[s, t] for t in range(3)] for s in range(7)]
    np.testing.assert_allclose(received(c, h, n), expected, rtol=1e-5)


def test_noise_has_the_power_one_and_is_its_stations_own() -> None:
    """20 000 samples: the mean power has a standard deviation of 0.007."""
    noise = noise_of(1, "sbs-0", 4, 100, 200)
    assert noise.dtype == np.complex64
    assert (np.abs(noise) ** 2).mean() == pytest.approx(1, abs=0.03)
    assert abs((noise**2).mean()) < 0.03  # circular
    np.testing.assert_array_equal(noise, noise_of(1, "sbs-0", 4, 100, 200))
    for seed, station, burst in ((1, "sbs-1", 4), (1, "sbs-0", 5), (2, "sbs-0", 4)):
        assert abs((noise * noise_of(seed, station, burst, 100, 200).conj()).mean()) < 0.03


def test_channels_are_known_with_the_error_that_is_asked_for() -> None:
    """4000 entries of each user: the error's share of the gain has a relative standard deviation of 1.6 %."""
    h = np.zeros((4000, 2), np.complex64)
    known = known_channels(h, np.float32([1.0, 100.0]), -20.0, 1, "sbs-0", 0)
    assert (np.abs(known) ** 2).mean(axis=0) == pytest.approx([0.01, 1.0], rel=0.07)
    assert known_channels(h, np.ones(2, np.float32), None, 1, "sbs-0", 0) is h


def test_up_and_down_are_reciprocal() -> None:
    """The downlink's r = H^H x takes x_t to the user over conj(H_t); up, a symbol reaches antenna t over the same."""
    scenario = make_scenario()
    network = build_network(scenario)
    down = station_channels(scenario, network, "sbs-1", "uplink")
    up = uplink_channels(scenario, network, "sbs-1")
    assert (down.shape, up.shape) == ((3, 1, 4, 6, 1), (3, 4, 6))
    np.testing.assert_array_equal(up, down[:, 0, :, :, 0].conj())
    assert not np.allclose(station_channels(scenario, network, "sbs-0", "uplink"), down)


def test_the_gain_is_the_mean_over_the_antennas() -> None:
    h = np.array([[[3 + 4j, 1], [0, 1j]]], np.complex64)
    np.testing.assert_allclose(path_gains(h), [[12.5, 1.0]])


def test_the_best_stations_serve_and_of_equals_the_first() -> None:
    gains = np.float32([[1, 5, 2], [3, 5, 1], [2, 4, 0]])
    assert serving(gains, 1).T.tolist() == [[False, True, False], [True, False, False], [True, False, False]]
    assert serving(gains, 2).sum(axis=0).tolist() == [2, 2, 2]
    for everyone in (serving(gains, None), serving(gains, 3), serving(gains, 9)):
        assert everyone.all()


def test_the_points_without_torch_are_those_with_it() -> None:
    for name in ("qpsk", "qam16", "qam64", "qam256"):
        np.testing.assert_array_equal(qam_points(name), constellation(name).points.numpy())
        assert (np.abs(qam_points(name)) ** 2).mean() == pytest.approx(1)


def test_a_group_sends_its_codewords_to_every_station() -> None:
    scenario = make_scenario(uplink={"snr_db": [10.0]})
    uplink = scenario.uplink
    gains = gains_of(scenario)
    group = UserGroup(scenario, build_network(scenario), 1)
    group.tune(gains)
    bundles = group.bursts(3, 5)
    assert list(bundles) == ["sbs-0", "sbs-1", "sbs-2"]
    for station, bundle in bundles.items():
        for burst, (frame, arrival_s) in zip((3, 4), Bundle.unpack(bundle), strict=True):
            header, message = decode(frame)
            assert (header.sender, header.receiver, header.step, header.phase) == ("users-1", station, burst, "uplink")
            assert (header.sent_s, arrival_s) == (burst * 2e-3, burst * 2e-3 + 5 * 71.4e-6)
            assert message.users.tolist() == [4, 5]
            sent = transmissions(scenario, burst).messages[:, 4:]
            codewords = message.codewords[:, :, 0]
            np.testing.assert_allclose(codewords / np.abs(codewords), qam_points("qpsk")[sent], rtol=1e-5)
            best = gains[:, burst % 3, 4:].max(axis=0)  # one SNR: a drop for each burst
            received_mw = (np.abs(codewords) ** 2).mean(axis=0) * best
            assert 10 * np.log10(received_mw / noise_mw(uplink)) == pytest.approx([10, 10], abs=1e-3)
    assert group.name == "users-1"
    assert group.state()["port"]["sequence"] == 6


def test_a_group_of_which_nobody_is_active_sends_nothing() -> None:
    scenario = make_scenario(uplink={"activity": {"probability": 0.0}})
    group = UserGroup(scenario, build_network(scenario), 0)
    group.tune(gains_of(scenario))
    assert group.bursts(0, 10) == dict.fromkeys(("sbs-0", "sbs-1", "sbs-2"), b"")
