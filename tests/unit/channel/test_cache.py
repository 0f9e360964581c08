"""The cache of channel realisations: same bits, whole entries, and no error that stops a run."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from cellfree_sim.channel import cache, station_channels
from cellfree_sim.channel.models.rayleigh import Rayleigh
from cellfree_sim.network import build_network


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CELLFREE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def generations(monkeypatch):
    """How often the model was asked to generate."""
    calls = []
    original = Rayleigh.generate

    def counted(self, request, progress=None):
        calls.append(request.split)
        return original(self, request, progress)

    monkeypatch.setattr(Rayleigh, "generate", counted)
    return calls


def entries(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def channels_of(scenario, split="train", progress=None):
    return station_channels(scenario, build_network(scenario), "sbs-1", split, progress)


def test_the_second_time_the_same_bits_come_from_disk(small_scenario, folder, generations):
    scenario = small_scenario(**{"channel.cache": True})
    made = channels_of(scenario)
    told = []
    found = channels_of(scenario, progress=lambda done, total: told.append((done, total)))
    assert generations == ["train"] and len(entries(folder)) == 1
    assert found.tobytes() == made.tobytes() and found.dtype == made.dtype and found.shape == made.shape
    assert told == [(40, 40)]
    assert found.flags.writeable and found.flags.c_contiguous


def test_without_cache_nothing_is_read_or_written(small_scenario, folder, generations):
    for _ in range(2):
        channels_of(small_scenario())
    assert generations == ["train", "train"] and not folder.exists()


@pytest.mark.parametrize(
    ("settings", "shared"),
    [
        ({"seed": 8}, False),
        ({"radio.carrier_frequency_hz": 3e9}, False),
        ({"radio.bandwidth_hz": 1e7}, False),
        ({"radio.subcarriers": 3}, False),
        ({"network.sbs.height_m": 20}, False),
        ({"network.sbs.antennas": {"rows": 1, "columns": 4}}, False),
        ({"network.users.antennas": 1}, False),
        ({"network.users.height_m": 2}, False),
        ({"network.users.indoor_probability": 0.5}, False),
        ({"channel.model": {"name": "rayleigh", "path_loss_exponent": 3.1}}, False),
        ({"channel.realisations": {"train": 41, "validation": 8, "test": 12}}, False),
        ({"radio.noise_dbm": -90}, True),
        ({"name": "another", "downlink.epochs": 3}, True),
        ({"channel.realisations": {"train": 40, "validation": 9, "test": 12}}, True),
        ({"network.sbs.power_dbm": 10, "backhaul.latency_s": 1}, True),
    ],
)
def test_entries_are_shared_by_what_makes_the_same_channels(small_scenario, folder, generations, settings, shared):
    channels_of(small_scenario(**{"channel.cache": True}))
    channels_of(small_scenario(**{"channel.cache": True}, **settings))
    assert len(generations) == (1 if shared else 2)


def test_versions_of_the_model_do_not_share_entries(small_scenario, folder, generations, monkeypatch):
    scenario = small_scenario(**{"channel.cache": True})
    channels_of(scenario)
    monkeypatch.setattr(Rayleigh, "provenance", lambda self: {"rayleigh": "next"})
    channels_of(scenario)
    assert len(generations) == 2


@pytest.mark.parametrize("damage", ["empty", "short", "flipped", "foreign"])
def test_a_damaged_entry_is_made_anew(small_scenario, folder, generations, caplog, damage):
    scenario = small_scenario(**{"channel.cache": True})
    made = channels_of(scenario)
    (entry,) = entries(folder)
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    entry.write_bytes({"empty": b"", "short": content[:100], "flipped": content, "foreign": b"hello" * 100}[damage])
    with caplog.at_level(logging.WARNING):
        again = channels_of(scenario)
    assert "damaged" in caplog.text and np.array_equal(again, made)
    assert channels_of(scenario).tobytes() == made.tobytes() and len(generations) == 2


def test_an_entry_of_another_shape_is_not_taken(folder):
    cache.store("ab" * 20, np.zeros((2, 1, 1, 1, 1), dtype=np.complex64))
    assert cache.load("ab" * 20, (2, 1, 1, 1, 1)) is not None
    assert cache.load("ab" * 20, (3, 1, 1, 1, 1)) is None


def test_a_folder_that_cannot_be_used_is_no_cache_and_no_error(small_scenario, folder, generations, caplog):
    folder.write_text("this is a file where the folder should be")
    scenario = small_scenario(**{"channel.cache": True})
    with caplog.at_level(logging.WARNING):
        one, two = channels_of(scenario), channels_of(scenario)
    assert np.array_equal(one, two) and len(generations) == 2
    assert "channel cache not written" in caplog.text and folder.is_file()


def test_a_full_disk_leaves_nothing_behind(small_scenario, folder, generations, caplog, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with caplog.at_level(logging.WARNING):
        channels_of(small_scenario(**{"channel.cache": True}))
    assert "No space left on device" in caplog.text and entries(folder) == []


def test_many_writers_of_one_entry_leave_one_whole_entry(folder):
    channels = np.arange(5000, dtype=np.complex64).reshape(5000, 1, 1, 1, 1)
    writers = [threading.Thread(target=cache.store, args=("cd" * 20, channels)) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(entries(folder)) == 1 and np.array_equal(cache.load("cd" * 20, channels.shape), channels)


def test_the_folder_is_the_chosen_one_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("CELLFREE_CACHE_DIR", str(tmp_path / "a"))
    assert cache.folder() == tmp_path / "a"
    monkeypatch.delenv("CELLFREE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache.folder() == tmp_path / "b" / "cellfree-sim" / "channels"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "cellfree-sim" / "channels"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache.folder() == tmp_path / "Library" / "Caches" / "cellfree-sim" / "channels"


def test_the_seed_alone_makes_another_entry(make_request):
    model = Rayleigh()
    assert cache.key_of(model, make_request(seed=1)) == cache.key_of(model, make_request(seed=1))
    assert cache.key_of(model, make_request(seed=1)) != cache.key_of(model, make_request(seed=2))
    assert cache.key_of(model, make_request(site_m=(1.0, 2.0, 3.0))) != cache.key_of(model, make_request())
