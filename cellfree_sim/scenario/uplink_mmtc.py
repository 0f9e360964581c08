"""The uplink of a scenario of massive machine-type communication: stations find out which devices sent which pilot."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cellfree_sim.registry import Choice, MisfitError
from cellfree_sim.scenario.extensions import MMTC_DETECTORS
from cellfree_sim.scenario.training import MmtcTraining
from cellfree_sim.scenario.uplink import Activity, PowerControl, Service, SwapDetector, Uplink, UplinkEvent

__all__ = ["MmtcActivity", "MmtcEvent", "MmtcPower", "MmtcService", "MmtcSwap", "MmtcUplink"]

MOST_WRITTEN_OUT = 2**27
"""Numbers of the pilots that are written out."""


class MmtcService(Service):
    """An edge service with a detector of massive machine-type communication. It decides for all devices.

    local: each device's best station decides alone. soft_fusion: stations send log-probabilities of the states of
    devices that may be active, the MBS adds them. centralized: stations send what they received, the MBS detects with
    all antennas, and knows how strongly each station hears each device.
    """

    detector: Annotated[Any, Choice(MMTC_DETECTORS)] = Field("amp-section", description="the detector")
    least_evidence: float | None = Field(
        0.5,
        ge=-100,
        le=100,
        description="soft_fusion: a station sends its beliefs of a device whose log-odds of being active have risen by "
        "so much by what it received; none: of all devices",
    )


class MmtcSwap(SwapDetector):
    """Another detector for a service while it serves: a hot swap, without losing a request."""

    detector: Annotated[Any, Choice(MMTC_DETECTORS)] = Field(description="what it detects with from then on")


class MmtcEvent(UplinkEvent):
    """One thing that happens to a service, before burst number `at_burst` (from 0). Exactly one other key is set."""

    swap_detector: MmtcSwap | None = Field(None, description="another detector, while it serves")


class MmtcActivity(Activity):
    """Which devices send in a burst: each by its own probability, or as a trace says."""

    probability: float = Field(0.1, ge=1e-9, le=0.999, description="that a device sends in a burst, mean over all")


class MmtcPower(PowerControl):
    """Power control; by default there is none, and all devices send with one power. Power is the energy of a pilot.

    P = min(max_dbm, noise + SNR + PL_0 + alpha (PL - PL_0)) dBm, PL the path loss to the best station, PL_0 the
    reference loss. A device with that loss is received with the SNR of the burst: a pilot's energy over the noise.
    """

    alpha: float = Field(0.0, ge=0, le=1, description="share of the path loss that is compensated")
    reference_loss_db: float = Field(
        128.1, ge=-300, le=300, description="path loss at which the SNR is that of the burst, whatever alpha is"
    )


class MmtcUplink(Uplink):
    """Devices, most of them silent, send pilots that stand for messages; stations find out who sent which.

    The devices are the users of the network. A slot is one pilot; a device that is active in a burst sends one in each
    of its slots, over channels that nobody knows. By default power, noise and reference loss are those of a macro cell
    of 1 km (energy of a pilot 23 dBm, -169 dBm/Hz in 1 MHz), at whose edge the energy of a pilot is 3.9 dB over the
    noise.
    """

    problem: Literal["mmtc"] = Field(description="massive machine-type communication")
    bits: int = Field(1, ge=1, le=8, description="of a message: a device has 2^bits pilots")
    pilot_length: int = Field(40, ge=1, le=1_000_000, description="samples of a pilot")
    pilots: Literal["gaussian", "dft"] = Field("gaussian", description="random, or random rows of a Fourier matrix")
    pilot_seed: int = Field(1, ge=0, le=2**63 - 1, description="of the pilots")
    gains: Literal["known", "estimated", "unknown"] = Field(
        "known", description="what stations know of how strongly they hear each device, fading apart"
    )
    gain_error_db: float = Field(0.0, ge=0, le=100, description="standard deviation of estimated gains, in dB")
    snr_db: list[Annotated[float, Field(ge=-100, le=100)]] = Field(
        [3.9],
        min_length=1,
        max_length=100,
        description="energy of a pilot over the noise at the reference loss, in turn: burst k has entry k mod length",
    )
    slots: int = Field(1, ge=1, le=10_000, description="pilots in a burst, all over the same channel")
    noise_dbm: float = Field(-109.0, ge=-250, le=100, description="noise power at each antenna of a station")
    csi_error_db: None = Field(None, description="none: nobody knows the channels; see gains")
    activity: MmtcActivity = Field(default_factory=MmtcActivity)
    power: MmtcPower = Field(default_factory=MmtcPower)
    services: list[MmtcService] = Field(
        default_factory=lambda: [MmtcService()], min_length=1, max_length=100, description="who detects, and how"
    )
    events: list[MmtcEvent] = Field([], description="what happens to the services")
    training: MmtcTraining | None = Field(
        None,
        description="how 'cellfree train', or a run that finds no trained file that fits, trains a learned detector",
    )

    @property
    def by_number(self) -> bool:
        """See `Uplink.by_number`: pilots are a public table."""
        return True

    @property
    def samples(self) -> int:
        """See `Uplink.samples`."""
        return self.pilot_length

    def bits_of(self, users: NDArray[Any]) -> NDArray[np.int64]:
        """See `Uplink.bits_of`."""
        return np.full(len(users), self.bits)

    def check_fit(self, users: int, subcarriers: int) -> None:
        """See `Uplink.check_fit`."""
        pilots = users * 2**self.bits
        numbers = pilots * self.pilot_length
        count = ("network", "users", "count")
        if self.pilots == "gaussian" and numbers > MOST_WRITTEN_OUT:
            found = f"found gaussian with {numbers} numbers; allowed: up to {MOST_WRITTEN_OUT}, or dft"
            raise MisfitError(("pilots",), found, because=count)
        if self.pilots == "dft" and self.pilot_length > pilots:
            found = f"found {self.pilot_length} with dft pilots; allowed: up to {pilots}, as many as there are"
            raise MisfitError(("pilot_length",), found, because=count)

    @model_validator(mode="after")
    def _what_is_known_fits(self) -> MmtcUplink:
        if (self.gain_error_db > 0) != (self.gains == "estimated"):
            allowed = "above 0" if self.gains == "estimated" else "0, or gains estimated"
            found = f"found {self.gain_error_db:g} with gains {self.gains}"
            raise MisfitError(("gain_error_db",), f"{found}; allowed: {allowed}", because=("gains",))
        for index, service in enumerate(self.services):
            if service.cooperation != "centralized":
                continue
            if self.gains == "unknown":
                found = f"found unknown, but service '{self.service_names[index]}' is centralized"
                raise MisfitError(("gains",), f"{found}; allowed: known, estimated", because=("services",))
            if service.cluster is not None:
                found = f"found {service.cluster} for a centralized service, which hears all devices everywhere"
                raise MisfitError(("services", index, "cluster"), f"{found}; allowed: none")
        if self.gains == "unknown" and (self.power.alpha > 0 or len(self.snr_db) > 1):
            what = "power.alpha above 0" if self.power.alpha > 0 else "several snr_db"
            found = f"found unknown with {what}; allowed: known, estimated, or one power for all devices and bursts"
            raise MisfitError(("gains",), found)
        return self
