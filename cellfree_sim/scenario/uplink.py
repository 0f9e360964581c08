"""The uplink of a scenario: who sends, over what, and which detectors serve it at the stations.

What all uplinks share is here. Each family of problems has a section of its own, with its detectors and with what is
sent: `uplink_mimo` and the others beside it; `Uplink.problem` tells them apart (`uplink_families`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, GetJsonSchemaHandler, ValidationInfo, field_validator, model_validator

from cellfree_sim.registry import MisfitError
from cellfree_sim.scenario.parts import Name, Section
from cellfree_sim.scenario.training import DetectorTraining

Family = Literal["mimo", "noma", "mmtc"]
Cooperation = Literal["local", "soft_fusion", "centralized"]


class Activity(Section):
    """Which users send in a burst: each by its own probability, or as a trace says."""

    probability: float = Field(1.0, ge=0, le=1, description="that a user sends in a burst, mean over all users")
    by_user: list[Annotated[float, Field(ge=0, le=1)]] | None = Field(
        None, min_length=1, max_length=100_000, description="probability of each user instead, repeated over all users"
    )
    spread: float = Field(
        0.0, ge=0, le=1, description="each user has its own: uniform within probability times (1 +- spread)"
    )
    trace: Path | None = Field(
        None,
        description="a file instead, relative to the scenario's folder: .npz with `active`, bool [bursts, users], "
        "repeated from its start",
    )

    @field_validator("trace")
    @classmethod
    def _found_beside_the_scenario(cls, trace: Path | None, info: ValidationInfo) -> Path | None:
        if trace is None:
            return None
        folder = (info.context or {}).get("folder")
        trace = trace.expanduser()
        resolved = (Path(folder) / trace if folder is not None else trace).resolve()
        if not resolved.is_file():
            raise ValueError(f"there is no file {resolved}")
        return resolved

    @model_validator(mode="after")
    def _the_mean_is_kept(self) -> Activity:
        if self.by_user is not None and self.probability != type(self).model_fields["probability"].default:
            raise MisfitError(
                ("probability",),
                f"found {self.probability:g} beside by_user; allowed: one of them",
                because=("by_user",),
            )
        highest = self.probability if self.by_user is None else max(self.by_user)
        if highest * (1 + self.spread) > 1 + 1e-9:
            raise MisfitError(
                ("spread",),
                f"found {self.spread:g}; allowed: at most {1 / highest - 1:g}, so that nobody's probability is above 1",
                because=("probability" if self.by_user is None else "by_user",),
            )
        return self

    @property
    def always(self) -> bool:
        """Whether all users send in each burst."""
        least = self.probability if self.by_user is None else min(self.by_user)
        return least == 1 and self.trace is None


class PowerControl(Section):
    """Fractional power control (TS 38.213, 7.1.1), PL being the path loss to the best SBS and PL_0 `reference_loss_db`:

        P = min(max_dbm, noise + SNR + PL_0 + alpha (PL - PL_0)) dBm.

    With alpha = 1 each user is received at its best station with the SNR of the burst, unless max_dbm is too little.
    With alpha = 0 all send with one power, and the SNR is that of a user whose path loss is PL_0.
    """

    max_dbm: float = Field(23.0, ge=-100, le=100, description="largest transmit power of a user")
    alpha: float = Field(1.0, ge=0, le=1, description="share of the path loss that is compensated")
    reference_loss_db: float = Field(
        0.0, ge=-300, le=300, description="path loss at which the SNR is that of the burst, whatever alpha is"
    )


class Queue(Section):
    """The batching queue of a service: a batch is closed by its size or its age, whichever comes first."""

    batch: int = Field(8, ge=1, le=100_000, description="most requests (bursts at one station) in a batch")
    deadline_s: float = Field(1e-3, ge=0, le=3600, description="longest time that a request waits for others")
    capacity: int = Field(256, ge=1, le=1_000_000, description="requests that may wait; more are refused")


class Service(Section):
    """A detector that runs as an edge service, beside its stations or, where it is centralized, beside the MBS.

    local: each user's best station decides alone. soft_fusion: stations send log-probabilities (`soft_decision`), the
    MBS adds them. centralized: stations send what they received (`received_signal`), the MBS detects with all antennas.
    """

    name: Name | None = Field(None, description="<detector>-<cooperation> by default")
    detector: Any
    stations: Literal["all"] | list[str] = Field("all", description="which stations take part")
    cooperation: Cooperation = Field("local", description="who decides, and what crosses the backhaul for it")
    cluster: int | None = Field(None, ge=1, le=1000, description="each user is served by its so many best stations")
    precision: Literal["float32", "float16", "bfloat16", "int8"] = Field("float32", description="of its frames' arrays")
    mec_share: float = Field(0.1, gt=0, le=1, description="share of the MEC server's capacity that it may use")
    queue: Queue = Field(default_factory=Queue)


class SwapDetector(Section):
    """Another detector for a service while it serves: a hot swap, without losing a request."""

    service: str = Field(description="name of the service")
    detector: Any


class FailService(Section):
    """A service whose process is killed: its name and station, or its name alone for its processes at all stations."""

    service: str = Field(description="name of the service")
    station: str | None = Field(None, description="at which station (or the MBS); all of them by default")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, data: Any) -> Any:
        return {"service": data} if isinstance(data, str) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: GetJsonSchemaHandler) -> Any:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


class UplinkEvent(Section):
    """One thing that happens to a service, before burst number `at_burst` (from 0). Exactly one other key is set."""

    at_burst: int = Field(ge=0, description="before this burst")
    swap_detector: SwapDetector | None = Field(None, description="another detector, while it serves")
    fail_service: FailService | None = Field(None, description="a process of the service is killed, and comes back")
    set_activity: Activity | None = Field(None, description="users send otherwise from then on; no receiver is told")

    @model_validator(mode="after")
    def _one_thing(self) -> UplinkEvent:
        things = [key for key in type(self).model_fields if key != "at_burst"]
        found = [key for key in things if getattr(self, key) is not None]
        if len(found) != 1:
            raise ValueError(f"found {' and '.join(found) or 'none'}; allowed: one of {', '.join(things)}")
        return self

    @property
    def kind(self) -> str:
        """The key that is set."""
        return next(key for key in type(self).model_fields if key != "at_burst" and getattr(self, key) is not None)

    @property
    def service(self) -> str | None:
        """Name of the service that it happens to, if it does to one."""
        name: str | None = getattr(getattr(self, self.kind), "service", None)
        return name

    @property
    def ready_after(self) -> int:
        """Bursts from its beginning to its end."""
        return 0


class Uplink(Section):
    """Grant-free users send bursts; every station hears them; edge services detect what they sent."""

    problem: Family
    snr_db: list[Annotated[float, Field(ge=-100, le=100)]] = Field(
        [10.0],
        min_length=1,
        max_length=100,
        description="SNRs that power control aims at, in turn: burst k has entry k mod length",
    )
    bursts: int = Field(100, ge=1, le=10_000_000, description="bursts of the whole run, spread over its training steps")
    slots: int = Field(14, ge=1, le=10_000, description="slots of a burst, all with the same channel (block fading)")
    slot_s: float = Field(71.4e-6, gt=0, le=1, description="duration of a slot")
    interval_s: float = Field(2e-3, gt=0, le=3600, description="simulated time between the starts of two bursts")
    noise_dbm: float = Field(-96.0, ge=-250, le=100, description="noise power at each antenna of a station")
    csi_error_db: float | None = Field(
        None, ge=-100, le=20, description="mean squared error of the known channels over their mean gain; none: exact"
    )
    realisations: int = Field(
        20, ge=1, le=1_000_000, description="drops of the users, in turn: each serves all SNRs, then comes the next"
    )
    users_per_group: int = Field(1000, ge=1, le=1_000_000, description="users that one process hosts")
    activity: Activity = Field(default_factory=Activity)
    power: PowerControl = Field(default_factory=PowerControl)
    backhaul_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of each backhaul link's capacity that is kept for the uplink; all of it is the uplink's "
        "where downlink.algorithm learns nothing",
    )
    services: Sequence[Service]
    events: Sequence[UplinkEvent] = ()
    training: DetectorTraining | None = None

    @property
    def silence(self) -> bool:
        """Whether stations must find out who is active: they decide for all users, also for those that are silent."""
        return self.problem != "mimo"

    @property
    def assigns(self) -> bool:
        """Whether stations assign codebooks to users, which they send with."""
        return False

    @property
    def by_number(self) -> bool:
        """Whether codewords stand in a table that everybody has, so that bursts name them instead of holding them."""
        return False

    @property
    def samples(self) -> int:
        """Samples of a codeword: what a user sends in a slot."""
        return 1

    @property
    def selective(self) -> bool:
        """Whether sample k of a codeword is sent on subcarrier k of the radio, each with a channel of its own."""
        return False

    def check_fit(self, users: int, subcarriers: int) -> None:
        """`MisfitError`, with keys of this section, where it does not fit so many users and subcarriers."""

    def bits_of(self, users: NDArray[Any]) -> NDArray[np.int64]:
        """Bits of a message of each of `users`, int64 [I]."""
        raise NotImplementedError

    @property
    def service_names(self) -> list[str]:
        """Name of each service, in order."""
        return [each.name or f"{each.detector.label}-{each.cooperation}" for each in self.services]

    @field_validator("snr_db")
    @classmethod
    def _snrs_differ(cls, snr_db: list[float]) -> list[float]:
        for index, value in enumerate(snr_db):
            if value in snr_db[:index]:
                raise ValueError(f"found {value:g} for a second time; allowed: each SNR once")
        return snr_db

    @model_validator(mode="after")
    def _bursts_do_not_overlap(self) -> Uplink:
        burst_s = self.slots * self.slot_s
        if self.interval_s < burst_s * (1 - 1e-9):
            raise MisfitError(
                ("interval_s",),
                f"found {self.interval_s:g}; allowed: at least slots x slot_s, {burst_s:g}, as long as a burst",
                because=("slots",),
            )
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Uplink:
        names = self.service_names
        for index, name in enumerate(names):
            if name in names[:index]:
                raise MisfitError(
                    ("services", index), f"found a second service '{name}'; allowed: names that differ (key name)"
                )
        for index, event in enumerate(self.events):
            if event.service is not None and event.service not in names:
                where = ("events", index, event.kind, "service")
                raise MisfitError(where, f"found '{event.service}'; allowed: {', '.join(names)}")
            if event.at_burst >= self.bursts:
                raise MisfitError(
                    ("events", index, "at_burst"), f"found {event.at_burst}; allowed: below bursts, {self.bursts}"
                )
            if event.at_burst + event.ready_after >= self.bursts:
                found = f"found {event.ready_after}, after burst {event.at_burst}"
                where = ("events", index, event.kind, "ready_after")
                raise MisfitError(where, f"{found}; allowed: ready before the end of {self.bursts} bursts")
        return self
