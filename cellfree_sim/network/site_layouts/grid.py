"""Stations on a rectangular grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from cellfree_sim.network.base import SiteLayout
from cellfree_sim.scenario.extensions import SITE_LAYOUTS

if TYPE_CHECKING:
    from numpy.typing import NDArray


@SITE_LAYOUTS.register
class Grid(SiteLayout):
    """Centres of a grid of ceil(sqrt(count)) columns and as many rows as needed, row by row from low y.

    >>> Grid().places(3, (100.0, 100.0), np.random.default_rng(0)).tolist()
    [[25.0, 25.0], [75.0, 25.0], [25.0, 75.0]]
    """

    name: Literal["grid"] = "grid"

    def places(self, count: int, area_m: tuple[float, float], rng: np.random.Generator) -> NDArray[np.float64]:
        """Ground positions [count, 2]; see the class. `rng` is not used."""
        columns = math.isqrt(count - 1) + 1
        rows = -(-count // columns)
        index = np.arange(count)
        x = (index % columns + 0.5) * (area_m[0] / columns)
        y = (index // columns + 0.5) * (area_m[1] / rows)
        return np.stack([x, y], axis=1)
