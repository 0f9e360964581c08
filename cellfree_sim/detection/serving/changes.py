"""A service is told of another activity of the users, with a detector that was trained for it, while it serves.

Requests of earlier bursts are still served as they were sent: for each burst from which on something else holds for a
service, it has one more model, ``<service>@<burst>`` beside ``<service>``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellfree_sim.scenario.extensions import CODEBOOKS, detectors_of

if TYPE_CHECKING:
    from cellfree_sim.detection.detector import DetectorOptions
    from cellfree_sim.uplink.codebook import CodebookOptions


@dataclass(frozen=True)
class Change:
    """What holds for a service from a burst on.

    Attributes:
        burst: the first one.
        service: its name.
        detector: what it detects with.
        activity: how often each user sends, as the service believes.
        codebook: what all users send from then on; None where that stays as it is. All services are told of it.
    """

    burst: int
    service: str
    detector: DetectorOptions
    activity: tuple[float, ...]
    codebook: CodebookOptions | None = None

    def packed(self) -> dict[str, Any]:
        """Plain values, from which `unpacked` makes it again."""
        codebook = self.codebook
        return {
            "burst": self.burst,
            "service": self.service,
            "detector": self.detector.model_dump(mode="json"),
            "activity": list(self.activity),
            "codebook": None if codebook is None else codebook.model_dump(mode="json"),
        }

    @classmethod
    def unpacked(cls, family: str, values: Mapping[str, Any]) -> Change:
        """See `packed`; of a family of problems."""
        detector, codebook = values["detector"], values["codebook"]
        return cls(
            burst=int(values["burst"]),
            service=str(values["service"]),
            detector=detectors_of(family).type_of(detector["name"]).model_validate(detector),
            activity=tuple(float(p) for p in values["activity"]),
            codebook=None if codebook is None else CODEBOOKS.type_of(codebook["name"]).model_validate(codebook),
        )


def service_of(model: str) -> str:
    """The service that a model is of.

    >>> service_of("local@20"), service_of("local")
    ('local', 'local')
    """
    return model.partition("@")[0]
