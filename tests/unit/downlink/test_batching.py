"""Mini-batches: who is in them, by counting, and gathering, against a loop."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from cellfree_sim.downlink.batching import draw_batch, take_batch

BOTH = pytest.mark.parametrize("resample_users", [False, True])


@BOTH
def test_all_stations_draw_the_same_batch_whatever_else_they_draw(resample_users):
    batches = []
    for state in (0, 1, 2):
        torch.manual_seed(state)
        np.random.seed(state)  # noqa: NPY002  (the global state is what must not matter)
        batches.append(draw_batch(77, 30, 4, 12, resample_users))
    assert all(torch.equal(batch, batches[0]) for batch in batches)
    assert not torch.equal(draw_batch(78, 30, 4, 12, resample_users), batches[0])


def test_another_process_draws_the_same_batch():
    code = "from cellfree_sim.downlink.batching import draw_batch; print(draw_batch(77, 30, 4, 12, True).tolist())"
    environment = {**os.environ, "PYTHONHASHSEED": "5"}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == str(draw_batch(77, 30, 4, 12, True).tolist())


@BOTH
def test_a_drop_comes_twice_only_when_all_have_come_once(resample_users):
    for size, least, most in ((8, 0, 1), (10, 1, 1), (17, 1, 2), (40, 4, 4)):
        index = draw_batch(3, 10, 5, size, resample_users)
        counts = [np.bincount(column, minlength=10) for column in index.T.numpy()]
        assert all(set(count.tolist()) <= {least, most} for count in counts)
        assert all(count.sum() == size for count in counts)


def test_fixed_drops_keep_their_users_together():
    index = draw_batch(5, 50, 6, 20, resample_users=False)
    assert torch.equal(index, index[:, :1].expand(20, 6))


def test_resampling_mixes_drops_independently_for_each_user():
    """Of 400 batch elements, two users share a drop in about 400 / 400 = 1 (Poisson; P(more than 8) < 2e-6)."""
    index = draw_batch(5, 400, 6, 400, resample_users=True)
    for a, b in itertools.combinations(range(6), 2):
        assert int((index[:, a] == index[:, b]).sum()) <= 8


@BOTH
def test_every_drop_comes_in_some_batch(resample_users):
    seen = torch.cat([draw_batch(seed, 25, 3, 5, resample_users) for seed in range(60)])
    assert all(set(column.tolist()) == set(range(25)) for column in seen.T)


def test_gathering_takes_the_users_own_channel_from_its_drop():
    generator = torch.Generator().manual_seed(0)
    channels = torch.randn(7, 2, 3, 4, 2, dtype=torch.complex64, generator=generator)
    index = torch.randint(7, (9, 4), generator=generator)
    batch = take_batch(channels, index)
    assert batch.shape == (9, 2, 3, 4, 2) and batch.is_contiguous()
    for s, i in itertools.product(range(9), range(4)):
        assert torch.equal(batch[s, :, :, i], channels[index[s, i], :, :, i])


def test_stations_see_one_user_of_one_drop():
    """Two stations gather with the same index: what they hold of user i was drawn at the same place."""
    drop_and_user = torch.arange(6)[:, None] * 10 + torch.arange(3)
    stations = [base + drop_and_user.reshape(6, 1, 1, 3, 1) for base in (1000, 2000)]
    index = draw_batch(1, 6, 3, 5, resample_users=True)
    first, second = (take_batch(channels, index) for channels in stations)
    assert torch.equal(first - 1000, second - 2000)
    assert torch.equal((first - 1000).reshape(5, 3) % 10, torch.arange(3).expand(5, 3))
