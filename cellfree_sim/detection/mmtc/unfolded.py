"""Learned detectors of activity and data: AMP unfolded (DL-mAMPnet, AMP-net), and covariance message passing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from cellfree_sim.detection.detector import Detection
from cellfree_sim.detection.learned.base import Learned, cross_entropies
from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario.extensions import MMTC_DETECTORS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cellfree_sim.uplink.mmtc import MmtcProblem
    from cellfree_sim.uplink.problem import Batch

NUMBERS_AT_ONCE = 2**24
"""Complex numbers of the largest array that a network makes at once, so that memory does not grow with the frames."""


class MmtcLearned(Learned):
    """What the networks for mMTC share: frames instead of slots, gains that may be unknown, and their loss."""

    recipe: ClassVar[dict[str, Any]] = {"iterations": 100, "learning_rate": 0.1}
    """How it is trained where nobody says how."""

    supervision: float = Field(0.3, ge=0, le=100, description="weight in training of the layers before the last")

    def loss(self, scores: list[Tensor], messages: Tensor) -> Tensor:
        """Cross-entropy of the last layer, and `supervision` times the mean of those before it."""
        each = cross_entropies(scores, messages)
        return each[-1] + self.supervision * each[:-1].mean() if len(each) > 1 else each[-1]

    def check_sizes(self, problem: Any, y: Tensor, h: Any) -> None:
        """See `Learned.check_sizes`: a problem of mMTC lets no other sizes pass."""

    def detect(self, network: Any, y: Tensor, h: Tensor | None, noise_variance: Tensor) -> Detection:
        """See `Learned.detect`."""
        import torch

        at_once = max(1, NUMBERS_AT_ONCE // self.numbers(network, y))
        starts = range(0, len(y), at_once)
        scores = [
            self.scores(
                network, *(None if each is None else each[at : at + at_once] for each in (y, h, noise_variance))
            )
            for at in starts
        ]
        return Detection.of(torch.cat(scores), iterations=getattr(self, "layers", None))

    def scores(self, network: Any, y: Any, h: Any, noise_variance: Any) -> Tensor:
        """Scores [S, N, 1 + Q] of a few frames."""
        last: Tensor = network(y, h, noise_variance)[-1]
        return last

    def numbers(self, network: Any, y: Tensor) -> int:
        """Complex numbers that a frame of `y` [S, L, M] takes in `network`."""
        return int(network.states * (y.shape[1] + y.shape[2]))


@MMTC_DETECTORS.register
class AmpNet(MmtcLearned):
    """AMP with the exact denoiser of each device's pilots, unfolded: seven learned scalars in each layer."""

    recipe: ClassVar[dict[str, Any]] = {"iterations": 200, "learning_rate": 0.1}
    name: Literal["amp-net"] = "amp-net"
    layers: int = Field(8, ge=1, le=1000, description="each an iteration of AMP")

    def network(self, problem: MmtcProblem) -> nn.Module:
        """See `Learned.network`."""
        from cellfree_sim.detection.mmtc.networks.gains import GainBelief
        from cellfree_sim.detection.mmtc.networks.message_passing import MessagePassingNet

        antennas = problem.antennas // problem.stations
        return MessagePassingNet(problem.operator, problem.activities(), GainBelief(problem), antennas, self.layers)


@MMTC_DETECTORS.register
class CovNet(MmtcLearned):
    """Soft covariance message passing, unfolded: three learned scalars in each layer.

    Each layer gives the states of every device their posterior from the covariance of what the antennas received, with
    the others' soft part of it explained. It needs a few layers for one bit, and two more for two; where pilots are
    short, ascent of the likelihood (`finish`) repairs what is left.
    """

    of_use: ClassVar[frozenset[str]] = frozenset({"name", "checkpoint", "precision", "finish"})
    name: Literal["cov-net"] = "cov-net"
    layers: int = Field(4, ge=1, le=1000, description="each with one factorisation of the covariance of a frame")
    precision: Literal["auto", "single", "double"] = Field(
        "auto", description="of the covariances; auto takes double where a gain is more than 60 dB over the noise"
    )
    finish: Literal["none", "map-cd"] = Field(
        "none", description="coordinate ascent of the likelihood after the layers"
    )

    def network(self, problem: MmtcProblem) -> nn.Module:
        """See `Learned.network`."""
        from cellfree_sim.detection.mmtc.networks.covariance import MAX_LENGTH, CovarianceNet
        from cellfree_sim.detection.mmtc.networks.gains import GainBelief

        if problem.pilot_length > MAX_LENGTH:
            found = f"found pilot_length {problem.pilot_length}; allowed: at most {MAX_LENGTH}"
            raise DetectorError(f"detector '{self.name}': {found}, for a covariance of that size squared, or amp-net")
        belief = GainBelief(problem)
        return CovarianceNet(problem.codebook, problem.activities(), belief, self.layers, self.precision)

    def scores(self, network: Any, y: Any, h: Any, noise_variance: Any) -> Tensor:
        """See `MmtcLearned.scores`."""
        last = super().scores(network, y, h, noise_variance)
        if self.finish == "none":
            return last
        finished: Tensor = network.finished(y, h, noise_variance, last.argmax(dim=-1))
        return finished


