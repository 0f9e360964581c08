"""The uplink of a scenario of grant-free NOMA: more users than resources, whose activity stations must find out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cellfree_sim.registry import Choice, MisfitError
from cellfree_sim.scenario.extensions import CODEBOOKS, NOMA_DETECTORS
from cellfree_sim.scenario.parts import Section
from cellfree_sim.scenario.training import NomaTraining
from cellfree_sim.scenario.uplink import Service, SwapDetector, Uplink, UplinkEvent

__all__ = ["NomaEvent", "NomaService", "NomaSwap", "NomaUplink"]

MOST_USERS = 1024
"""With a codebook of their own each: as many as a `NomaProblem` may have."""


class NomaService(Service):
    """An edge service with a detector of grant-free NOMA."""

    detector: Annotated[Any, Choice(NOMA_DETECTORS)] = Field("kbest", description="the detector")


class NomaSwap(SwapDetector):
    """Another detector for a service while it serves: a hot swap, without losing a request."""

    detector: Annotated[Any, Choice(NOMA_DETECTORS)] = Field(description="what it detects with from then on")


class Retrain(Section):
    """A service learns of the users' activity as it is when the event happens, and goes on serving meanwhile.

    A learned receiver is trained anew, as `uplink.training` says where that is for this receiver; if its codebook is
    learned with it, users are assigned the new one, and all services are told of that.
    """

    service: str = Field(description="name of the service")
    ready_after: int = Field(ge=1, le=10_000_000, description="bursts until it serves with what it has learned")


class NomaEvent(UplinkEvent):
    """One thing that happens to a service, before burst number `at_burst` (from 0). Exactly one other key is set."""

    swap_detector: NomaSwap | None = Field(None, description="another detector, while it serves")
    retrain: Retrain | None = Field(
        None, description="a service is made ready for the users as they are now, while it serves"
    )

    @property
    def ready_after(self) -> int:
        """See `UplinkEvent.ready_after`."""
        return self.retrain.ready_after if self.retrain is not None else 0


class NomaUplink(Uplink):
    """Users send codewords on few resources, or nothing; stations find out who sent what."""

    problem: Literal["noma"] = Field(description="grant-free NOMA")
    resources: int = Field(4, ge=1, le=1024, description="samples of a codeword, of mean power 1: SNRs are on each")
    rates: Annotated[int, Field(ge=1, le=8)] | list[Annotated[int, Field(ge=1, le=8)]] = Field(
        2, description="bits of a message: of all users, or of each"
    )
    codebook: Annotated[Any, Choice(CODEBOOKS)] = Field("wbe", description="what each user sends for its messages")
    fading: Literal["flat", "selective"] = Field(
        "flat", description="one channel on all resources, or that of subcarrier k of the radio on resource k"
    )
    services: list[NomaService] = Field(
        default_factory=lambda: [NomaService()], min_length=1, max_length=100, description="who detects, and how"
    )
    events: list[NomaEvent] = Field([], description="what happens to the services")
    training: NomaTraining | None = Field(
        None,
        description="how 'cellfree train', or a run that finds no trained file that fits, trains a learned detector",
    )

    @model_validator(mode="after")
    def _one_thing_at_a_time(self) -> NomaUplink:
        for event in self.events:
            if event.retrain is None:
                continue
            ready = event.at_burst + event.ready_after
            for index, other in enumerate(self.events):
                changes = other.swap_detector is not None or other.retrain is not None
                if changes and other.service == event.service and event.at_burst < other.at_burst <= ready:
                    found = f"found {other.at_burst}, while '{event.service}' is trained anew"
                    allowed = f"allowed: after burst {ready}, when it is ready, or up to {event.at_burst}"
                    raise MisfitError(("events", index, "at_burst"), f"{found}; {allowed}")
        return self

    @property
    def assigns(self) -> bool:
        """See `Uplink.assigns`."""
        return True

    @property
    def samples(self) -> int:
        """See `Uplink.samples`."""
        return self.resources

    @property
    def selective(self) -> bool:
        """See `Uplink.selective`."""
        return self.fading == "selective"

    def check_fit(self, users: int, subcarriers: int) -> None:
        """See `Uplink.check_fit`."""
        if users > MOST_USERS:
            raise MisfitError(("problem",), f"found noma for {users} users; allowed: at most {MOST_USERS} users")
        if not isinstance(self.rates, int) and len(self.rates) != users:
            found = f"found {len(self.rates)} values; allowed: one, or one for each of {users} users"
            raise MisfitError(("rates",), found, because=("network", "users", "count"))
        if self.selective and subcarriers < self.resources:
            found = f"found selective with {self.resources} resources on {subcarriers} subcarriers"
            raise MisfitError(
                ("fading",),
                f"{found}; allowed: at least as many of radio.subcarriers",
                because=("radio", "subcarriers"),
            )
        for index, service in enumerate(self.services):
            if getattr(service.detector, "told", False):
                found = f"found '{service.detector.name}', which is told who is active"
                raise MisfitError(("services", index, "detector"), f"{found}; allowed: one that finds that out")
            if service.cluster is not None:
                found = f"found {service.cluster}; allowed: none, as receivers of noma decide for all users together"
                raise MisfitError(("services", index, "cluster"), found)

    def bits_of(self, users: NDArray[Any]) -> NDArray[np.int64]:
        """See `Uplink.bits_of`."""
        if isinstance(self.rates, int):
            return np.full(len(users), self.rates)
        return np.array([self.rates[user] for user in users.tolist()], np.int64)
