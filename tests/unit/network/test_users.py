"""User drops: one draw per run and split, shared by all stations."""

from __future__ import annotations

import math

import numpy as np

from cellfree_sim.network import draw_users

SPLITS = ("train", "validation", "test")


def test_drops_have_the_sizes_of_the_scenario(small_scenario):
    scenario = small_scenario(**{"network.users.height_m": 1.7})
    for split, count in zip(SPLITS, (40, 8, 12), strict=True):
        drops = draw_users(scenario, split)
        assert drops.positions_m.shape == (count, 4, 3) and drops.positions_m.dtype == np.float64
        assert drops.indoor.shape == drops.indoor_depth.shape == (count, 4) and drops.indoor.dtype == np.bool_
        assert (drops.positions_m[..., 2] == 1.7).all()


def test_drops_repeat_themselves_and_follow_the_seed(small_scenario):
    one, same, other = (draw_users(small_scenario(seed=seed), "train") for seed in (5, 5, 6))
    assert np.array_equal(one.positions_m, same.positions_m)
    assert not np.isin(one.positions_m[..., :2], other.positions_m[..., :2]).any()


def test_splits_share_no_drop(small_scenario):
    scenario = small_scenario(**{"network.users.layout": {"name": "hotspots", "share": 0.5}})
    places = [draw_users(scenario, split).positions_m[..., 0].ravel() for split in SPLITS]
    everything = np.concatenate(places)
    assert len(np.unique(everything)) == len(everything)


def test_hotspots_stand_at_the_same_places_in_all_splits(small_scenario):
    layout = {"name": "hotspots", "count": 1, "std_m": 1e-6, "share": 1.0}
    scenario = small_scenario(**{"network.users.layout": layout})
    centres = [draw_users(scenario, split).positions_m[..., :2].reshape(-1, 2) for split in SPLITS]
    assert np.ptp(np.concatenate(centres), axis=0).max() < 1e-4


def test_indoor_users_come_with_their_probability_and_depth(small_scenario):
    settings = {"channel.realisations": {"train": 4000, "validation": 1, "test": 1}}
    drops = draw_users(small_scenario(**settings, **{"network.users.indoor_probability": 0.8}), "train")
    samples = drops.indoor.size
    assert abs(drops.indoor.mean() - 0.8) < 5 * math.sqrt(0.16 / samples)
    # the smaller of two uniform variables: mean 1/3, variance 1/18
    assert abs(drops.indoor_depth.mean() - 1 / 3) < 5 * math.sqrt(1 / 18 / samples)
    outdoors = draw_users(small_scenario(**settings), "train")
    assert not outdoors.indoor.any() and np.array_equal(outdoors.positions_m, drops.positions_m)