@MMTC_DETECTORS.register
class DlMampNet(MmtcLearned):
    """DL-mAMPnet (Ma, Wu, Gao and Shen): dense filters over all real entries, a refinement module, and one pilot set.

    It is trained in phases as published: each layer on the mean squared error with those before it fixed, then the
    refinement module on the cross-entropy, then everything. Its denoisers look at one entry each and cannot add up what
    the antennas say, so that damped AMP with the right prior makes fewer errors.
    """

    sizes: ClassVar[frozenset[str]] = frozenset(
        {"devices", "bits", "pilot_length", "antennas", "pilots", "pilot_seed", "stations", "positions"}
    )
    recipe: ClassVar[dict[str, Any]] = {"iterations": 1500, "batch": 128, "learning_rate": 3e-3}
    name: Literal["dl-mampnet"] = "dl-mampnet"
    layers: int = Field(4, ge=1, le=100, description="of AMP, before the refinement module")
    shared: bool = Field(False, description="the filter of a layer is the same for all antennas")
    last_phases: int = Field(2, ge=1, le=100, description="length of the joint phase of training, in those of a layer")

    @property
    def phases(self) -> tuple[int, ...]:
        """See `Learned.phases`."""
        return (*(1 for _ in range(self.layers + 1)), self.last_phases)

    def network(self, problem: MmtcProblem) -> nn.Module:
        """See `Learned.network`. First gains are what a few frames say: their energy over that of the noise."""
        import torch

        from cellfree_sim.detection.mmtc.networks.dense import MAX_NUMBERS, DenseNet, learned_numbers

        sizes = (problem.devices, problem.per_device, problem.pilot_length, problem.antennas, self.layers)
        count = learned_numbers(*sizes, shared=self.shared)
        if count > MAX_NUMBERS:
            other = "fewer devices, or another detector" if self.shared else "shared: true, or another detector"
            found = f"found a network of {count} numbers for {problem.devices} devices"
            raise DetectorError(f"detector '{self.name}': {found}; allowed: up to {MAX_NUMBERS}, or {other}")
        chance = float(problem.activities().mean())
        frames = problem.sample(256, generator=torch.Generator().manual_seed(0))
        energy = float(frames.y.abs().square().sum(dim=1).mean()) - problem.pilot_length
        return DenseNet(
            problem.codebook,
            problem.antennas,
            self.layers,
            log_odds=math.log((problem.per_device - chance) / chance),
            gain=max(energy, 1.0) / (problem.devices * chance) / 2,
            shared=self.shared,
        )

    def begin_phase(self, network: Any, phase: int) -> None:
        """See `Learned.begin_phase`."""
        network.begin_phase(phase)

    def loss(self, scores: list[Tensor], messages: Tensor) -> Tensor:
        """Binary cross-entropy of all pilots, (59)."""
        import torch

        odds = scores[-1][..., 1:] - scores[-1][..., :1]
        sent = torch.nn.functional.one_hot(messages, odds.shape[-1] + 1)[..., 1:]
        return torch.nn.functional.binary_cross_entropy_with_logits(odds.float(), sent.float())

    def learn(self, network: Any, slots: Batch) -> tuple[Tensor, Tensor]:
        """See `Learned.learn`: in the phase of a layer, its mean squared error (58) over the mean gain."""
        import torch

        from cellfree_sim.detection.mmtc.networks.dense import what_was_sent

        if network.phase >= self.layers:
            return super().learn(network, slots)
        estimates, _ = network.estimates(slots.y, slots.noise_variance, network.phase + 1)
        with torch.no_grad():
            wrong = super().learn(network, slots)[1]
            pilots = network.pilots
            sent = what_was_sent(pilots, slots.y, slots.h, slots.noise_variance, slots.messages)
        return (estimates[-1] - sent).square().sum() / sent.square().sum().clamp_min(1.0), wrong
