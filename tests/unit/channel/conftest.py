"""Requests to channel models, without a network."""

from __future__ import annotations

import numpy as np
import pytest

from cellfree_sim.channel import ChannelRequest
from cellfree_sim.network import UserDrops
from cellfree_sim.scenario.schema import Antennas, Radio


@pytest.fixture
def make_request():
    """Factory: users at `positions_m` [R, I, 3] or at random in 100 m, and whatever else a request holds."""

    def make(drops=6, users=3, positions_m=None, indoor=None, depth=None, radio=None, antennas=None, **fields):
        rng = np.random.default_rng(11)
        if positions_m is None:
            ground = rng.random((drops, users, 2)) * 100
            positions_m = np.concatenate([ground, np.full((drops, users, 1), 1.5)], axis=-1)
        shape = positions_m.shape[:2]
        settings = {
            "station": "sbs-0",
            "station_index": 0,
            "stations": 1,
            "site_m": (25.0, 25.0, 25.0),
            "antennas": Antennas(**(antennas or {})),
            "user_antennas": 2,
            "radio": Radio(**(radio or {})),
            "users": UserDrops(
                positions_m,
                np.zeros(shape, dtype=bool) if indoor is None else indoor,
                np.zeros(shape) if depth is None else depth,
            ),
            "split": "train",
            "first_realisation": 0,
            "seed": 5,
        }
        return ChannelRequest(**(settings | fields))

    return make
