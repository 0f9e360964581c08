"""What a detector is: options registered under a name, bound to a problem, called with what was received.

A detector is one module in `cellfree_sim.detection.mimo` (or `noma`, or `mmtc`: the families of problems), with a class
of options and the decorator of the registry of its family:

    @DETECTORS.register
    class Matched(DetectorOptions):
        name: Literal["mf"] = "mf"

        def build(self, problem: MimoProblem) -> Algorithm: ...

`build` returns any function of (y, h, noise_variance) with a `Detection`; `Detector` checks what goes into it. Shapes
are those of the family: for `mimo` y [S, R], h [S, R, N]; for the others see their problems.

Shape letters: S slots, R receive antennas, N users, M messages of a user, K bits of a message.

A scenario chooses among detectors, so that its schema imports this module: it imports nothing of `scenario` itself.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from pydantic import ValidationError

from cellfree_sim.errors import DetectorError
from cellfree_sim.registry import REFERENCE, Named

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.registry import Registry
    from cellfree_sim.uplink.problem import Family, Problem

Algorithm: TypeAlias = "Callable[[Tensor, Any, Tensor], Detection]"
"""Function of y complex64, h (of a family's type, a tensor or None) and noise variance [S] float32; checked, S >= 1."""

HARD_ERROR = 1e-3
"""Probability that `Detection.hard` gives to all messages that were not decided for, together."""


@dataclass(frozen=True, eq=False)
class Detection:
    """What a detector found.

    Attributes:
        logits: log-probabilities of the messages of each user, float32 [S, N, M]; the exponentials of a row add to 1.
        soft: whether they are the detector's own belief, or only mark its decision (see `hard`).
        iterations: how many the detector made, where it iterates.
        details: whatever else a detector has to tell, by name.
    """

    logits: Tensor
    soft: bool = True
    iterations: int | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, scores: Tensor, *, iterations: int | None = None) -> Detection:
        """Detection from unnormalised log-probabilities [S, N, M]."""
        return cls(scores.float().log_softmax(dim=-1), iterations=iterations)

    @classmethod
    def hard(cls, messages: Tensor, count: int, *, iterations: int | None = None) -> Detection:
        """Detection from decisions int64 [S, N] among `count` messages.

        A decision says nothing of how sure it is: all decided messages get one log-probability and all others another,
        both finite, so that adding those of several stations counts their votes.
        """
        import torch

        other = torch.tensor(HARD_ERROR / (count - 1)).log().item()
        shape = (*messages.shape, count)
        logits = torch.full(shape, other, dtype=torch.float32, device=messages.device)
        logits.scatter_(-1, messages.unsqueeze(-1), torch.tensor(1 - HARD_ERROR).log().item())
        return cls(logits, soft=False, iterations=iterations)

    @property
    def messages(self) -> Tensor:
        """The most probable message of each user, int64 [S, N]."""
        return self.logits.argmax(dim=-1)

    def llrs(self, bits: Tensor) -> Tensor:
        """Log-likelihood ratios ln P(bit = 1) / P(bit = 0) of the bits of each user, float32 [S, N, K].

        `bits` [M, K] are the labels of the messages, 0 or 1 (`problem.bits`). The sign is Sionna's: a positive ratio
        speaks for 1.
        """
        one = bits.to(device=self.logits.device).bool().T
        logits = self.logits.unsqueeze(-2)
        ones = logits.masked_fill(~one, float("-inf")).logsumexp(dim=-1)
        zeros = logits.masked_fill(one, float("-inf")).logsumexp(dim=-1)
        return ones - zeros


class DetectorOptions(Named):
    """Options of a detector. Registered with the detectors of its family (`cellfree_sim.scenario.extensions`)."""

    overloaded: ClassVar[bool] = True
    """Whether it can serve more users than there are receive antennas."""
    family: ClassVar[Family | None] = None
    """The family of problems that it is for; only a class from outside the package has to say it, and only so that it
    is not mistaken for one of another family."""

    @abstractmethod
    def build(self, problem: Any) -> Algorithm:
        """The detector for `problem` of its family: any number of slots; for MIMO, of antennas and users, too.

        Raises `DetectorError` where it cannot serve the problem.
        """


