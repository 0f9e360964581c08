"""The link of a scenario for grant-free NOMA: codes and receivers measured together, on the same frames.

link:
  family: noma
  problem: {users: 6, resources: 4, activity: [0.8, 0.8, 0.8, 0.4, 0.4, 0.4], channel: flat}
  schemes: [{codebook: wbe, detector: mmse-sic}, {codebook: searched, detector: kbest}]
  snr_db: [10, 15, 20, 25]
  rate: ber
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cellfree_sim.registry import Choice, MisfitError
from cellfree_sim.scenario.extensions import CODEBOOKS, NOMA_DETECTORS
from cellfree_sim.scenario.link import LinkSection, Snr
from cellfree_sim.scenario.parts import Section
from cellfree_sim.scenario.training import NomaTraining

Rate = Annotated[int, Field(ge=1, le=8)]
Chance = Annotated[float, Field(ge=1e-6, le=1)]
Power = Annotated[float, Field(ge=-200, le=200)]


class NomaLinkProblem(Section):
    """What is sent, over which channel: the arguments of `cellfree_sim.uplink.NomaProblem`, but for the codebook."""

    users: int = Field(6, ge=1, le=1024, description="users, any of which may be silent")
    resources: int = Field(4, ge=1, le=1024, description="samples of a codeword")
    rates: Rate | list[Rate] = Field(2, description="bits of a message: of all users, or of each")
    activity: Chance | list[Chance] | None = Field(
        None, description="probability that a user sends: of all, or of each; none: all always do"
    )
    channel: Literal["awgn", "flat", "rayleigh"] = Field(
        "awgn", description="no fading, one coefficient for each user, or one on each resource"
    )
    csi_error: float = Field(0.0, ge=0, le=1e6, description="power of the error of the known channel: 0.01 is -20 dB")
    received_power_db: Power | list[Power] = Field(0.0, description="of all users, or of each")
    antennas: int = Field(1, ge=1, le=256, description="of the receiver")
    energy: Literal["unit", "resources"] = Field("unit", description="of a codeword: 1, or the number of resources")

    @model_validator(mode="after")
    def _one_for_each_user(self) -> NomaLinkProblem:
        for key in ("rates", "activity", "received_power_db"):
            value = getattr(self, key)
            if isinstance(value, list) and len(value) != self.users:
                found = f"found {len(value)} values; allowed: one, or one for each of {self.users} users"
                raise MisfitError((key,), found, because=("users",))
        return self

    def options(self) -> dict[str, Any]:
        """The arguments of `NomaProblem`, by name, but for the codebook."""
        values = {key: getattr(self, key) for key in type(self).model_fields}
        return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


class Scheme(Section):
    """A code and its receiver; with a training section, those that it makes, trained by the scenario's seed."""

    name: str | None = Field(None, min_length=1, max_length=60, description="<codebook> + <detector> by default")
    codebook: Annotated[Any, Choice(CODEBOOKS)] = Field("wbe", description="what users send for their messages")
    detector: Annotated[Any, Choice(NOMA_DETECTORS)] = Field("mmse-sic", description="the receiver")
    training: NomaTraining | None = Field(
        None, description="what makes both first; they are then what it says, unless `code_alone` leaves the receiver"
    )
    code_alone: bool = Field(False, description="of the training, only the codebook is taken")

    @property
    def label(self) -> str:
        """What it is called in tables and figures."""
        made = self.training
        codebook = self.codebook if made is None else made.codebook
        detector = self.detector if made is None or self.code_alone else made.detector
        return self.name or f"{codebook.label} + {detector.label}"


class NomaLink(LinkSection):
    """A link-level measurement of codes and receivers of grant-free NOMA on the same frames."""

    family: Literal["noma"] = Field(description="the family of problems")
    problem: NomaLinkProblem = Field(default_factory=NomaLinkProblem)
    schemes: list[Scheme] = Field(
        default_factory=lambda: [Scheme()], min_length=1, max_length=100, description="measured on the same frames"
    )
    snr_db: list[Snr] = Field([10.0, 20.0], min_length=1, max_length=200, description="1 / noise variance of a sample")
    frames_max: int = Field(20_000, ge=1, le=10**9, description="frames at one SNR, at most")
    target_errors: int | None = Field(
        500, ge=1, le=10**9, description="a scheme with so many errors gets no more frames; none: it gets all"
    )
    batch: int = Field(4000, ge=1, le=10**6, description="frames at a time")
    rate: Literal["ber", "ser", "bler", "ber_missed"] = Field(
        "ber", description="that counts: bits of active users, answers of all users, messages, or bits with misses"
    )

    @model_validator(mode="after")
    def _labels_differ(self) -> NomaLink:
        labels = [scheme.label for scheme in self.schemes]
        for index, label in enumerate(labels):
            if label in labels[:index]:
                found = f"found a second scheme '{label}'; allowed: names that differ (key name)"
                raise MisfitError(("schemes", index), found)
        return self
