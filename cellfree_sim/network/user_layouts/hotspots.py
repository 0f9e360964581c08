"""Users gathered around hotspots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from cellfree_sim.errors import ScenarioError
from cellfree_sim.network.base import UserLayout
from cellfree_sim.scenario.extensions import USER_LAYOUTS

if TYPE_CHECKING:
    from numpy.typing import NDArray


@USER_LAYOUTS.register
class Hotspots(UserLayout):
    """A share of the users around hotspots, the others uniform over the area.

    Around a hotspot, x and y are independent normal with standard deviation `std_m`, truncated to the area, so that
    no user stands outside. The hotspots are given (`centres_m`) or drawn (`count`) once per run, for all splits
    alike; each user picks one at random in each realisation.
    """

    name: Literal["hotspots"] = "hotspots"
    centres_m: list[tuple[float, float]] | None = Field(None, description="x and y of each hotspot")
    count: int = Field(
        2, ge=1, le=10_000, description="number of hotspots at random places, unless centres_m says where"
    )
    std_m: float = Field(10.0, gt=0, le=1e6, description="standard deviation of x and of y around a hotspot")
    share: float = Field(0.8, ge=0, le=1, description="share of the users that gather around hotspots")

    @model_validator(mode="before")
    @classmethod
    def _count_follows_centres(cls, data: Any) -> Any:
        if isinstance(data, dict) and "count" not in data and isinstance(data.get("centres_m"), list):
            return {**data, "count": len(data["centres_m"])}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Hotspots:
        if self.centres_m is not None and len(self.centres_m) != self.count:
            raise ValueError(f"count is {self.count} but centres_m has {len(self.centres_m)} entries; leave count out")
        return self

    def draw(
        self,
        realisations: int,
        users: int,
        area_m: tuple[float, float],
        rng: np.random.Generator,
        fixed_rng: np.random.Generator,
    ) -> NDArray[np.float64]:
        """Ground positions [realisations, users, 2] in metres. Raises `ScenarioError` for a hotspot outside."""
        from scipy.special import ndtr, ndtri

        area = np.asarray(area_m)
        centres = self._centres(area_m, fixed_rng)
        gathers, choice, *place = np.moveaxis(rng.random((realisations, users, 4)), -1, 0)
        uniform = np.stack(place, axis=-1)
        centre = centres[(choice * len(centres)).astype(np.int64)]
        low, high = ndtr(-centre / self.std_m), ndtr((area - centre) / self.std_m)
        gathered = centre + self.std_m * ndtri(low + uniform * (high - low))
        places: NDArray[np.float64] = np.where(
            (gathers < self.share)[..., None], np.clip(gathered, 0.0, area), uniform * area
        )
        return places

    def _centres(self, area_m: tuple[float, float], fixed_rng: np.random.Generator) -> NDArray[np.float64]:
        if self.centres_m is None:
            drawn: NDArray[np.float64] = fixed_rng.random((self.count, 2)) * np.asarray(area_m)
            return drawn
        for index, (x, y) in enumerate(self.centres_m):
            if not (0 <= x <= area_m[0] and 0 <= y <= area_m[1]):
                raise ScenarioError(
                    f"network.users.layout.centres_m[{index}] = [{x:g}, {y:g}] lies outside the area "
                    f"[0, {area_m[0]:g}] x [0, {area_m[1]:g}] m"
                )
        return np.asarray(self.centres_m, dtype=np.float64)
