"""Training of a learned detector: what it is trained on, and how.

What all trainings share is `DetectorTraining`; each family of problems has its own section, with what is sent as
further keys. What is drawn in an iteration is not said here, but in `cellfree_sim.detection.learned.curricula`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from cellfree_sim.registry import Choice, MisfitError
from cellfree_sim.scenario.extensions import CODEBOOKS, DETECTORS, MMTC_DETECTORS, NOMA_DETECTORS, detectors_of
from cellfree_sim.scenario.parts import Section
from cellfree_sim.scenario.suggest import on_one_line

_HARDER_DB = {"qpsk": -7.0, "qam16": 0.0, "qam64": 7.0, "qam256": 14.0}
_Rate = Annotated[int, Field(ge=1, le=8)]
_Chance = Annotated[float, Field(gt=0, le=1)]
_Weight = Annotated[float, Field(ge=0, le=1e6)]
Decibels = Annotated[float, Field(ge=-100, le=100)]


class DetectorTraining(Section):
    """How a learned detector is trained, whatever on: AdamW with one cycle of the learning rate, fresh slots."""

    family: ClassVar[str]

    detector: Any
    iterations: int = Field(300, ge=1, le=100_000_000, description="batches, one step of the optimiser each")
    batch: int = Field(300, ge=1, le=1_000_000, description="slots in a batch")
    learning_rate: float = Field(1e-2, gt=0, le=10, description="of AdamW, the peak of its one cycle")
    weight_decay: float = Field(0.0, ge=0, le=10, description="of AdamW")
    gradient_clip: float | None = Field(1.0, gt=0, description="largest norm of the gradient")
    mixed_precision: bool = Field(False, description="bfloat16 where autocast takes it")
    compile: bool = Field(False, description="torch.compile: slow to begin, for long trainings of large networks")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU if there is one")
    report_every: int = Field(10, ge=1, le=1_000_000, description="iterations in a point of the training curve")
    checkpoint_every: int = Field(500, ge=1, le=100_000_000, description="iterations between two checkpoints")

    @field_validator("detector")
    @classmethod
    def _learns(cls, detector: Any) -> Any:
        if not getattr(detector, "learned", False):
            registry = detectors_of(cls.family)
            names = [name for name in registry.names() if getattr(registry.type_of(name), "learned", False)]
            raise ValueError(f"found '{detector.name}', which has nothing to learn; allowed: {', '.join(names)}")
        if detector.checkpoint is not None:
            found = on_one_line(repr(detector.checkpoint), 200)
            raise ValueError(f"found the checkpoint {found}, but training starts from random weights; allowed: none")
        return detector


class MimoTraining(DetectorTraining):
    """Fresh slots in every iteration: the number of users, the correlation and the SNR are drawn from what is here.

    The slots of a batch have the same number of users, drawn with a probability proportional to it, because all of them
    are detected; correlation and SNR differ within a batch.
    """

    family: ClassVar[str] = "mimo"

    detector: Annotated[Any, Choice(DETECTORS)] = Field("oampnet2", description="the learned detector")
    n_rx: int = Field(64, ge=1, le=4096, description="receive antennas")
    n_tx: list[Annotated[int, Field(ge=1, le=4096)]] = Field([16], min_length=1, max_length=4096, description="users")
    constellation: Literal["qpsk", "qam16", "qam64", "qam256"] = Field("qam16", description="of all users")
    channel: Literal["rayleigh", "awgn"] = Field("rayleigh", description="fading, or none")
    correlated: Literal["none", "receive", "full"] = Field("none", description="which side has correlated antennas")
    correlation: list[Annotated[float, Field(ge=0, le=0.9999)]] = Field(
        [0.0], min_length=1, max_length=1000, description="rho of the exponential correlation, any of these"
    )
    csi_error: float = Field(0.0, ge=0, le=1e6, description="error variance of the known channels over their own")
    snr_db: tuple[Decibels, Decibels] | None = Field(
        None, description="from, to; by default n_tx/8 + [6, 13] dB for qam16, 7 dB less or more for the next ones"
    )
    snr_offset_db: float = Field(0.0, ge=-100, le=100, description="added to the SNR, as correlated channels need")

    @model_validator(mode="after")
    def _it_fits_together(self) -> MimoTraining:
        if self.correlated == "none" and any(self.correlation):
            raise MisfitError(("correlation",), "found a correlation, but correlated is none; allowed: [0]")
        if self.correlated != "none" and self.channel == "awgn":
            raise MisfitError(("correlated",), f"found '{self.correlated}' with the channel awgn; allowed: none")
        if self.snr_db is not None and self.snr_db[0] > self.snr_db[1]:
            raise MisfitError(("snr_db",), f"found {[*self.snr_db]}; allowed: from the lower to the higher")
        most = max(self.n_tx)
        if not self.detector.overloaded and most > self.n_rx:
            raise MisfitError(("n_tx",), f"found {most}; allowed: at most n_rx, {self.n_rx}", because=("n_rx",))
        for size in sorted({"n_tx"} & set(self.detector.sizes)):
            if len(set(self.n_tx)) > 1:
                found = f"found {len(set(self.n_tx))} numbers of users"
                raise MisfitError((size,), f"{found}; allowed: one, as detector {self.detector.name} serves no other")
        return self

    def snr_range_db(self, users: int) -> tuple[float, float]:
        """Lowest and highest SNR at a number of users, dB.

        >>> MimoTraining(detector="oampnet2").snr_range_db(16)
        (8.0, 15.0)
        """
        if self.snr_db is not None:
            low, high = self.snr_db
        else:
            low = users / 8 + 6 + _HARDER_DB[self.constellation]
            high = low + 7
        return low + self.snr_offset_db, high + self.snr_offset_db


class MmtcTraining(DetectorTraining):
    """Fresh frames in every iteration, of one problem of massive machine-type communication: see `MmtcProblem`.

    The pilots of `pilot_seed` are the same in all of them; networks with a few scalars for each layer serve any others.
    """

    family: ClassVar[str] = "mmtc"

    detector: Annotated[Any, Choice(MMTC_DETECTORS)] = Field("cov-net", description="the learned detector")
    devices: int = Field(100, ge=1, le=100_000, description="devices, most of them silent")
    bits: int = Field(1, ge=1, le=8, description="of a message: a device has 2^bits pilots")
    pilot_length: int = Field(40, ge=1, le=100_000, description="samples of a pilot")
    antennas: int = Field(16, ge=1, le=4096, description="of the receiver, all stations together")
    activity: float = Field(0.1, gt=0, le=0.999, description="probability that a device is active in a frame")
    pilots: Literal["gaussian", "dft"] = Field("gaussian", description="random, or random rows of a Fourier matrix")
    pilot_seed: int = Field(1, ge=0, le=2**63 - 1, description="of the pilots, and of fixed positions")
    gains: Literal["known", "estimated", "unknown"] = Field("known", description="large-scale gains at the receiver")
    gain_error_db: float = Field(0.0, ge=0, le=100, description="standard deviation of estimated gains")
    positions: Literal["fresh", "fixed"] = Field("fresh", description="new in each frame, or one drop")
    power: Literal["per-pilot", "per-symbol"] = Field(
        "per-pilot", description="what the transmit power is the energy of"
    )
    power_dbm: float = Field(23.0, ge=-200, le=200, description="transmit power")
    stations: int = Field(1, ge=1, le=4096, description="over which the antennas are spread evenly")
    ring_km: float = Field(0.5, ge=0, le=1e4, description="radius of the ring of several stations")
    iterations: int = Field(100, ge=1, le=100_000_000, description="batches, one step of the optimiser each")
    batch: int = Field(32, ge=1, le=1_000_000, description="frames in a batch")
    learning_rate: float = Field(0.1, gt=0, le=10, description="of AdamW, the peak of its one cycle")

    @model_validator(mode="after")
    def _it_fits_together(self) -> MmtcTraining:
        if (self.gain_error_db > 0) != (self.gains == "estimated"):
            allowed = "above 0" if self.gains == "estimated" else "0"
            found = f"found {self.gain_error_db:g} with {self.gains} gains"
            raise MisfitError(("gain_error_db",), f"{found}; allowed: {allowed}", because=("gains",))
        if self.antennas % self.stations:
            found = f"found {self.stations}; allowed: a divisor of the antennas, {self.antennas}"
            raise MisfitError(("stations",), found, because=("antennas",))
        return self


class NomaTraining(DetectorTraining):
    """Fresh slots in every iteration, of one problem of grant-free NOMA: see `NomaProblem`.

    A codebook that is learned is trained together with the receiver, and kept in the file beside it; any other is what
    the receiver learns to detect. The SNRs of a batch are spread over their range.
    """

    family: ClassVar[str] = "noma"

    detector: Annotated[Any, Choice(NOMA_DETECTORS)] = Field("pda-net", description="the learned receiver")
    codebook: Annotated[Any, Choice(CODEBOOKS)] = Field("wbe", description="of the users: computed, or learned, too")
    users: int = Field(6, ge=1, le=1024, description="all of them, whether they send or not")
    resources: int = Field(4, ge=1, le=1024, description="samples of a codeword")
    rates: _Rate | list[_Rate] = Field(2, description="bits of a message, of all users or of each")
    activity: _Chance | list[_Chance] | None = Field(None, description="how often a user sends; null: always")
    channel: Literal["awgn", "flat", "rayleigh"] = Field("awgn", description="no fading, flat, or on each resource")
    antennas: int = Field(1, ge=1, le=256, description="of the receiver")
    energy: Literal["unit", "resources"] = Field("unit", description="of a codeword: 1, or the number of resources")
    csi_error: float = Field(0.0, ge=0, le=1e6, description="error variance of the known channels over their own")
    repeated: list[Annotated[int, Field(ge=1, le=64)]] = Field(
        [1], min_length=1, max_length=64, description="also so many times the users and resources, a batch of each"
    )
    snr_db: tuple[Decibels, Decibels] = Field((0.0, 25.0), description="from, to")
    code_learning_rate: float = Field(3e-2, gt=0, le=10, description="peak, of what is learned of the codebook")
    loss: Literal["sum", "focal", "paper", "mse"] = Field(
        "sum", description="of users' cross-entropies: their sum, the worst first, (21) of Mul-VAE; or squared errors"
    )
    gamma: float = Field(2.0, ge=0, le=100, description="exponent of the losses focal and paper")
    fairness: Literal["none", "mse", "conditional"] = Field(
        "none", description="what users are made equal in: squared errors, or those of a user that sends"
    )
    fairness_weight: _Weight | list[_Weight] = Field(1.0, description="of the distance to the mean, one or each user's")
    iterations: int = Field(800, ge=1, le=100_000_000, description="batches, one step of the optimiser each")
    batch: int = Field(256, ge=1, le=1_000_000, description="slots in a batch")
    learning_rate: float = Field(6e-3, gt=0, le=10, description="of AdamW, the peak of its one cycle")
    gradient_clip: float | None = Field(5.0, gt=0, description="largest norm of the gradient")

    @model_validator(mode="after")
    def _it_fits_together(self) -> NomaTraining:
        for key in ("rates", "activity", "fairness_weight"):
            value = getattr(self, key)
            if isinstance(value, list) and len(value) != self.users:
                raise MisfitError((key,), f"found {len(value)} values; allowed: one, or {self.users}, of each user")
        if self.snr_db[0] > self.snr_db[1]:
            raise MisfitError(("snr_db",), f"found {[*self.snr_db]}; allowed: from the lower to the higher")
        learns = getattr(self.codebook, "learned", False)
        if self.repeated != [1] and (learns or not self.detector.any_code):
            why = "codebook is learned" if learns else f"detector {self.detector.name} serves one codebook"
            raise MisfitError(("repeated",), f"found {self.repeated}; allowed: [1], as the {why}")
        if self.detector.name == "map-trained" and not learns:
            found = f"found '{self.codebook.name}', and a receiver with nothing to learn"
            raise MisfitError(("codebook",), f"{found}; allowed: a codebook that is learned")
        if learns and self.codebook.file is not None:
            found = f"found the file {on_one_line(repr(self.codebook.file), 200)}"
            raise MisfitError(("codebook", "file"), f"{found}, but training makes one; allowed: none")
        return self
