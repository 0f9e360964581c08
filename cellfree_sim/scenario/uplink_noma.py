"""The uplink of a scenario of grant-free NOMA: more users than resources, whose activity stations must find out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cellfree_sim.registry import Choice
from cellfree_sim.scenario.extensions import CODEBOOKS, NOMA_DETECTORS
from cellfree_sim.scenario.training import NomaTraining
from cellfree_sim.scenario.uplink import Service, SwapDetector, Uplink, UplinkEvent

__all__ = ["NomaEvent", "NomaService", "NomaSwap", "NomaUplink"]


class NomaService(Service):
    """An edge service with a detector of grant-free NOMA."""

    detector: Annotated[Any, Choice(NOMA_DETECTORS)] = Field("kbest", description="the detector")


class NomaSwap(SwapDetector):
    """Another detector for a service while it serves: a hot swap, without losing a request."""

    detector: Annotated[Any, Choice(NOMA_DETECTORS)] = Field(description="what it detects with from then on")


class NomaEvent(UplinkEvent):
    """One thing that happens to a service, before burst number `at_burst` (from 0). Exactly one other key is set."""

    swap_detector: NomaSwap | None = Field(None, description="another detector, while it serves")


class NomaUplink(Uplink):
    """Users send codewords on few resources, or nothing; stations find out who sent what."""

    problem: Literal["noma"] = Field(description="grant-free NOMA")
    resources: int = Field(4, ge=1, le=1024, description="samples of a codeword")
    rates: Annotated[int, Field(ge=1, le=8)] | list[Annotated[int, Field(ge=1, le=8)]] = Field(
        2, description="bits of a message: of all users, or of each"
    )
    codebook: Annotated[Any, Choice(CODEBOOKS)] = Field("wbe", description="what each user sends for its messages")
    services: list[NomaService] = Field(
        default_factory=lambda: [NomaService()], min_length=1, max_length=100, description="who detects, and how"
    )
    events: list[NomaEvent] = Field([], description="what happens to the services")
    training: NomaTraining | None = Field(
        None,
        description="how 'cellfree train', or a run that finds no trained file that fits, trains a learned detector",
    )

    @property
    def samples(self) -> int:
        """See `Uplink.samples`."""
        return self.resources

    def bits_of(self, users: NDArray[Any]) -> NDArray[np.int64]:
        """See `Uplink.bits_of`."""
        if isinstance(self.rates, int):
            return np.full(len(users), self.rates)
        return np.array([self.rates[user] for user in users.tolist()], np.int64)
