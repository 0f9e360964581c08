"""Learned receivers of NOMA."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from cellfree_sim.detection.detector import Algorithm
from cellfree_sim.detection.learned.base import Learned
from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario.extensions import NOMA_DETECTORS
from cellfree_sim.uplink.trained_files import CODEBOOK

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cellfree_sim.uplink.noma import NomaProblem

PAPER_STAGE = (128, 256, 512, 256, 128)
PAPER_FCNN = (384, 1024, 768, 256, 64)
MAX_COMBINATIONS = 1 << 12


class LearnedReceiver(Learned):
    """Options of a receiver that is a network: see `Learned`."""

    any_code: ClassVar[bool] = False
    """Whether it serves any codebook and number of users, and not only those that it was trained with."""

    @abstractmethod
    def receiver(self, problem: NomaProblem) -> nn.Module:
        """A new network for `problem`: called with (words, y, h, noise_variance), it gives a list of scores [S, N, M].

        The last one decides; all of them are supervised in training.
        """

    def network(self, problem: NomaProblem) -> nn.Module:
        """See `Learned.network`."""
        from cellfree_sim.detection.noma.networks.link import Bound

        return Bound(self.receiver(problem), problem.codebook, problem.log_prior)

    def restore(self, network: nn.Module, weights: dict[str, Tensor]) -> None:
        """See `Learned.restore`; the codebook in the file was for the check whether it is the problem's."""
        network.load_state_dict({name: value for name, value in weights.items() if name != CODEBOOK})

    def check_sizes(self, problem: NomaProblem, y: Tensor, h: Any) -> None:
        """See `Learned.check_sizes`: a network that knows its inputs by their place has one number of antennas."""
        expected = problem.antennas * problem.resources
        if not self.any_code and h.shape[2] != expected:
            raise DetectorError(f"detector '{self.name}': y: found {h.shape[2]} samples; its network has {expected}")


