"""The link of a scenario for massive machine-type communication: detectors of activity and data on the same frames.

link:
  family: mmtc
  problem: {devices: 100, bits: 1, pilot_length: 40, antennas: 16}
  detectors: [amp, amp-section, map-cd]
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cellfree_sim.registry import Choice, MisfitError
from cellfree_sim.scenario.extensions import MMTC_DETECTORS
from cellfree_sim.scenario.link import LinkSection, labelled
from cellfree_sim.scenario.parts import Section
from cellfree_sim.scenario.uplink_mmtc import MOST_WRITTEN_OUT


class MmtcLinkProblem(Section):
    """Who sends what: the arguments of `cellfree_sim.uplink.MmtcProblem`."""

    devices: int = Field(100, ge=1, le=2_000_000, description="devices, most of them silent")
    bits: int = Field(1, ge=1, le=8, description="of a message: a device has 2^bits pilots")
    pilot_length: int = Field(40, ge=1, le=1_000_000, description="samples of a pilot")
    antennas: int = Field(16, ge=1, le=4096, description="of the receiver, all stations together")
    activity: float = Field(0.1, ge=1e-9, le=0.999, description="probability that a device is active in a frame")
    pilots: Literal["gaussian", "dft"] = Field("gaussian", description="random, or random rows of a Fourier matrix")
    pilot_seed: int | None = Field(
        None, ge=0, le=2**63 - 1, description="of the pilots, and of fixed positions; the scenario's seed by default"
    )
    positions: Literal["fresh", "fixed"] = Field(
        "fresh", description="of the devices: new in each frame, or one drop, by the seed of the pilots"
    )
    gains: Literal["known", "estimated", "unknown"] = Field("known", description="large-scale gains at the receiver")
    gain_error_db: float = Field(0.0, ge=0, le=100, description="standard deviation of estimated gains")
    power: Literal["per-pilot", "per-symbol"] = Field(
        "per-pilot", description="what the transmit power is the energy of"
    )
    power_dbm: float = Field(23.0, ge=-200, le=200, description="transmit power")
    stations: int = Field(1, ge=1, le=4096, description="over which the antennas are spread evenly")

    @model_validator(mode="after")
    def _values_fit_together(self) -> MmtcLinkProblem:
        if (self.gain_error_db > 0) != (self.gains == "estimated"):
            allowed = "above 0" if self.gains == "estimated" else "0, or gains estimated"
            found = f"found {self.gain_error_db:g} with gains {self.gains}"
            raise MisfitError(("gain_error_db",), f"{found}; allowed: {allowed}", because=("gains",))
        pilots = self.devices * 2**self.bits
        if self.pilots == "gaussian" and pilots * self.pilot_length > MOST_WRITTEN_OUT:
            found = f"found gaussian with {pilots * self.pilot_length} numbers"
            raise MisfitError(("pilots",), f"{found}; allowed: up to {MOST_WRITTEN_OUT}, or dft", because=("devices",))
        if self.pilots == "dft" and self.pilot_length > pilots:
            found = f"found {self.pilot_length} with dft pilots; allowed: up to {pilots}, as many as there are"
            raise MisfitError(("pilot_length",), found, because=("devices",))
        if self.antennas % self.stations:
            found = f"found {self.stations}; allowed: a divisor of the antennas, {self.antennas}"
            raise MisfitError(("stations",), found, because=("antennas",))
        return self

    def options(self, seed: int) -> dict[str, Any]:
        """The arguments of `MmtcProblem`, by name, in a scenario of this seed."""
        own = self.model_dump()
        return {**own, "pilot_seed": seed if self.pilot_seed is None else self.pilot_seed}


class MmtcLink(LinkSection):
    """A link-level measurement of detectors of activity and data on the same frames."""

    family: Literal["mmtc"] = Field(description="the family of problems")
    problem: MmtcLinkProblem = Field(default_factory=MmtcLinkProblem)
    detectors: list[Annotated[Any, Choice(MMTC_DETECTORS)]] = Field(
        ["amp-section", "map-cd"], min_length=1, max_length=100, description="measured on the same frames"
    )
    genie: bool = Field(True, description="beside them, the bound that knows the states of all other devices")
    frames_max: int = Field(1000, ge=1, le=10**9, description="frames, at most")
    target_errors: int | None = Field(
        500, ge=1, le=10**9, description="a detector with so many wrong states gets no more frames; none: it gets all"
    )
    batch: int = Field(64, ge=1, le=10**6, description="frames at a time")

    @model_validator(mode="after")
    def _detectors_differ(self) -> MmtcLink:
        for index, detector in enumerate(self.detectors):
            if detector in self.detectors[:index]:
                raise MisfitError(("detectors", index), f"found {detector.name} again, with the same options")
        return self

    def labelled(self) -> dict[str, Any]:
        """The options of each detector by its name, with what differs in parentheses where a name comes twice."""
        return labelled(self.detectors)
