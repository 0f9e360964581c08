"""The message catalogue: everything that one station may tell another.

Shapes use these letters: S realisations in the batch, N subcarriers, T transmit antennas of a station, I users, R
receive antennas of a user, B stations, K = 1 + I + B learned loss weights (0 where the loss scheme has none). Those of
the uplink: S slots of a burst, I users, D antennas of a station (samples of a codeword), M messages of a user, F blocks
of slots with the same channel.

A station scales its channel by sqrt(P_max / sigma^2) and its beams by 1 / sqrt(P_max) before they leave it: on the
wire, noise power and power budget are both 1. So is the noise in what it received.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
LinkClass: TypeAlias = Literal["backhaul", "air", "control"]
Phase: TypeAlias = Literal["setup", "training", "sharing", "validation", "test", "execution", "control", "uplink"]
PHASES: tuple[Phase, ...] = ("setup", "training", "sharing", "validation", "test", "execution", "control", "uplink")


@dataclass(frozen=True, slots=True)
class Header:
    """What every frame carries beside its message.

    Attributes:
        run: name of the run; a frame of another run is foreign and refused.
        phase: what the frame is for; "training" and "sharing" frames count as training bytes.
        step: training step (round) the frame belongs to; of an "uplink" frame the burst.
        sequence: number of the frame in its sender's book, from 0.
        sender, receiver: station names.
        path: names of the stations from sender to receiver, both included; one link between each two.
        sent_s: simulated time at which the sender hands the frame to its first link, seconds.
        attempt: 0, or the number of the retransmission.
    """

    run: str
    phase: Phase
    step: int
    sequence: int
    sender: str
    receiver: str
    path: tuple[str, ...]
    sent_s: float
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """Base of all messages. `ARRAYS` gives each array field's letters; other fields are scalars, text or plain maps."""

    KIND: ClassVar[str] = ""
    LINK: ClassVar[LinkClass] = "backhaul"
    ARRAYS: ClassVar[dict[str, tuple[str, str]]] = {}


MessageT = TypeVar("MessageT", bound=type[Message])
CATALOGUE: dict[str, type[Message]] = {}


def _catalogued(message: MessageT) -> MessageT:
    CATALOGUE[message.KIND] = message
    return message


@_catalogued
@dataclass(frozen=True, slots=True)
class ChannelReport(Message):
    """SBS -> MBS: the channels H^b of a batch; `channel` [S, N, T, I, R] complex64, in units of sqrt(sigma^2 / P_max).

    `first` is the index of the first realisation where a whole split is uploaded once (cached channels), else 0.
    """

    KIND: ClassVar[str] = "channel_report"
    ARRAYS: ClassVar[dict[str, tuple[str, str]]] = {"channel": ("SNTIR", "complex64")}

    channel: Array
    first: int = 0


@_catalogued
@dataclass(frozen=True, slots=True)
class PolicyOutput(Message):
    """SBS -> MBS: what the policy of one station decided for a batch (19).

    `beams` [S, N, T, I] complex64 in units of sqrt(P_max); `allocation` [S, N, I] float32 in [0, 1]; `beta` [S, K]
    float32.
    """

    KIND: ClassVar[str] = "policy_output"
    ARRAYS: ClassVar[dict[str, tuple[str, str]]] = {
        "beams": ("SNTI", "complex64"),
        "allocation": ("SNI", "float32"),
        "beta": ("SK", "float32"),
    }

    beams: Array
    allocation: Array
    beta: Array


@_catalogued
@dataclass(frozen=True, slots=True)
class LossFeedback(Message):
    """MBS -> SBS: the joint loss (16), what the station needs to differentiate it, and the seed of the next batch.

    With cut-gradient feedback, `gradient_beams` [S, N, T, I] complex64 (dL/dRe + j dL/dIm), `gradient_allocation`
    [S, N, I] and `gradient_beta` [S, K] float32 are dL/d(w^b, v^b, beta^b), and the `other_` arrays are empty. With
    global outputs the gradients are empty, and `other_channels` [O, S, N, T, I, R], `other_beams` [O, S, N, T, I],
    `other_allocations` [O, S, N, I] and `other_beta` [O, S, K] carry what the O = B - 1 other stations uploaded, in
    stacking order. `task_losses` [L = 1 + I + B] are batch means in the order objective, users, stations.
    `hold` tells the station to stop at this round boundary.
    """

    KIND: ClassVar[str] = "loss_feedback"
    ARRAYS: ClassVar[dict[str, tuple[str, str]]] = {
        "task_losses": ("L", "float32"),
        "gradient_beams": ("SNTI", "complex64"),
        "gradient_allocation": ("SNI", "float32"),
        "gradient_beta": ("SK", "float32"),
        "other_channels": ("OSNTIR", "complex64"),
        "other_beams": ("OSNTI", "complex64"),
        "other_allocations": ("OSNI", "float32"),
        "other_beta": ("OSK", "float32"),
    }

    joint_loss: float
    next_seed: int
    hold: bool
    task_losses: Array
    gradient_beams: Array
    gradient_allocation: Array
    gradient_beta: Array
    other_channels: Array
    other_beams: Array
    other_allocations: Array
    other_beta: Array


