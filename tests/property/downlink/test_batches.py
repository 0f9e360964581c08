"""Batches of any size from any number of drops."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cellfree_sim.downlink.batching import draw_batch, take_batch

whatever_the_time = settings(deadline=None)
sizes = st.integers(1, 25)
seeds = st.integers(0, 2**63 - 1)


@whatever_the_time
@given(seeds, sizes, st.integers(1, 6), st.integers(1, 60), st.booleans())
def test_a_batch_uses_every_drop_equally_often_as_far_as_it_can(seed, realisations, users, size, resample_users):
    index = draw_batch(seed, realisations, users, size, resample_users)
    assert index.shape == (size, users) and index.dtype == torch.int64
    assert index.min() >= 0 and index.max() < realisations
    for column in index.T.numpy():
        counts = np.bincount(column, minlength=realisations)
        assert counts.max() <= -(-size // realisations) and counts.min() >= size // realisations
    if not resample_users:
        assert (index == index[:, :1]).all()
    assert torch.equal(index, draw_batch(seed, realisations, users, size, resample_users))


@whatever_the_time
@given(seeds, sizes, st.integers(1, 6), st.integers(1, 30), st.booleans())
def test_a_user_keeps_its_place_and_all_its_antennas(seed, realisations, users, size, resample_users):
    """Entries name themselves: drop, subcarrier, transmit antenna, user, receive antenna in mixed radix."""
    shape = (realisations, 2, 3, users, 2)
    channels = torch.arange(int(np.prod(shape))).reshape(shape)
    index = draw_batch(seed, realisations, users, size, resample_users)
    drop, n, t, user, r = np.unravel_index(take_batch(channels, index).numpy(), shape)
    expected = np.indices((size, 2, 3, users, 2))
    assert (n == expected[1]).all() and (t == expected[2]).all()
    assert (user == expected[3]).all() and (r == expected[4]).all()
    assert (drop == index.numpy()[:, None, None, :, None]).all()
