"""The link of a scenario: detectors measured at single points, without a network around them.

link:
  problem: {n_rx: 64, n_tx: 16, constellation: qam16}
  detectors: [lmmse, {name: ep, iterations: 30, damping: 0.7}, {name: kbest, survivors: 64}]
  snr_db: [9, 11, 13]
  slots_max: 100000
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cellfree_sim.registry import Choice, MisfitError
from cellfree_sim.scenario.extensions import DETECTORS
from cellfree_sim.scenario.parts import Section

Snr = Annotated[float, Field(ge=-200, le=200)]


class LinkProblem(Section):
    """What is sent, over which channel: the arguments of `cellfree_sim.uplink.MimoProblem`."""

    n_rx: int = Field(64, ge=1, le=4096, description="receive antennas")
    n_tx: int = Field(16, ge=1, le=4096, description="users, with one antenna each")
    constellation: Literal["qpsk", "qam16", "qam64", "qam256"] = Field("qam16", description="of all users")
    channel: Literal["rayleigh", "awgn"] = Field("rayleigh", description="awgn: no fading, one gain for all")
    correlation: float = Field(0.0, ge=0, le=0.9999, description="rho^|i-j| between antennas i and j")
    correlated: Literal["none", "full", "receive"] = Field(
        "none", description="between the receiver's antennas, or between users, too (full)"
    )
    csi_error: float = Field(0.0, ge=0, le=1e6, description="power of the error of the known channel: 0.01 is -20 dB")
    block: int = Field(1, ge=1, le=1_000_000, description="slots in a row with the same channel")

    @model_validator(mode="after")
    def _correlation_has_a_place(self) -> LinkProblem:
        if self.channel == "awgn" and self.correlated != "none":
            raise MisfitError(
                ("correlated",), f"found {self.correlated} with the channel awgn; allowed: none", because=("channel",)
            )
        if self.correlation and self.correlated == "none":
            allowed = "0, or correlated: receive or full"
            raise MisfitError(
                ("correlation",), f"found {self.correlation:g}, but correlated is none; allowed: {allowed}"
            )
        return self

    def options(self) -> dict[str, Any]:
        """The arguments of `MimoProblem`, by name."""
        return self.model_dump()


class LinkSection(Section):
    """A link-level measurement, of whichever family of problems: `link_families` has all of them."""

    family: str
    batch: int = Field(1000, ge=1, le=10**6, description="slots at a time")


class Link(LinkSection):
    """A link-level measurement: error rates of detectors on the same slots."""

    family: Literal["mimo"] = Field("mimo", description="the family of problems")
    problem: LinkProblem = Field(default_factory=LinkProblem)
    detectors: list[Annotated[Any, Choice(DETECTORS)]] = Field(
        ["lmmse", "ep", "kbest"], min_length=1, max_length=100, description="measured on the same slots"
    )
    snr_db: list[Snr] = Field([9.0, 11.0, 13.0], min_length=1, max_length=200, description="of E|Hx|^2 over E|noise|^2")
    slots_max: int = Field(10_000, ge=1, le=10**9, description="slots at one SNR, at most")
    target_errors: int | None = Field(
        500, ge=1, le=10**9, description="a detector with so many wrong symbols gets no more slots; none: it gets all"
    )

    @model_validator(mode="after")
    def _detectors_differ(self) -> Link:
        for index, detector in enumerate(self.detectors):
            if detector in self.detectors[:index]:
                raise MisfitError(("detectors", index), f"found {detector.name} again, with the same options")
        return self

    @model_validator(mode="after")
    def _whole_blocks(self) -> Link:
        if self.slots_max < self.problem.block:
            raise MisfitError(
                ("slots_max",),
                f"found {self.slots_max}; allowed: at least one block of {self.problem.block} slots",
                because=("problem", "block"),
            )
        return self

    def labelled(self) -> dict[str, Any]:
        """The options of each detector by its name, with what differs in parentheses where a name comes twice.

        >>> link = Link(detectors=["ep", {"name": "kbest", "survivors": 16}, {"name": "kbest"}])
        >>> list(link.labelled())
        ['ep', 'kbest (survivors 16)', 'kbest']
        """
        return labelled(self.detectors)


def labelled(detectors: Sequence[Any]) -> dict[str, Any]:
    """Options of detectors by their names, with what differs in parentheses where a name comes twice."""
    names = [detector.label for detector in detectors]
    return {
        detector.label if names.count(detector.label) == 1 else _label(detector): detector for detector in detectors
    }


def _label(detector: Any) -> str:
    fields = type(detector).model_fields
    chosen = [
        f"{key} {getattr(detector, key)}"
        for key in fields
        if key != "name" and getattr(detector, key) != fields[key].default
    ]
    return f"{detector.name} ({', '.join(chosen)})" if chosen else str(detector.name)
