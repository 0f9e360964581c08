"""Random allocation and batches are uniform: chi-square tests with fixed seeds.

A correct implementation fails a test with probability 1e-3 over the choice of its seed; with the seed fixed, the
outcome is the same in every run.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from cellfree_sim.downlink.batching import draw_batch
from cellfree_sim.downlink.zero_forcing import random_allocation

P_VALUE = 1e-3


def uniform(counts):
    return stats.chisquare(counts).pvalue > P_VALUE


def allocations(count, users=5, stations=2, subcarriers=4, realisations=1500):
    return random_allocation(torch.ones(realisations, stations, subcarriers, 1, users, 1) + 0j, count, seed=11)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_set_of_users_is_served_equally_often(count):
    served = allocations(count).reshape(-1, 5).numpy().astype(int)
    codes = served @ (1 << np.arange(5))
    sets = [sum(1 << user for user in chosen) for chosen in itertools.combinations(range(5), count)]
    counts = [int((codes == code).sum()) for code in sets]
    assert sum(counts) == len(codes)
    assert uniform(counts)


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["realisations", "stations", "subcarriers"])
def test_allocations_are_independent_along_every_axis(axis):
    """Joint counts of the users that two neighbours serve: 25 pairs, all as frequent."""
    users = allocations(1).argmax(-1)
    first, second = users.narrow(axis, 0, users.shape[axis] - 1), users.narrow(axis, 1, users.shape[axis] - 1)
    stride = 2 if axis != 1 else 1  # pairs of neighbours that do not overlap
    pairs = (5 * first + second).movedim(axis, 0)[::stride].flatten()
    assert uniform(torch.bincount(pairs, minlength=25).numpy())


@pytest.mark.parametrize("resample_users", [False, True])
def test_every_drop_is_drawn_equally_often(resample_users):
    """A batch of 1 from 20 drops, 4000 times, user by user."""
    index = torch.cat([draw_batch(seed, 20, 2, 1, resample_users) for seed in range(4000)])
    for column in index.T:
        assert uniform(torch.bincount(column, minlength=20).numpy())


def test_resampled_users_come_from_independent_drops():
    index = torch.cat([draw_batch(seed, 6, 2, 1, resample_users=True) for seed in range(4000)])
    assert uniform(torch.bincount(6 * index[:, 0] + index[:, 1], minlength=36).numpy())


def test_the_place_in_the_batch_says_nothing_about_the_drop():
    index = torch.stack([draw_batch(seed, 8, 1, 8, resample_users=True)[:, 0] for seed in range(2000)])
    for place in range(8):
        assert uniform(torch.bincount(index[:, place], minlength=8).numpy())
