"""The uplink of a scenario where users send QAM symbols, and stations know who is active and over which channel."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cellfree_sim.registry import Choice
from cellfree_sim.scenario.extensions import DETECTORS
from cellfree_sim.scenario.training import MimoTraining
from cellfree_sim.scenario.uplink import Service, SwapDetector, Uplink, UplinkEvent

__all__ = ["MimoEvent", "MimoService", "MimoSwap", "MimoUplink"]


BITS = {"qpsk": 2, "qam16": 4, "qam64": 6, "qam256": 8}
"""Bits of a symbol of each constellation."""


class MimoService(Service):
    """An edge service with a MIMO detector."""

    detector: Annotated[Any, Choice(DETECTORS)] = Field("ep", description="the detector")


class MimoSwap(SwapDetector):
    """Another MIMO detector for a service while it serves: a hot swap, without losing a request."""

    detector: Annotated[Any, Choice(DETECTORS)] = Field(description="what it detects with from then on")


class MimoEvent(UplinkEvent):
    """One thing that happens to a service, before burst number `at_burst` (from 0). Exactly one other key is set."""

    swap_detector: MimoSwap | None = Field(None, description="another detector, while it serves")


class MimoUplink(Uplink):
    """Grant-free users send bursts of QAM symbols; every station hears them; edge services detect what they sent."""

    problem: Literal["mimo"] = Field("mimo", description="coherent detection of QAM symbols of all active users")
    constellation: Literal["qpsk", "qam16", "qam64", "qam256"] = Field("qpsk", description="of all users")
    services: list[MimoService] = Field(
        default_factory=lambda: [MimoService()], min_length=1, max_length=100, description="who detects, and how"
    )
    events: list[MimoEvent] = Field([], description="what happens to the services")
    training: MimoTraining | None = Field(
        None,
        description="how 'cellfree train', or a run that finds no trained file that fits, trains a learned detector",
    )

    def bits_of(self, users: NDArray[Any]) -> NDArray[np.int64]:
        """See `Uplink.bits_of`."""
        return np.full(len(users), BITS[self.constellation])
