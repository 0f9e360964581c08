"""User drops: where users are in each realisation, drawn once per run and shared by all stations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from cellfree_sim import seeds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.scenario.schema import Scenario

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Drops = Split | Literal["uplink"]
"""What drops are drawn for: a split of the downlink's realisations, or the uplink's bursts."""


@dataclass(frozen=True)
class UserDrops:
    """Users of the realisations of one split, or of the uplink's drops. R realisations, I users.

    `positions_m`: x, y, z in metres, float64 [R, I, 3]. `indoor`: bool [R, I]. `indoor_depth`: how deep in its
    building an indoor user is, as a share of the greatest depth of the propagation scenario, float64 [R, I] in [0,
    1); the smaller of two uniform variables (TR 38.901 §7.4.3.1), common to all stations.
    """

    positions_m: NDArray[np.float64]
    indoor: NDArray[np.bool_]
    indoor_depth: NDArray[np.float64]


def draw_users(scenario: Scenario, split: Drops, realisations: int | None = None) -> UserDrops:
    """The user drops of a split, from the scenario's seed alone.

    Splits have streams of their own, so that they share no drop. The first drops stay the same when more are asked for,
    and positions do not depend on `indoor_probability`. `realisations` overrides how many are drawn.
    """
    users = scenario.network.users
    count = getattr(scenario.channel.realisations, split) if realisations is None else realisations
    ground = users.layout.draw(
        count,
        users.count,
        scenario.network.area_m,
        seeds.generator(scenario.seed, "users", split),
        seeds.generator(scenario.seed, "users"),
    )
    height = np.full((count, users.count, 1), users.height_m)
    inside = seeds.generator(scenario.seed, "users", split, "indoor").random((count, users.count, 3))
    return UserDrops(
        positions_m=np.concatenate([ground, height], axis=-1),
        indoor=inside[..., 0] < users.indoor_probability,
        indoor_depth=np.minimum(inside[..., 1], inside[..., 2]),
    )