class Detector:
    """A detector with its options, for one problem: call it with what was received.

    It checks its input, so that a wrong one is one clear `DetectorError` and no answer. Of a MIMO problem the number of
    users and antennas may be another; the constellation is the problem's.
    """

    def __init__(self, options: DetectorOptions, problem: Problem) -> None:
        self.options = options
        self.problem = problem
        self._algorithm = options.build(problem)

    @property
    def name(self) -> str:
        """Name in the registry."""
        return self.options.name

    def __repr__(self) -> str:
        return f"Detector({self.options!r})"

    def __call__(self, y: Tensor, h: Tensor | None, noise_variance: Tensor | float) -> Detection:
        """Detect all users of each slot.

        Args:
            y: received signals: complex64 [S, R] for MIMO; other families see `misfit` of their problem.
            h: channels as known to the receiver, complex64 [S, R, N] for MIMO, on the same device.
            noise_variance: of each antenna, E|noise|^2 > 0: float32 [S], or one number for all slots.

        Raises:
            DetectorError: a wrong shape, type or device, a value that is not finite, more users than this detector
                can serve, or numbers so far apart that it finds no answer.
        """
        import torch

        if isinstance(noise_variance, (int, float)) and isinstance(y, torch.Tensor):
            noise_variance = torch.full(y.shape[:1], float(noise_variance), device=y.device)
        self._check(y, h, noise_variance)
        if len(y) == 0:
            return Detection(torch.zeros(0, *self.problem.answers(y, h), device=y.device))
        try:
            with torch.no_grad():
                found = self._algorithm(y, h, noise_variance)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            reason = str(error).partition("\n")[0]
            raise self._error(f"its linear algebra failed; its input may be degenerate ({reason})") from None
        if torch.isnan(found.logits.sum()):  # log-probabilities may be -inf, never +inf
            raise self._error("gave what is not a number; its input may be degenerate")
        return found

    def _check(self, y: Tensor, h: Tensor | None, noise_variance: Any) -> None:
        """Raise `DetectorError` where this is not what a detector expects."""
        import torch

        wrong = self.problem.misfit(y, h, noise_variance)
        if wrong is not None:
            raise self._error(wrong)
        given = {
            name: each for name, each in (("y", y), ("h", h), ("noise_variance", noise_variance)) if each is not None
        }
        for name, value in given.items():
            if value.device != y.device:
                raise self._error(f"{name}: found on {value.device}; expected on {y.device}, where y is")
        if not self.options.overloaded and h is not None and h.shape[2] > h.shape[1]:
            found = f"h: found {h.shape[2]} users and {h.shape[1]} antennas"
            raise self._error(f"{found}; expected at most one user per antenna")
        for name, value in given.items():
            if not torch.isfinite(value.sum()):  # one pass, no mask: inf and NaN both survive a sum
                raise self._error(f"{name}: found a value that is not finite; expected finite numbers")
        if len(y) and not noise_variance.min() > 0:
            raise self._error(f"noise_variance: found {noise_variance.min().item():g}; expected positive numbers")

    def _error(self, text: str) -> DetectorError:
        return DetectorError(f"detector '{self.name}': {text}")


def list_detectors(family: Family = "mimo") -> list[str]:
    """Names of all detectors of a family of problems: mimo, noma or mmtc."""
    from cellfree_sim.scenario.extensions import detectors_of

    return detectors_of(family).names()


def create_detector(name: str, problem: Problem, **options: Any) -> Detector:
    """The detector of the family of `problem` that is called `name`; `options` are the fields of its class.

    A name such as ``my_module:MyDetector`` is a class of a module on Python's path, which is imported.

    Raises:
        DetectorError: there is no such detector or option, a value is not allowed, or the problem does not suit it.
    """
    from cellfree_sim.scenario.extensions import detectors_of
    from cellfree_sim.scenario.outside import Importer
    from cellfree_sim.scenario.suggest import did_you_mean, listed, on_one_line

    registry = detectors_of(problem.family)
    names = registry.names()
    if re.match(REFERENCE, str(name)):
        try:
            Importer().resolve(registry, name)
        except ValueError as error:
            raise DetectorError(f"detector: {error}") from None
        names = [*names, name]
    if name not in names:
        hint = did_you_mean(str(name), names)
        raise DetectorError(f"detector: found {on_one_line(repr(name))}; allowed: {listed(names, limit=40)}{hint}")
    try:
        chosen = registry.create(name, **options)
    except ValidationError as error:
        raise DetectorError(_complaint(registry, name, error)) from None
    return Detector(chosen, problem)


def _complaint(registry: Registry[Any], name: str, error: ValidationError) -> str:
    """The first thing that pydantic found wrong with the options of a detector, on one line."""
    from cellfree_sim.scenario.suggest import did_you_mean, listed, on_one_line

    first = min(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
    option = ".".join(str(step) for step in first["loc"])
    if first["type"] == "extra_forbidden":
        known = [key for key in registry.type_of(name).model_fields if key != "name"]
        hint = did_you_mean(option, known)
        return f"detector '{name}': unknown option {option!r}; allowed: {listed(known) or 'none'}{hint}"
    found, allowed = on_one_line(repr(first["input"])), first["msg"].removeprefix("Input should be ")
    return f"detector '{name}': {option}: found {found}; allowed: {on_one_line(allowed, 200)}"
