"""The system-level models of 3GPP TR 38.901 (§7): UMa, UMi, RMa and InH, through Sionna 2."""

from __future__ import annotations

import logging
from abc import abstractmethod
from importlib import metadata, util
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from cellfree_sim.channel.base import ChannelModel, Channels, Progress
from cellfree_sim.errors import ChannelError
from cellfree_sim.scenario.extensions import CHANNEL_MODELS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cellfree_sim.channel.base import ChannelRequest
    from cellfree_sim.scenario.schema import Scenario

_log = logging.getLogger(__name__)
_VERSION = "1"
_LINK_SPECIFIC_BELOW_HZ = 6e9

Specification = Annotated[
    Literal["16.1", "19.2"],
    BeforeValidator(lambda value: str(value) if isinstance(value, float) else value),
    Field(description="version of TR 38.901 whose parameter tables are used"),
]
Los = Annotated[
    bool | Literal["random"],
    Field(description="line of sight: drawn with the probability of §7.4.2, or forced on (true) or off (false)"),
]
IndoorLoss = Annotated[
    Literal["low", "high"],
    Field(description="building penetration loss of §7.4.3.1; both are the same below 6 GHz"),
]


class Tr38901(ChannelModel):
    """What the four models share.

    One Sionna object per station and chunk of drops: path loss, shadowing correlated over the users of a drop,
    clusters, rays and K factor as in §7.5; downlink, one instant, nothing moves. The frequency response at the
    centres of the N subcarriers, path loss and shadowing included. Delays count from the first path of each link: all
    stations are synchronised to arrive together. Stations: a planar array, single polarisation (vertical), antenna k
    in row k % rows from the top and column k // rows. Users: M_r omnidirectional antennas in a line along y, half a
    wavelength apart. The user's position, whether it is indoors and how deep (UMa and UMi from 6 GHz on, RMa) are
    common to all stations; line of sight, shadowing and the random part of penetration losses are drawn for each
    station. No smallest distance is enforced (deployments of Table 7.2-1 to 7.2-3 keep users 10 m or 35 m away): the
    formulas are also used below the 10 m, 1 m for InH, from which Table 7.4.1-1 specifies them.
    """

    specification: Specification = "19.2"
    los: Los = "random"
    shadow_fading: bool = Field(True, description="log-normal shadowing, correlated over the users of a drop")

    directional: ClassVar[bool] = True
    sionna_class: ClassVar[str]
    all_indoor: ClassVar[bool] = False
    greatest_indoor_depth_m: ClassVar[float | None] = None
    station_heights_m: ClassVar[tuple[float, float]]
    user_heights_m: ClassVar[tuple[float, float]]

    @abstractmethod
    def sionna_arguments(self) -> dict[str, Any]:
        """Arguments of the Sionna class that only this model has."""

    def topology_arguments(self, indoor: NDArray[np.bool_]) -> dict[str, Any]:
        """Arguments of `set_topology` that only this model has; `indoor` [R, I]."""
        return {}

    def shared_indoor_depth_m(self, carrier_frequency_hz: float) -> float | None:
        """Greatest indoor distance where one draw serves all stations, None where the model draws for each link."""
        return self.greatest_indoor_depth_m

    def provenance(self) -> dict[str, str]:
        """Versions of this model, of Sionna and of torch."""
        return {"tr38901": _VERSION, "sionna": _sionna_version() or "", "torch": metadata.version("torch")}

    def check(self, scenario: Scenario) -> None:
        """Raise `ChannelError` without Sionna 2; warn in the log of heights outside what the model is specified for."""
        version = _sionna_version()
        if version is None or int(version.split(".")[0]) < 2:
            raise ChannelError(
                f"channel.model '{self.name}' needs Sionna 2, found {version or 'none'}; pip install 'sionna-no-rt>=2'"
            )
        network = scenario.network
        for key, height, (low, high) in (
            ("network.sbs.height_m", network.sbs.height_m, self.station_heights_m),
            ("network.users.height_m", network.users.height_m, self.user_heights_m),
        ):
            if not low <= height <= high:
                allowed = f"{low:g} m" if low == high else f"{low:g} to {high:g} m"
                _log.warning("%s is %g; %s is specified for %s", key, height, self.name, allowed)

    def generate(self, request: ChannelRequest, progress: Progress | None = None) -> Channels:
        """Channels [R, N, T, I, r]; see the class. Imports torch and Sionna."""
        from cellfree_sim.channel import sionna_links

        return sionna_links.generate(self, request, progress)


