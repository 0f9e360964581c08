"""Stations at random places that keep a distance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from cellfree_sim.errors import ScenarioError
from cellfree_sim.network.base import SiteLayout
from cellfree_sim.scenario.extensions import SITE_LAYOUTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCHES = (8, 64, 512, 1024)
"""Candidates tried for one station, batch by batch, before the placement counts as stuck."""
_RESTARTS = 10
_DENSEST_PACKING = math.pi / math.sqrt(12.0)


@SITE_LAYOUTS.register
class Random(SiteLayout):
    """Places drawn one after another, uniform over what is at least `min_distance_m` from all earlier ones.

    (Simple sequential inhibition.) A placement that gets stuck is begun again, a fixed number of times.

    >>> places = Random(min_distance_m=30).places(4, (100.0, 100.0), np.random.default_rng(1))
    >>> bool(np.hypot(*(places[0] - places[1])) >= 30)
    True
    """

    name: Literal["random"] = "random"
    min_distance_m: float = Field(10.0, ge=0, le=1e6, description="smallest ground distance of two stations")

    def places(self, count: int, area_m: tuple[float, float], rng: np.random.Generator) -> NDArray[np.float64]:
        """Ground positions [count, 2]. Raises `ScenarioError` where they cannot keep their distance."""
        bound = self._at_most(area_m)
        found = 0
        for _ in range(_RESTARTS if count <= bound else 1):
            places = self._attempt(min(count, bound), area_m, rng)
            if len(places) == count:
                return places
            found = max(found, len(places))
        raise ScenarioError(
            f"network.sbs.layout: no room for {count} stations {self.min_distance_m:g} m apart in "
            f"{area_m[0]:g} x {area_m[1]:g} m, about {found} found room; lower min_distance_m or count"
        )

    def _at_most(self, area_m: tuple[float, float]) -> int:
        """No more stations fit: discs of half the distance, densely packed in the area widened by the distance."""
        distance = self.min_distance_m
        if distance == 0:
            return 1_000_000
        return int(_DENSEST_PACKING * (area_m[0] + distance) * (area_m[1] + distance) / (math.pi * distance**2 / 4))

    def _attempt(self, count: int, area_m: tuple[float, float], rng: np.random.Generator) -> NDArray[np.float64]:
        places = np.empty((count, 2))
        for index in range(count):
            for batch in _BATCHES:
                candidates = rng.random((batch, 2)) * np.asarray(area_m)
                offsets = candidates[:, None, :] - places[None, :index, :]
                free = (np.hypot(offsets[..., 0], offsets[..., 1]) >= self.min_distance_m).all(axis=1)
                if free.any():
                    places[index] = candidates[np.argmax(free)]
                    break
            else:
                return places[:index]
        return places
