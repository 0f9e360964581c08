"""Users around the middle of the area, at distances that are equally likely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from cellfree_sim.errors import ScenarioError
from cellfree_sim.network.base import UserLayout
from cellfree_sim.scenario.extensions import USER_LAYOUTS

if TYPE_CHECKING:
    from numpy.typing import NDArray


@USER_LAYOUTS.register
class Radial(UserLayout):
    """Each user, in each realisation, at a distance from the middle of the area that is uniform from `least_m` to half
    of its shorter side, in a uniform direction: the cell that studies of massive access use.
    """

    name: Literal["radial"] = "radial"
    least_m: float = Field(0.0, ge=0, le=1e6, description="smallest distance from the middle of the area")

    def draw(
        self,
        realisations: int,
        users: int,
        area_m: tuple[float, float],
        rng: np.random.Generator,
        fixed_rng: np.random.Generator,
    ) -> NDArray[np.float64]:
        """Ground positions [realisations, users, 2] in metres. Raises `ScenarioError` for too small an area."""
        most_m = min(area_m) / 2
        if self.least_m > most_m:
            allowed = f"at most {most_m:g}, half of the shorter side of network.area_m"
            raise ScenarioError(f"network.users.layout.least_m: found {self.least_m:g}; allowed: {allowed}")
        share, turn = np.moveaxis(rng.random((realisations, users, 2)), -1, 0)
        distance = self.least_m + (most_m - self.least_m) * share
        angle = 2 * np.pi * turn
        places = np.asarray(area_m) / 2 + distance[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        return np.asarray(np.clip(places, 0.0, np.asarray(area_m)), np.float64)