class _Urban(Tr38901):
    """What UMa and UMi share."""

    o2i: IndoorLoss = "low"

    greatest_indoor_depth_m: ClassVar[float | None] = 25.0
    user_heights_m: ClassVar[tuple[float, float]] = (1.5, 22.5)

    def shared_indoor_depth_m(self, carrier_frequency_hz: float) -> float | None:
        """None below 6 GHz, where Table 7.4.3-3 has one draw per link."""
        return self.greatest_indoor_depth_m if carrier_frequency_hz >= _LINK_SPECIFIC_BELOW_HZ else None

    def sionna_arguments(self) -> dict[str, Any]:
        """The penetration loss."""
        return {"o2i_model": self.o2i}


@CHANNEL_MODELS.register
class Uma(_Urban):
    """Urban macrocell: stations above the roofs."""

    name: Literal["tr38901-uma"] = "tr38901-uma"
    sionna_class: ClassVar[str] = "UMa"
    station_heights_m: ClassVar[tuple[float, float]] = (25.0, 25.0)


@CHANNEL_MODELS.register
class Umi(_Urban):
    """Urban microcell, street canyon: stations below the roofs."""

    name: Literal["tr38901-umi"] = "tr38901-umi"
    sionna_class: ClassVar[str] = "UMi"
    station_heights_m: ClassVar[tuple[float, float]] = (10.0, 10.0)


@CHANNEL_MODELS.register
class Rma(Tr38901):
    """Rural macrocell."""

    name: Literal["tr38901-rma"] = "tr38901-rma"
    in_car: bool = Field(False, description="outdoor users sit in cars (Table 7.2-3), with the loss of §7.4.3.2")
    street_width_m: float = Field(20.0, ge=5, le=50, description="average width of the streets")
    building_height_m: float = Field(5.0, ge=5, le=50, description="average height of the buildings")

    sionna_class: ClassVar[str] = "RMa"
    greatest_indoor_depth_m: ClassVar[float | None] = 10.0
    station_heights_m: ClassVar[tuple[float, float]] = (10.0, 150.0)
    user_heights_m: ClassVar[tuple[float, float]] = (1.0, 10.0)

    def sionna_arguments(self) -> dict[str, Any]:
        """Streets and buildings."""
        return {"average_street_width": self.street_width_m, "average_building_height": self.building_height_m}

    def topology_arguments(self, indoor: NDArray[np.bool_]) -> dict[str, Any]:
        """Which users sit in cars, bool [R, I]."""
        import torch

        return {"in_car": torch.as_tensor(~indoor & self.in_car)}


@CHANNEL_MODELS.register
class Inh(Tr38901):
    """Indoor hotspot: offices; users and stations are in the same building, whatever `indoor_probability` says."""

    name: Literal["tr38901-inh"] = "tr38901-inh"
    office: Literal["open", "mixed"] = Field("open", description="which probability of line of sight")

    sionna_class: ClassVar[str] = "InH"
    all_indoor: ClassVar[bool] = True
    station_heights_m: ClassVar[tuple[float, float]] = (1.0, 10.0)
    user_heights_m: ClassVar[tuple[float, float]] = (0.5, 10.0)

    def sionna_arguments(self) -> dict[str, Any]:
        """The kind of office."""
        return {"indoor_scenario": self.office}


def _sionna_version() -> str | None:
    """Version of the installed Sionna, None without one."""
    if util.find_spec("sionna") is None:
        return None
    for distribution in ("sionna-no-rt", "sionna"):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None
