"""What trainer and files of trained detectors ask of a training section, whichever its family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cellfree_sim.scenario.training import DetectorTraining
from cellfree_sim.uplink.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from cellfree_sim.detection.learned.base import Learned
    from cellfree_sim.uplink.problem import Batch

TrainingT = TypeVar("TrainingT", bound=DetectorTraining)
ProblemT = TypeVar("ProblemT", bound=Problem)


class Curriculum(ABC, Generic[TrainingT, ProblemT]):
    """What a training section means.

    Args:
        training: the section.
        weights: what was learned in it, where it is done.
    """

    def __init__(self, training: TrainingT, weights: Mapping[str, NDArray[Any]] | None = None) -> None:
        self.training = training
        self.weights = weights

    def trainee(self, options: Learned) -> nn.Module:
        """What is trained: the detector's new network, or more than that."""
        return options.network(self.problem())

    def learn(self, options: Learned, trainee: Any, slots: Batch) -> tuple[Tensor, Tensor]:
        """See `Learned.learn`."""
        return options.learn(trainee, slots)

    def learned(self, trainee: nn.Module) -> dict[str, Tensor]:
        """What is kept of the trainee in a file."""
        return dict(trainee.state_dict())

    @abstractmethod
    def problem(self) -> ProblemT:
        """The problem that the network is made for."""

    @abstractmethod
    def slots(self, seed: int, iteration: int) -> Batch:
        """The slots of an iteration, on the CPU: a function of the seed and its number, and of nothing else."""

    @abstractmethod
    def serves(self, problem: ProblemT) -> bool:
        """Whether a shipped network of this training may be taken for `problem` where nobody named one."""

    @abstractmethod
    def misfit(self, problem: ProblemT) -> str | None:
        """Why it was not made for `problem`, as 'found …; allowed: …' on one line, or None."""

    @abstractmethod
    def unusable(self, problem: ProblemT) -> tuple[str, Any, Any] | None:
        """The key in which `problem` is another than a network of this training can serve at all, its value there, and
        the one that is allowed; or None."""

    @abstractmethod
    def distance(self, problem: ProblemT) -> tuple[float, ...]:
        """How far it is from having been trained for `problem` and nothing else; the smaller the better."""

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """What it is trained on, for a table of a few columns: `problem`, `sizes`, `channel`."""

    @abstractmethod
    def makes(self, detector: Any, problem: ProblemT) -> bool:
        """Whether this makes the network that the options of `detector` ask for, for `problem`."""

    @staticmethod
    @abstractmethod
    def default(detector: Any, problem: ProblemT, users: int) -> DetectorTraining:
        """How the detector with these options is trained for `problem` where nobody says how; at most so many users
        send at once.

        Raises:
            DetectorError: it cannot be.
        """

    @staticmethod
    def in_words(problem: ProblemT) -> str:
        """A problem in a few words."""
        return repr(problem)


def spread(values: list[Any]) -> str:
    """The range of some numbers.

    >>> spread([16]), spread([32, 16])
    ('16', '16-32')
    """
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g}-{high:g}"
