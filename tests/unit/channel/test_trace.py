"""Recorded channels: every format, every order of axes, and one clear line for whatever does not fit."""

from __future__ import annotations

import re

import h5py
import numpy as np
import pytest
from pydantic import ValidationError
from scipy.io import savemat

from cellfree_sim.channel import check_channels, outside_notes, station_channels
from cellfree_sim.errors import ChannelError, ScenarioError
from cellfree_sim.network import build_network
from cellfree_sim.scenario import load_scenario

# R, B, N, T, I, r of `small_scenario`: 40 + 8 + 12 realisations
SIZES = (60, 3, 2, 4, 4, 2)
AXES = "RBNTIr"


def recorded(sizes=SIZES, dtype=np.complex64):
    rng = np.random.default_rng(21)
    return (rng.standard_normal(sizes) + 1j * rng.standard_normal(sizes)).astype(dtype)


def save_hdf5(path, **variables):
    with h5py.File(path, "w") as file:
        for name, values in variables.items():
            file[name.replace("__", "/")] = values


def save_mat73(path, **variables):
    """As MATLAB writes version 7.3: a header of 512 bytes, axes last to first, complex numbers as compounds."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in variables.items():
            values = np.asarray(values).T
            if np.iscomplexobj(values):
                part = values.real.dtype
                pairs = np.empty(values.shape, dtype=[("real", part), ("imag", part)])
                pairs["real"], pairs["imag"] = values.real, values.imag
                values = pairs
            file[name] = values
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")


SAVE = {
    "t.npz": lambda path, **variables: np.savez_compressed(path, **variables),
    "t.h5": save_hdf5,
    "t.mat": lambda path, **variables: savemat(path, variables),
    "t73.mat": save_mat73,
}
formats = pytest.mark.parametrize("file", list(SAVE))


@pytest.fixture
def scenario_of(small_scenario, tmp_path):
    def make(file, settings=None, **options):
        return small_scenario(
            **{"channel.model": {"name": "trace", "path": str(tmp_path / file), **options}}, **(settings or {})
        )

    return make


def channels_of(scenario):
    """All channels of all splits, stacked as in the file [R, B, N, T, I, r]."""
    check_channels(scenario)
    network = build_network(scenario)
    return np.concatenate(
        [
            np.stack([station_channels(scenario, network, station, split) for station in network.stations], axis=1)
            for split in ("train", "validation", "test")
        ]
    )


@formats
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_every_format_gives_what_was_recorded_split_after_split(scenario_of, tmp_path, file, dtype):
    values = recorded(dtype=dtype)
    SAVE[file](tmp_path / file, channel=values, user_positions_m=np.zeros((60, 4, 3)))
    channels = channels_of(scenario_of(file))
    assert channels.dtype == np.complex64 and np.array_equal(channels, values.astype(np.complex64))


@formats
@pytest.mark.parametrize("axes", ["rITNBR", "NRTBrI", "BIRNTr"])
def test_axes_come_in_any_order(scenario_of, tmp_path, file, axes):
    values = recorded()
    SAVE[file](tmp_path / file, H=values.transpose([AXES.index(letter) for letter in axes]))
    assert np.array_equal(channels_of(scenario_of(file, variable="H", axes=axes)), values)


@formats
def test_real_pairs_may_be_an_axis(scenario_of, tmp_path, file):
    values = recorded()
    SAVE[file](tmp_path / file, channel=np.moveaxis(np.stack([values.real, values.imag]), 0, 2))
    assert np.array_equal(channels_of(scenario_of(file, axes="RBcNTIr")), values)


@formats
def test_imaginary_parts_may_be_a_variable(scenario_of, tmp_path, file):
    values = recorded()
    SAVE[file](tmp_path / file, coeff_re=values.real, coeff_im=values.imag)
    options = {"variable": "coeff_re", "imaginary_variable": "coeff_im"}
    assert np.array_equal(channels_of(scenario_of(file, **options)), values)


@formats
def test_letters_left_out_are_axes_of_length_one(scenario_of, tmp_path, file):
    values = recorded((60, 1, 1, 4, 4, 1))
    SAVE[file](tmp_path / file, channel=values[:, 0, 0, :, :, 0])
    settings = {"network.sbs.count": 1, "radio.subcarriers": 1, "network.users.antennas": 1}
    assert np.array_equal(channels_of(scenario_of(file, settings, axes="RTI")), values)


@pytest.mark.parametrize("file", ["t.mat", "t73.mat"])
def test_matlab_leaves_out_trailing_axes_of_length_one(scenario_of, tmp_path, file):
    values = recorded((60, 3, 2, 4, 1, 1))
    SAVE[file](tmp_path / file, channel=values[..., 0, 0])
    settings = {"network.users.count": 1, "network.users.antennas": 1}
    assert np.array_equal(channels_of(scenario_of(file, settings)), values)


def test_an_hdf5_variable_may_lie_in_a_group_and_the_file_may_hold_more(scenario_of, tmp_path):
    values = recorded((75, 5, *SIZES[2:]))
    save_hdf5(tmp_path / "t.dat", run__first=values)
    channels = channels_of(scenario_of("t.dat", format="hdf5", variable="run/first"))
    assert np.array_equal(channels, values[:60, :3])


def test_a_file_outside_the_scenarios_folder_is_told(tmp_path):
    home = tmp_path / "scenarios"
    (home / "data").mkdir(parents=True)
    for folder in (home / "data", tmp_path):
        np.savez(folder / "t.npz", channel=recorded())
    (home / "data" / "link.npz").symlink_to(tmp_path / "t.npz")
    text = "channel: {model: {name: trace, path: %s}, realisations: {train: 40, validation: 8, test: 12}}\n"
    scenario_file = home / "s.yaml"
    for path, outside in (
        ("data/t.npz", False),
        ("../t.npz", True),
        (tmp_path / "t.npz", True),
        ("data/link.npz", True),
    ):
        scenario_file.write_text(text % path + "downlink: {batch: 20}\n")
        notes = outside_notes(load_scenario(scenario_file), home)
        expected = f"channel.model.path: {tmp_path / 't.npz'} is outside the scenario's folder {home}"
        assert notes == ([expected] if outside else [])


def test_a_relative_path_starts_at_the_scenarios_folder(tmp_path, monkeypatch):
    (tmp_path / "scenarios").mkdir()
    np.savez(tmp_path / "scenarios" / "t.npz", channel=recorded())
    scenario_file = tmp_path / "scenarios" / "s.yaml"
    text = "channel:\n  model: {name: trace, path: %s}\n  realisations: {train: 40, validation: 8, test: 12}\n"
    rest = "radio: {subcarriers: 2}\nnetwork: {users: {count: 4}}\ndownlink: {batch: 20}\n"
    scenario_file.write_text(text % "t.npz" + rest)
    monkeypatch.chdir(tmp_path)
    scenario = load_scenario(scenario_file)
    assert scenario.channel.model.path == tmp_path / "scenarios" / "t.npz"
    check_channels(scenario)
    scenario_file.write_text(text % "missing.npz" + rest)
    with pytest.raises(ScenarioError, match=r"channel\.model.*missing\.npz") as caught:
        load_scenario(scenario_file)
    assert "\n" not in str(caught.value)


@formats
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            (59, *SIZES[1:]),
            r"shape [59, 3, 2, 4, 4, 2] for axes 'RBNTIr', needed R (realisations) at least 60, found 59",
        ),
        ((60, 2, *SIZES[2:]), "needed B (stations) at least 3, found 2"),
        ((60, 3, 3, 4, 4, 2), "needed N (subcarriers) 2, found 3"),
        ((60, 3, 2, 5, 3, 2), "needed T (transmit antennas of a station) 4, found 5; I (users) 4, found 3"),
        ((60, 3, 2, 4, 4, 2, 2), "has shape [60, 3, 2, 4, 4, 2, 2], needed 6 axes 'RBNTIr'"),
    ],
)
def test_a_shape_that_does_not_fit_is_told_before_the_run_and_at_it(scenario_of, tmp_path, file, sizes, message):
    SAVE[file](tmp_path / file, channel=recorded(sizes))
    scenario = scenario_of(file)
    network = build_network(scenario)
    for attempt in (lambda: check_channels(scenario), lambda: station_channels(scenario, network, "sbs-2", "test")):
        with pytest.raises(ChannelError, match=re.escape(message)) as caught:
            attempt()
        assert "\n" not in str(caught.value) and str(tmp_path / file) in str(caught.value)


def test_an_uplink_that_a_file_cannot_serve_says_so(scenario_of, tmp_path):
    SAVE["t.npz"](tmp_path / "t.npz", channel=recorded())
    service = {"constellation": "qpsk", "realisations": 5, "services": [{"detector": "lmmse"}]}
    scenario = scenario_of("t.npz", {"uplink": service})
    message = "needed R (realisations) at least 65, found 60; N (subcarriers) 1, found 2; r (receive"
    with pytest.raises(ChannelError, match=re.escape(message)) as caught:
        station_channels(scenario, build_network(scenario), "sbs-0", "uplink")
    assert "an uplink takes drops after all splits" in str(caught.value)


@formats
def test_a_missing_variable_is_told_with_those_there_are(scenario_of, tmp_path, file):
    SAVE[file](tmp_path / file, H=recorded(), other=np.zeros((2, 2)))
    with pytest.raises(ChannelError, match=r"variable 'channel' is missing; there are H, other$"):
        check_channels(scenario_of(file))


@formats
@pytest.mark.parametrize("damage", ["empty", "half", "foreign"])
def test_a_file_that_cannot_be_read_is_one_line(scenario_of, tmp_path, file, damage):
    path = tmp_path / file
    SAVE[file](path, channel=recorded())
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "foreign": b"no data at all\n" * 40}[damage])
    with pytest.raises(ChannelError, match=r"channel\.model\.path: .*(cannot be read as|is missing)") as caught:
        channels_of(scenario_of(file))
    assert "\n" not in str(caught.value)


@formats
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_numbers_that_are_not_finite_are_located(scenario_of, tmp_path, file, value):
    values = recorded(dtype=np.complex128)
    values[43, 1, 0, 2, 1, 0] = value
    SAVE[file](tmp_path / file, channel=values)
    with pytest.raises(ChannelError, match="variable 'channel' is not finite in realisation 43 of station 1"):
        channels_of(scenario_of(file))


@formats
def test_real_numbers_alone_are_no_channel(scenario_of, tmp_path, file):
    SAVE[file](tmp_path / file, channel=recorded().real)
    with pytest.raises(ChannelError, match="is real; needed complex numbers, imaginary_variable, or an axis c"):
        channels_of(scenario_of(file))


@formats
def test_text_is_no_channel(scenario_of, tmp_path, file):
    text = "a" if file == "t.mat" else b"a"
    SAVE[file](tmp_path / file, channel=np.full(SIZES, text))
    with pytest.raises(ChannelError, match="does not hold numbers"):
        check_channels(scenario_of(file))


def test_objects_are_never_unpickled(scenario_of, tmp_path):
    np.savez(tmp_path / "t.npz", channel=np.full(SIZES, None))
    with pytest.raises(ChannelError, match="does not hold numbers"):
        channels_of(scenario_of("t.npz"))


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ("nothing.npz", {}, "there is no file"),
        ("t.npz", {"axes": "RBNTIx"}, "axis 'x' is unknown"),
        ("t.npz", {"axes": "RBNTII"}, "axis 'I' is given twice"),
        ("t.npz", {"axes": "BNTIr"}, r"axis R \(realisations\) is missing"),
        ("t.npz", {"axes": "RBNTIrc", "imaginary_variable": "b"}, "imaginary_variable or axis c, not both"),
        ("t.txt", {}, "format of 't.txt' is unknown"),
        ("t.npz", {"variable": ""}, "variable"),
        ("t.npz", {"format": "csv"}, "format"),
        (".", {}, "there is no file"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(scenario_of, tmp_path, file, options, message):
    np.savez(tmp_path / "t.npz", channel=recorded())
    (tmp_path / "t.txt").write_text("text")
    with pytest.raises(ValidationError, match=message):
        scenario_of(file, **options)
