"""The uplink of a scenario of massive machine-type communication: stations find out which devices sent which pilot."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cellfree_sim.registry import Choice
from cellfree_sim.scenario.extensions import MMTC_DETECTORS
from cellfree_sim.scenario.training import MmtcTraining
from cellfree_sim.scenario.uplink import Service, SwapDetector, Uplink, UplinkEvent

__all__ = ["MmtcEvent", "MmtcService", "MmtcSwap", "MmtcUplink"]


class MmtcService(Service):
    """An edge service with a detector of massive machine-type communication."""

    detector: Annotated[Any, Choice(MMTC_DETECTORS)] = Field("amp-section", description="the detector")


class MmtcSwap(SwapDetector):
    """Another detector for a service while it serves: a hot swap, without losing a request."""

    detector: Annotated[Any, Choice(MMTC_DETECTORS)] = Field(description="what it detects with from then on")


class MmtcEvent(UplinkEvent):
    """One thing that happens to a service, before burst number `at_burst` (from 0). Exactly one other key is set."""

    swap_detector: MmtcSwap | None = Field(None, description="another detector, while it serves")


class MmtcUplink(Uplink):
    """Devices, most of them silent, send pilots that stand for messages; stations find out who sent which."""

    problem: Literal["mmtc"] = Field(description="massive machine-type communication")
    bits: int = Field(1, ge=1, le=8, description="of a message: a device has 2^bits pilots")
    pilot_length: int = Field(40, ge=1, le=1_000_000, description="samples of a pilot")
    pilots: Literal["gaussian", "dft"] = Field("gaussian", description="random, or random rows of a Fourier matrix")
    pilot_seed: int = Field(1, ge=0, le=2**63 - 1, description="of the pilots")
    services: list[MmtcService] = Field(
        default_factory=lambda: [MmtcService()], min_length=1, max_length=100, description="who detects, and how"
    )
    events: list[MmtcEvent] = Field([], description="what happens to the services")
    training: MmtcTraining | None = Field(
        None,
        description="how 'cellfree train', or a run that finds no trained file that fits, trains a learned detector",
    )

    @property
    def samples(self) -> int:
        """See `Uplink.samples`."""
        return self.pilot_length

    def bits_of(self, users: NDArray[Any]) -> NDArray[np.int64]:
        """See `Uplink.bits_of`."""
        return np.full(len(users), self.bits)
