"""What a scenario is: every key, its unit, its default and its limits.

Units stand in the names of the keys. Keys that name an extension (`model`, `layout`, `topology`, `algorithm`,
`loss_scheme`, `policy`, `references`) take a name, or a mapping with ``name`` and that extension's own options.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from cellfree_sim.registry import Choice, MisfitError
from cellfree_sim.scenario.events import Event, in_order
from cellfree_sim.scenario.extensions import (
    ALGORITHMS,
    CHANNEL_MODELS,
    LOSS_SCHEMES,
    POLICIES,
    REFERENCES,
    SITE_LAYOUTS,
    TOPOLOGIES,
    USER_LAYOUTS,
)
from cellfree_sim.scenario.link_families import AnyLink
from cellfree_sim.scenario.parts import MBS_NAME, Azimuth, ExtensionFile, Name, Position, Section, station_name_problem
from cellfree_sim.scenario.sweep import Sweep
from cellfree_sim.scenario.uplink_checks import check_uplink, services_share
from cellfree_sim.scenario.uplink_families import AnyUplink

REAL_BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "int8": 1.125}  # int8: with a scale for each 32 values
FRAME_OVERHEAD_BYTES = 2048  # header and keys, without the names of the stations on the path


class Antennas(Section):
    """A planar array of a station: `rows` x `columns` elements, half a wavelength apart by default."""

    rows: int = Field(2, ge=1, le=64, description="elements in the vertical")
    columns: int = Field(2, ge=1, le=64, description="elements in the horizontal")
    spacing_wavelengths: float = Field(0.5, gt=0, le=10, description="distance of neighbouring elements in wavelengths")
    element: Literal["omni", "38.901"] = Field("omni", description="element pattern: omni, or that of TR 38.901 §7.3")
    azimuth_deg: Azimuth = Field(0.0, description="boresight in the horizontal plane, from the x axis")
    downtilt_deg: float = Field(0.0, ge=-90, le=90, description="boresight below the horizon")

    @property
    def count(self) -> int:
        """Number of elements M_t."""
        return self.rows * self.columns


class Mbs(Section):
    """The macro base station: it hosts the coordinator, it does not serve users."""

    position_m: Position | None = Field(None, description="x and y; the centre of the area by default")
    height_m: float = Field(25.0, gt=0, le=1000, description="of its antennas above the ground")
    mec_flop_per_s: float = Field(1e12, gt=0, description="computing capacity of its MEC server")


class Sbs(Section):
    """The small base stations, each with a MEC server."""

    count: int = Field(3, ge=1, le=1000, description="number B of stations; the length of positions_m by default")
    layout: Annotated[Any, Choice(SITE_LAYOUTS)] = Field("grid", description="where they stand without positions_m")
    positions_m: list[Position] | None = Field(None, description="explicit x and y of each station")
    names: list[Name] | None = Field(None, description="names of the stations; sbs-0, sbs-1, … by default")
    antennas: Antennas = Field(default_factory=Antennas)
    azimuths_deg: list[Azimuth] | None = Field(
        None, description="boresight of each station, from the x axis; antennas.azimuth_deg by default"
    )
    height_m: float = Field(25.0, gt=0, le=1000, description="of its antennas above the ground")
    power_dbm: float = Field(40.0, ge=-100, le=100, description="largest transmit power P_max of each station")
    mec_flop_per_s: float = Field(1e11, gt=0, description="computing capacity of each MEC server")

    @model_validator(mode="before")
    @classmethod
    def _count_follows_positions(cls, data: Any) -> Any:
        if isinstance(data, dict) and "count" not in data and isinstance(data.get("positions_m"), list):
            return {**data, "count": len(data["positions_m"])}
        return data

    @model_validator(mode="after")
    def _one_count(self) -> Sbs:
        each = {"positions_m": self.positions_m, "names": self.names, "azimuths_deg": self.azimuths_deg}
        for key, given in each.items():
            if given is not None and len(given) != self.count:
                advice = "; leave count out" if key == "positions_m" else ""
                raise MisfitError(
                    (key,),
                    f"found a list of {len(given)}; allowed: as many as count, {self.count}{advice}",
                    because=("count",),
                )
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Sbs:
        for index, name in enumerate(self.names or []):
            if name in (self.names or [])[:index]:
                raise MisfitError(("names", index), f"found '{name}' for a second time; allowed: names that differ")
            problem = station_name_problem(name)
            if problem is not None:
                raise MisfitError(("names", index), problem)
        return self


class Users(Section):
    """The users of the network; their positions are drawn anew for each realisation."""

    count: int = Field(10, ge=1, le=100_000, description="number I of users")
    layout: Annotated[Any, Choice(USER_LAYOUTS)] = Field("uniform", description="where users appear in the area")
    antennas: int = Field(2, ge=1, le=64, description="receive antennas M_r of each user")
    height_m: float = Field(1.5, gt=0, le=1000, description="of their antennas above the ground")
    min_rate_bps_hz: float = Field(0.02, ge=0, le=1000, description="minimum rate r_min of each user, bit/s/Hz")
    indoor_probability: float = Field(0.0, ge=0, le=1, description="share of users inside buildings (TR 38.901)")


class Network(Section):
    """Stations and users in a rectangle of `area_m`, from (0, 0) to (width, depth)."""

    area_m: Position = Field((100.0, 100.0), description="width (x) and depth (y)")
    mbs: Mbs = Field(default_factory=Mbs)
    sbs: Sbs = Field(default_factory=Sbs)
    users: Users = Field(default_factory=Users)

    @field_validator("area_m")
    @classmethod
    def _has_an_area(cls, area: Position) -> Position:
        if min(area) <= 0 or max(area) > 1e6:
            raise ValueError(f"found {[*area]}; allowed: width and depth above 0, at most 1e6 m")
        return area

    @model_validator(mode="after")
    def _inside(self) -> Network:
        width, depth = self.area_m
        explicit = self.sbs.positions_m or []
        places: list[tuple[tuple[str | int, ...], Position]] = []
        if self.mbs.position_m is not None:
            places.append((("mbs", "position_m"), self.mbs.position_m))
        places += [(("sbs", "positions_m", index), position) for index, position in enumerate(explicit)]
        for key, (x, y) in places:
            if not (0 <= x <= width and 0 <= y <= depth):
                allowed = f"x in [0, {width:g}], y in [0, {depth:g}] (area_m)"
                raise MisfitError(key, f"found [{x:g}, {y:g}]; allowed: {allowed}", because=("area_m",))
        for index, (x, y) in enumerate(explicit):
            first = explicit.index((x, y))
            if first < index:
                raise MisfitError(
                    ("sbs", "positions_m", index), f"found [{x:g}, {y:g}] again, the place of entry {first}"
                )
        return self


class Radio(Section):
    """The OFDMA carrier shared by all stations."""

    carrier_frequency_hz: float = Field(2.1e9, ge=0.5e9, le=100e9, description="TR 38.901 holds from 0.5 to 100 GHz")
    bandwidth_hz: float = Field(20e6, gt=0, le=10e9, description="bandwidth of all subcarriers together")
    subcarriers: int = Field(4, ge=1, le=4096, description="number N of subcarriers")
    noise_dbm: float = Field(-26.0, ge=-250, le=100, description="noise power sigma^2 of each subcarrier and antenna")


class Realisations(Section):
    """How many drops (positions and fading of all users) each split holds. Splits never share a drop."""

    train: int = Field(300, ge=1, le=1_000_000, description="drops to learn from")
    validation: int = Field(100, ge=1, le=1_000_000, description="drops on which the training is watched")
    test: int = Field(200, ge=1, le=1_000_000, description="held-out drops on which results are measured, once")


class Channel(Section):
    """How channel realisations are made."""

    model: Annotated[Any, Choice(CHANNEL_MODELS)] = Field("tr38901-uma", description="the channel model")
    realisations: Realisations = Field(default_factory=Realisations)
    resample_users: bool = Field(True, description="mix users of different training drops in a batch")
    cache: bool = Field(True, description="keep generated realisations on disk, addressed by their content")


class Backhaul(Section):
    """The wired network between stations."""

    topology: Annotated[Any, Choice(TOPOLOGIES)] = Field("star", description="which stations are linked")
    capacity_bps: float = Field(10e9, gt=0, description="capacity of each link and direction")
    latency_s: float = Field(0.5e-3, ge=0, le=3600, description="propagation and switching delay of each link")
    precision: Literal["float32", "float16", "bfloat16", "int8"] = Field("float32", description="of arrays on the wire")
    cache_channels: bool = Field(False, description="upload each training realisation once, not in each batch")
    max_frame_bytes: int = Field(256 * 2**20, ge=1024, le=2**32 - 1, description="longer frames are refused")
    resend_after_s: float = Field(
        0.05, gt=0, le=3600, description="simulated time after which a sender sends a lost frame again, another way"
    )


class Sharing(Section):
    """One policy for all stations: their models are averaged at the MBS, over the backhaul."""

    every_steps: int = Field(
        10, ge=1, le=1_000_000, description="training steps between two averages; one more after the last step"
    )


class Downlink(Section):
    """Joint subcarrier allocation and beamforming: what is learned, and how."""

    algorithm: Annotated[Any, Choice(ALGORITHMS)] = Field("dmtssl", description="the learning algorithm")
    loss_scheme: Annotated[Any, Choice(LOSS_SCHEMES)] = Field("penalty", description="self-supervised loss")
    policy: Annotated[Any, Choice(POLICIES)] = Field("set", description="policy network of each station")
    feedback: Literal["cut_gradient", "global_outputs"] = Field(
        "cut_gradient", description="what the MBS returns: the gradient at the cut, or all outputs"
    )
    sharing: Sharing | None = Field(None, description="all stations learn one policy; none: each its own (dmtssl)")
    epochs: int = Field(
        50,
        ge=0,
        le=1_000_000,
        description="passes over the training split; 0 trains nothing: the policy is executed as it is",
    )
    batch: int = Field(100, ge=2, le=1_000_000, description="realisations in a mini-batch")
    learning_rate: float = Field(5e-3, gt=0, le=10, description="of Adam; the peak where the schedule has one")
    schedule: Literal["one_cycle", "constant"] = Field("one_cycle", description="of the learning rate over the run")
    gradient_clip: float | None = Field(None, gt=0, description="largest norm of a station's gradient, none by default")
    validate_every_steps: int = Field(25, ge=1, le=1_000_000, description="training steps between two validations")
    references: list[Annotated[Any, Choice(REFERENCES)]] = Field(
        ["gsa-zf", "rsa-zf", "ascent"], description="algorithms computed on the same held-out realisations"
    )


class Share(Section):
    """What one process of a role takes from the cluster."""

    cpus: float = Field(1.0, ge=0, le=1024, description="logical CPUs")
    gpus: float | Literal["auto"] = Field(0.0, description="GPUs; 1/k shares one, auto takes one if there is one")

    @field_validator("gpus")
    @classmethod
    def _gpus_can_be_shared(cls, gpus: float | str) -> float | str:
        if isinstance(gpus, str):
            return gpus
        if gpus < 0 or gpus > 1024:
            raise ValueError(f"found {gpus:g}; allowed: auto, or a number from 0 to 1024")
        if 0 < gpus < 1 and not math.isclose(1 / gpus, round(1 / gpus), rel_tol=1e-6):
            raise ValueError(
                f"found {gpus:g}; allowed: fractions of a GPU are 1/k, the nearest is {1 / round(1 / gpus):g}"
            )
        if gpus > 1 and gpus != round(gpus):
            raise ValueError(f"found {gpus:g}; allowed: more than one GPU is a whole number")
        return gpus


class SbsShare(Share):
    """What an SBS takes: a share of a GPU where there is one, whatever else is said of it."""

    gpus: float | Literal["auto"] = Field(
        "auto", description="GPUs; 1/k shares one, auto takes a share if there is one"
    )


class Placement(Section):
    """One Ray placement group per station."""

    strategy: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = Field(
        "SPREAD", description="across stations: few nodes, many, one, or a node each"
    )
    mbs: Share = Share()
    sbs: SbsShare = SbsShare()
    metrics_port: int | None = Field(
        None,
        ge=1024,
        le=65535,
        description="where a cluster of the run's own serves Prometheus metrics (extra metrics); none: anywhere",
    )


class Scenario(Section):
    """A network, its radio, its backhaul, and what runs on it."""

    name: Name = Field("unnamed", description="used for the run folder and in every frame")
    seed: int = Field(1, ge=0, le=2**63 - 1, description="the seed from which every random stream is spawned")
    engine: Literal["ray", "inline"] = Field("ray", description="one process per station, or all in one process")
    network: Network = Field(default_factory=Network)
    radio: Radio = Field(default_factory=Radio)
    channel: Channel = Field(default_factory=Channel)
    backhaul: Backhaul = Field(default_factory=Backhaul)
    downlink: Downlink = Field(default_factory=Downlink)
    uplink: AnyUplink | None = Field(
        None, description="what users send meanwhile, and which detectors serve it; none: nothing"
    )
    link: AnyLink | None = Field(None, description="detectors measured at single points, without a network")
    placement: Placement = Field(default_factory=Placement)
    events: list[Event] = Field([], description="what happens to the network while it trains")
    on_failure: Literal["restart", "drop", "abort"] = Field(
        "restart",
        description="when a station dies: restart it, go on without it (both from the last checkpoint), or end the run",
    )
    restart_timeout_s: float = Field(
        120.0, gt=0, le=86_400, description="wall time that a station may take to come back before it is dropped"
    )
    barrier_timeout_s: float = Field(
        300.0, gt=0, le=86_400, description="wall time that a round waits for a silent station before it is ended"
    )
    checkpoint_every_steps: int = Field(50, ge=1, le=1_000_000, description="training steps between two checkpoints")
    extensions: list[ExtensionFile] = Field(
        [],
        max_length=100,
        description="modules from outside the package that are named above as module:Class; filled in when it is read",
    )
    sweep: Sweep | None = Field(None, description="what is varied; such a scenario is run by cellfree sweep")

    @model_validator(mode="after")
    def _a_batch_fits_the_split(self) -> Scenario:
        train, batch = self.channel.realisations.train, self.downlink.batch
        if batch > train and self.downlink.epochs:
            raise MisfitError(
                ("downlink", "batch"),
                f"found {batch}; allowed: at most channel.realisations.train, {train}",
                because=("channel", "realisations", "train"),
            )
        return self

    @model_validator(mode="after")
    def _events_happen_during_the_run(self) -> Scenario:
        for index, event in enumerate(self.events):
            if event.at_step > self.steps:
                raise MisfitError(
                    ("events", index, "at_step"),
                    f"found {event.at_step}; allowed: at most {self.steps}, the training steps of the run",
                    because=("downlink", "epochs"),
                )
        return self

    @model_validator(mode="after")
    def _the_algorithm_agrees(self) -> Scenario:
        self.downlink.algorithm.check(self)
        return self

    @model_validator(mode="after")
    def _the_uplink_fits(self) -> Scenario:
        check_uplink(self)
        return self

    @model_validator(mode="after")
    def _a_batch_fits_a_frame(self) -> Scenario:
        least = self._longest_frame_bytes()
        if self.downlink.algorithm.learns and least > self.backhaul.max_frame_bytes:
            raise MisfitError(
                ("backhaul", "max_frame_bytes"),
                f"found {self.backhaul.max_frame_bytes}; allowed: at least {least}, a frame of one batch "
                f"(or lower downlink.batch)",
                because=("downlink", "batch"),
            )
        return self

    def _longest_frame_bytes(self) -> int:
        """Upper bound of the longest frame: a batch of training, or one realisation measured at float32."""
        network, subcarriers = self.network, self.radio.subcarriers
        stations, users, antennas = self._largest_roster(), network.users.count, network.sbs.antennas.count
        channel = 2 * subcarriers * antennas * users * network.users.antennas
        outputs = subcarriers * users * (2 * antennas + 1) + 1 + users + stations
        reals = max(channel, outputs)
        if self.downlink.feedback == "global_outputs":
            reals = max(reals, (stations - 1) * (channel + outputs))
        batch = self.downlink.batch * reals * REAL_BYTES[self.backhaul.precision]
        measured = max(channel, outputs) * REAL_BYTES["float32"]
        switches = network.sbs.count + sum(event.action == "inject_sbs" for event in self.events)
        names = 66 * (switches + 1)  # a path may lead over the switch of a station that has left
        return math.ceil(max(batch, measured)) + FRAME_OVERHEAD_BYTES + names + 4 * (1 + users + stations)

    def _largest_roster(self) -> int:
        """Most small base stations that are in the network at once, as far as `events` say."""
        now = most = self.network.sbs.count
        for _, event in in_order(self.events):
            now += (event.action == "inject_sbs") - (event.action == "remove_sbs")
            most = max(most, now)
        return most

    @property
    def station_names(self) -> list[str]:
        """Names of the SBSs at the start, in the order in which everything that concerns all stations is stacked."""
        return list(self.network.sbs.names or [f"sbs-{index}" for index in range(self.network.sbs.count)])

    def flop_per_s_left(self, station: str) -> float:
        """Computing capacity of the MEC server of a station, or of the MBS, beside its edge services, FLOP/s."""
        host = self.network.mbs if station == MBS_NAME else self.network.sbs
        return host.mec_flop_per_s * (1.0 - services_share(self, station))

    @property
    def link_share_left(self) -> float:
        """Share of each backhaul link's capacity that the uplink does not keep for itself."""
        return 1.0 if self.uplink is None else 1.0 - self.uplink.backhaul_share

    @property
    def realisations(self) -> dict[Literal["train", "validation", "test"], int]:
        """How many realisations a run makes beforehand, by split: none to learn from where it trains nothing."""
        if not self.downlink.algorithm.learns:
            return {}
        sizes = self.channel.realisations
        made: dict[Literal["train", "validation", "test"], int] = {"train": sizes.train} if self.steps else {}
        return made | {"validation": sizes.validation, "test": sizes.test}

    @property
    def steps(self) -> int:
        """Training steps of the whole run: epochs times batches per epoch."""
        if not self.downlink.algorithm.learns:
            return 0
        return self.downlink.epochs * math.ceil(self.channel.realisations.train / self.downlink.batch)
