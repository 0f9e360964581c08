"""Users spread evenly over the area."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from cellfree_sim.network.base import UserLayout
from cellfree_sim.scenario.extensions import USER_LAYOUTS

if TYPE_CHECKING:
    from numpy.typing import NDArray


@USER_LAYOUTS.register
class Uniform(UserLayout):
    """Each user, in each realisation, uniform over the area and independent of all others."""

    name: Literal["uniform"] = "uniform"

    def draw(
        self,
        realisations: int,
        users: int,
        area_m: tuple[float, float],
        rng: np.random.Generator,
        fixed_rng: np.random.Generator,
    ) -> NDArray[np.float64]:
        """Ground positions [realisations, users, 2] in metres."""
        places: NDArray[np.float64] = rng.random((realisations, users, 2)) * np.asarray(area_m)
        return places
