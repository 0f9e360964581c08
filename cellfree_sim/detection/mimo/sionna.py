"""Sionna's detectors under the same protocol, to compare with. They need the `sionna-no-rt` or `sionna` package."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from cellfree_sim.detection.detector import Algorithm, Detection, DetectorOptions
from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario.extensions import DETECTORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from cellfree_sim.uplink.mimo import MimoProblem


@DETECTORS.register
class SionnaLmmse(DetectorOptions):
    """Sionna's LinearDetector with its LMMSE equalizer."""

    name: Literal["sionna-lmmse"] = "sionna-lmmse"

    def build(self, problem: MimoProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        labels = _Labels(self.name, problem)

        def make(users: int, device: str) -> Any:
            return labels.module.LinearDetector("lmmse", "symbol", "app", **labels.qam, device=device)

        return _algorithm(make, lambda out: Detection.of(labels.in_our_order(out)))


@DETECTORS.register
class SionnaEp(DetectorOptions):
    """Sionna's EPDetector."""

    name: Literal["sionna-ep"] = "sionna-ep"
    iterations: int = Field(10, ge=1, le=10_000, description="Sionna's l")
    smoothing: float = Field(0.9, ge=0, lt=1, description="Sionna's beta: the weight of the old messages")

    def build(self, problem: MimoProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        labels = _Labels(self.name, problem)

        def make(users: int, device: str) -> Any:
            return labels.module.EPDetector(
                "symbol", labels.bits, l=self.iterations, beta=self.smoothing, device=device
            )

        return _algorithm(make, lambda out: Detection.of(labels.in_our_order(out), iterations=self.iterations))


@DETECTORS.register
class SionnaKBest(DetectorOptions):
    """Sionna's KBestDetector: users sorted by the norms of their channels. It gives hard decisions here."""

    overloaded: ClassVar[bool] = False
    name: Literal["sionna-kbest"] = "sionna-kbest"
    survivors: int = Field(64, ge=1, le=1 << 20, description="Sionna's k")
    real: bool = Field(False, description="search the real-valued form, one part of a symbol after the other")

    def build(self, problem: MimoProblem) -> Algorithm:
        """See `DetectorOptions.build`."""
        labels = _Labels(self.name, problem)
        points = 1 << labels.bits

        def make(users: int, device: str) -> Any:
            return labels.module.KBestDetector(
                "symbol",
                users,
                min(self.survivors, points**users),
                **labels.qam,
                hard_out=True,
                use_real_rep=self.real,
                device=device,
            )

        return _algorithm(make, lambda out: Detection.hard(labels.our_messages(out), points))


class _Labels:
    """Sionna's module of detectors, and which of its points is which message of the problem."""

    def __init__(self, detector: str, problem: MimoProblem) -> None:
        try:
            self.module, mapping = _import("sionna.phy.mimo"), _import("sionna.phy.mapping")
        except ImportError as error:
            raise DetectorError(f"detector '{detector}': it needs Sionna: pip install sionna-no-rt ({error})") from None
        points = problem.constellation
        self.bits = len(points).bit_length() - 1
        if len(points) != 1 << self.bits or self.bits % 2:
            raise _not_qam(detector)
        self.qam = {"constellation_type": "qam", "num_bits_per_symbol": self.bits}
        theirs = mapping.Constellation("qam", self.bits, precision="single", device="cpu")()
        distance = (points.unsqueeze(-1) - theirs).abs()
        if distance.min(dim=-1).values.max() > 1e-3:
            raise _not_qam(detector)
        self.theirs = distance.argmin(dim=-1)
        self.ours = distance.argmin(dim=0)

    def in_our_order(self, logits: Tensor) -> Tensor:
        return logits[..., self.theirs.to(logits.device)]

    def our_messages(self, indices: Tensor) -> Tensor:
        messages: Tensor = self.ours.to(indices.device)[indices.long()]
        return messages


def _import(module: str) -> Any:
    """A module of Sionna. Its first import seeds torch's global generators at random; they are put back."""
    import torch

    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        return importlib.import_module(module)


def _not_qam(detector: str) -> DetectorError:
    return DetectorError(f"detector '{detector}': found other points; allowed: square QAM of unit power")


def _algorithm(make: Callable[[int, str], Any], answer: Callable[[Tensor], Detection]) -> Algorithm:
    """A detector from a Sionna block for a number of users and a device, and what its output says; blocks are kept."""
    blocks: dict[tuple[int, str], Any] = {}

    def detect(y: Tensor, h: Tensor, noise_variance: Tensor) -> Detection:
        import torch

        key = (h.shape[-1], str(y.device))
        if key not in blocks:
            blocks[key] = make(*key)
        one = torch.eye(h.shape[1], dtype=h.dtype, device=h.device)
        return answer(blocks[key](y, h, noise_variance[:, None, None] * one))

    return detect