@NOMA_DETECTORS.register
class SicNet(LearnedReceiver):
    """Successive cancellation by networks (SICNN; Yu, Fei, Zheng, Ye, 2021), as published or with an MMSE front end."""

    name: Literal["sicnn"] = "sicnn"
    form: Literal["paper", "mmse"] = Field(
        "mmse", description="users in their order on raw signals, or in the order of SINRs after an MMSE filter"
    )
    widths: tuple[int, ...] | None = Field(
        None, max_length=20, description="hidden layers of a stage; by default the published ones, or 32, 32"
    )
    passes: int = Field(1, ge=1, le=10, description="over all users (mmse); each one after the first decides anew")

    @field_validator("widths")
    @classmethod
    def _layers_have_width(cls, widths: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return _checked(widths)

    def receiver(self, problem: NomaProblem) -> nn.Module:
        """See `LearnedReceiver.receiver`."""
        from cellfree_sim.detection.noma.networks.cancellation import CancellationNet
        from cellfree_sim.detection.noma.networks.stages import StagesNet, symbols_of

        answers = problem.log_prior.shape[1]
        if self.form == "mmse":
            return CancellationNet(problem.users, answers, list(self.widths or (32, 32)), self.passes)
        if problem.book.spreading() is None:
            raise DetectorError(
                f"detector 'sicnn': found the codebook '{problem.book.name}', whose codewords are not a signature "
                "times a symbol; allowed with the form paper: a spreading codebook"
            )
        samples = problem.antennas * problem.resources
        return StagesNet(symbols_of(problem), samples, list(self.widths or PAPER_STAGE))


@NOMA_DETECTORS.register
class FullyConnected(LearnedReceiver):
    """One fully connected network for all users, which SICNN is compared with (FCNN)."""

    name: Literal["fcnn"] = "fcnn"
    widths: tuple[int, ...] = Field(PAPER_FCNN, min_length=1, max_length=20, description="of the hidden layers")

    @field_validator("widths")
    @classmethod
    def _layers_have_width(cls, widths: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return _checked(widths)

    def receiver(self, problem: NomaProblem) -> nn.Module:
        """See `LearnedReceiver.receiver`."""
        from torch import nn

        return _dense(problem, list(self.widths), nn.ReLU)


@NOMA_DETECTORS.register
class EndToEnd(LearnedReceiver):
    """The decoder of a plain autoencoder (E2E; O'Shea and Hoydis, 2017)."""

    name: Literal["e2e"] = "e2e"
    width: int = Field(64, ge=1, le=4096, description="of a hidden layer")
    layers: int = Field(5, ge=1, le=100, description="hidden layers")

    def receiver(self, problem: NomaProblem) -> nn.Module:
        """See `LearnedReceiver.receiver`."""
        from torch import nn

        return _dense(problem, [self.width] * self.layers, nn.Tanh)


@NOMA_DETECTORS.register
class MulVae(LearnedReceiver):
    """The decoder of Mul-VAE (Ma, Wu, Jian, Gao and Shen, 2022): decoupling attention, and a sluice network."""

    name: Literal["mul-vae"] = "mul-vae"
    width: int = Field(32, ge=1, le=4096, description="of all layers of all blocks")
    layers: int = Field(5, ge=1, le=100, description="hidden layers of a block")
    attention: float | None = Field(
        -1.0, ge=-10, le=10, description="mu: h^mu y for each user; null: y and h as they are"
    )
    sluice: bool = Field(True, description="whether users' blocks are connected")

    def receiver(self, problem: NomaProblem) -> nn.Module:
        """See `LearnedReceiver.receiver`."""
        from cellfree_sim.detection.noma.networks.sluice import SluiceNet

        return SluiceNet(
            problem.users,
            problem.log_prior.shape[1],
            problem.antennas * problem.resources,
            width=self.width,
            layers=self.layers,
            attention=self.attention,
            sluice=self.sluice,
        )


@NOMA_DETECTORS.register
class AssociationReceiver(LearnedReceiver):
    """Probabilistic data association with learned scales, and a search from what it finds likeliest.

    It has few numbers, the same for all users, so that one trained network serves any number of users and any codebook.
    """

    any_code: ClassVar[bool] = True
    name: Literal["pda-net"] = "pda-net"
    layers: int = Field(3, ge=1, le=100, description="each with one inverse for each user")
    listed: int = Field(32, ge=0, le=4096, description="combinations of all users' messages from which is searched")
    steps: int = Field(2, ge=0, le=100, description="of a search, each changes the message of one user")

    def receiver(self, problem: NomaProblem) -> nn.Module:
        """See `LearnedReceiver.receiver`."""
        from cellfree_sim.detection.noma.networks.message_passing import AssociationNet

        return AssociationNet(self.layers, self.listed, self.steps)


@NOMA_DETECTORS.register
class ExactReceiver(LearnedReceiver):
    """The exact posterior (`ml`) as what a codebook is trained through: all that it learns is the codebook."""

    any_code: ClassVar[bool] = True
    name: Literal["map-trained"] = "map-trained"

    def receiver(self, problem: NomaProblem) -> nn.Module:
        """See `LearnedReceiver.receiver`."""
        from cellfree_sim.detection.noma.algorithms.common import IMPOSSIBLE
        from cellfree_sim.detection.noma.algorithms.exhaustive import combinations
        from cellfree_sim.detection.noma.networks.exact import ExactNet

        found = combinations(problem.log_prior.clamp_min(IMPOSSIBLE))
        if found > MAX_COMBINATIONS:
            raise DetectorError(
                f"detector 'map-trained': found {found} combinations of all users' messages; "
                f"allowed: at most {MAX_COMBINATIONS} (pda-net has no such limit)"
            )
        return ExactNet()

    def build(self, problem: NomaProblem) -> Algorithm:
        """See `DetectorOptions.build`: there are no weights, so that any codebook will do."""
        return self.algorithm(self.network(problem), problem)


def _dense(problem: NomaProblem, widths: list[int], activation: type[nn.Module]) -> nn.Module:
    from cellfree_sim.detection.noma.networks.dense import DenseNet

    return DenseNet(
        problem.users,
        problem.log_prior.shape[1],
        problem.antennas * problem.resources,
        widths,
        faded=problem.channel != "awgn",
        activation=activation,
    )


def _checked(widths: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if widths is not None and not all(1 <= width <= 4096 for width in widths):
        raise ValueError(f"found {list(widths)}; allowed: widths from 1 to 4096")
    return widths