@_catalogued
@dataclass(frozen=True, slots=True)
class PolicyDecision(Message):
    """MBS -> SBS: the decision y^b for a batch, where the MBS runs the policy (CMTSSL at execution).

    `beams` [S, N, T, I] complex64 in units of sqrt(P_max); `allocation` [S, N, I] float32, 0 or 1.
    """

    KIND: ClassVar[str] = "policy_decision"
    ARRAYS: ClassVar[dict[str, tuple[str, str]]] = {"beams": ("SNTI", "complex64"), "allocation": ("SNI", "float32")}

    beams: Array
    allocation: Array


@_catalogued
@dataclass(frozen=True, slots=True)
class ModelTransfer(Message):
    """SBS -> SBS: a trained model (Algorithm 3): names and arrays of its state, `state[name]`, any shape and dtype.

    SBS -> MBS -> SBS where all stations share one policy: what each has learned, and the average of that.
    """

    KIND: ClassVar[str] = "model_transfer"

    state: dict[str, Array]


@_catalogued
@dataclass(frozen=True, slots=True)
class ReceivedSignal(Message):
    """SBS -> MBS: what a station received in a burst, for the central detection of `service`.

    `signal` [S, D] complex64; `channel` [F, I, D] complex64 to the `users` [I] int32 that it serves, noise power 1.
    Where stations do not know the channels both are empty, and D counts the samples of a codeword at each antenna.
    """

    KIND: ClassVar[str] = "received_signal"
    ARRAYS: ClassVar[dict[str, tuple[str, str]]] = {
        "signal": ("SD", "complex64"),
        "channel": ("FID", "complex64"),
        "users": ("I", "int32"),
    }

    signal: Array
    channel: Array
    users: Array
    service: str = ""


@_catalogued
@dataclass(frozen=True, slots=True)
class SoftDecision(Message):
    """SBS -> MBS: what the `service` of a station believes of a burst.

    Log-probabilities of the messages of `users` [I] int32, `log_probabilities` [S, I, M] float32.
    """

    KIND: ClassVar[str] = "soft_decision"
    ARRAYS: ClassVar[dict[str, tuple[str, str]]] = {"log_probabilities": ("SIM", "float32"), "users": ("I", "int32")}

    log_probabilities: Array
    users: Array
    service: str = ""


@_catalogued
@dataclass(frozen=True, slots=True)
class DetectionResult(Message):
    """MBS -> SBS: messages decided by `service`, `messages` [S, I] int32 of `users` [I] int32; -1 for a silent user."""

    KIND: ClassVar[str] = "detection_result"
    ARRAYS: ClassVar[dict[str, tuple[str, str]]] = {"messages": ("SI", "int32"), "users": ("I", "int32")}

    messages: Array
    users: Array
    service: str = ""


@_catalogued
@dataclass(frozen=True, slots=True)
class UplinkBurst(Message):
    """Users -> SBS, over the air: `codewords` [S, I, D] complex64 of a burst of S slots, sent by `users` [I] int32.

    Where codewords stand in a table that everybody has, as the pilots of massive access do, the frame names them:
    `messages` [S, I] int32 are their numbers, and `codewords` [S, I, 1] what each is multiplied with.
    """

    KIND: ClassVar[str] = "uplink_burst"
    LINK: ClassVar[LinkClass] = "air"
    ARRAYS: ClassVar[dict[str, tuple[str, str]]] = {
        "codewords": ("SID", "complex64"),
        "users": ("I", "int32"),
        "messages": ("SI", "int32"),
    }

    codewords: Array
    users: Array
    messages: Array = field(default_factory=lambda: np.empty((0, 0), np.int32))


@_catalogued
@dataclass(frozen=True, slots=True)
class CodebookAssignment(Message):
    """SBS -> users, over the air: `codebook` [I, M, D] complex64, the codewords of `users` [I] int32."""

    KIND: ClassVar[str] = "codebook_assignment"
    LINK: ClassVar[LinkClass] = "air"
    ARRAYS: ClassVar[dict[str, tuple[str, str]]] = {"codebook": ("IMD", "complex64"), "users": ("I", "int32")}

    codebook: Array
    users: Array


@_catalogued
@dataclass(frozen=True, slots=True)
class Join(Message):
    """SBS -> MBS: the station is ready. `parameters` counts its model's, `flops_per_realisation` its forward pass."""

    KIND: ClassVar[str] = "join"
    LINK: ClassVar[LinkClass] = "control"

    parameters: int
    flops_per_realisation: int


@_catalogued
@dataclass(frozen=True, slots=True)
class Admit(Message):
    """MBS -> SBS: the roster of stations that the next round waits for, in stacking order, and its batch seed."""

    KIND: ClassVar[str] = "admit"
    LINK: ClassVar[LinkClass] = "control"

    roster: tuple[str, ...]
    next_seed: int


@_catalogued
@dataclass(frozen=True, slots=True)
class Leave(Message):
    """SBS -> MBS: the station leaves at the next round boundary; `reason` is for people."""

    KIND: ClassVar[str] = "leave"
    LINK: ClassVar[LinkClass] = "control"

    reason: str


@_catalogued
@dataclass(frozen=True, slots=True)
class Heartbeat(Message):
    """SBS -> MBS, or MBS -> SBS: alive at simulated time `now_s`; also the acknowledgement of a measurement."""

    KIND: ClassVar[str] = "heartbeat"
    LINK: ClassVar[LinkClass] = "control"

    now_s: float
