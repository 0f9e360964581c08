"""What a detector is: options registered under a name, bound to a problem, called with what was received.

A detector is one module in `cellfree_sim.detection.mimo`, with a class of options and the decorator of the registry:

    @DETECTORS.register
    class Matched(DetectorOptions):
        name: Literal["mf"] = "mf"

        def build(self, problem: MimoProblem) -> Algorithm: ...

`build` returns any function of (y, h, noise_variance) with a `Detection`; `Detector` checks what goes into it.

Shape letters: S slots, R receive antennas, N users, M messages of a user, K bits of a message.

A scenario chooses among detectors, so that its schema imports this module: it imports nothing of `scenario` itself.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from pydantic import ValidationError

from cellfree_sim.errors import DetectorError
from cellfree_sim.registry import Named

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.uplink.mimo import MimoProblem

Algorithm: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Detection]"
"""Function of y [S, R] complex64, h [S, R, N] complex64 and noise variance [S] float32, all checked, S >= 1."""

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
    """Options of a detector. Registered in `DETECTORS`."""

    overloaded: ClassVar[bool] = True
    """Whether it can serve more users than there are receive antennas."""

    @abstractmethod
    def build(self, problem: MimoProblem) -> Algorithm:
        """The detector for the constellation of `problem`, for any number of slots, antennas and users.

        Raises `DetectorError` where it cannot serve the problem.
        """


class Detector:
    """A detector with its options, for one problem: call it with what was received.

    It checks its input, so that a wrong one is one clear `DetectorError` and no answer. The number of users and
    antennas may differ from the problem's; the constellation is the problem's.
    """

    def __init__(self, options: DetectorOptions, problem: MimoProblem) -> None:
        self.options = options
        self.problem = problem
        self._algorithm = options.build(problem)

    @property
    def name(self) -> str:
        """Name in the registry."""
        return self.options.name

    def __repr__(self) -> str:
        return f"Detector({self.options!r})"

    def __call__(self, y: Tensor, h: Tensor, noise_variance: Tensor | float) -> Detection:
        """Detect all users of each slot.

        Args:
            y: received signals, complex64 [S, R].
            h: channels as known to the receiver, complex64 [S, R, N], on the same device.
            noise_variance: of each antenna, E|noise|^2 > 0: float32 [S], or one number for all slots.

        Raises:
            DetectorError: a wrong shape, type or device, a value that is not finite, or more users than this detector
                can serve.
        """
        import torch

        if isinstance(noise_variance, (int, float)):
            noise_variance = torch.full(y.shape[:1], float(noise_variance), device=y.device)
        self._check(y, h, noise_variance)
        if len(y) == 0:
            return Detection(torch.zeros(0, h.shape[2], len(self.problem.constellation), device=y.device))
        with torch.no_grad():
            return self._algorithm(y, h, noise_variance)

    def _check(self, y: Tensor, h: Tensor, noise_variance: Tensor) -> None:
        """Raise `DetectorError` where this is not what a detector expects."""
        import torch

        for name, value, kind, axes in (
            ("y", y, torch.complex64, "slots, antennas"),
            ("h", h, torch.complex64, "slots, antennas, users"),
            ("noise_variance", noise_variance, torch.float32, "slots"),
        ):
            expected = f"expected a {_kind(kind)} tensor [{axes}]"
            if not isinstance(value, torch.Tensor):
                raise self._error(f"{name}: found {type(value).__name__}; {expected}")
            if value.dtype != kind or value.ndim != axes.count(",") + 1:
                raise self._error(f"{name}: found {_kind(value.dtype)} {list(value.shape)}; {expected}")
            if value.device != y.device:
                raise self._error(f"{name}: found on {value.device}; expected on {y.device}, where y is")
        if h.shape[:2] != y.shape or noise_variance.shape != y.shape[:1]:
            shapes = f"y {list(y.shape)}, h {list(h.shape)}, noise_variance {list(noise_variance.shape)}"
            raise self._error(f"found {shapes}; expected y [S, R], h [S, R, N], noise_variance [S]")
        antennas, users = h.shape[1:]
        if antennas == 0 or users == 0:
            raise self._error(f"h: found {list(h.shape)}; expected at least one antenna and one user")
        if users > antennas and not self.options.overloaded:
            raise self._error(f"h: found {users} users and {antennas} antennas; expected at most one user per antenna")
        for name, value in (("y", y), ("h", h), ("noise_variance", noise_variance)):
            if not torch.isfinite(value.sum()):  # one pass, no mask: inf and NaN both survive a sum
                raise self._error(f"{name}: found a value that is not finite; expected finite numbers")
        if len(y) and not noise_variance.min() > 0:
            raise self._error(f"noise_variance: found {noise_variance.min().item():g}; expected positive numbers")

    def _error(self, text: str) -> DetectorError:
        return DetectorError(f"detector '{self.name}': {text}")


def list_detectors() -> list[str]:
    """Names of all detectors."""
    from cellfree_sim.scenario.extensions import DETECTORS

    return DETECTORS.names()


def create_detector(name: str, problem: MimoProblem, **options: Any) -> Detector:
    """The detector called `name` for `problem`; `options` are the fields of its class.

    Raises:
        DetectorError: there is no such detector or option, a value is not allowed, or the problem does not suit it.
    """
    from cellfree_sim.scenario.extensions import DETECTORS
    from cellfree_sim.scenario.suggest import did_you_mean, listed, on_one_line

    names = list_detectors()
    if name not in names:
        hint = did_you_mean(str(name), names)
        raise DetectorError(f"detector: found {on_one_line(repr(name))}; allowed: {listed(names, limit=40)}{hint}")
    try:
        chosen = DETECTORS.create(name, **options)
    except ValidationError as error:
        raise DetectorError(_complaint(name, error)) from None
    return Detector(chosen, problem)


def _complaint(name: str, error: ValidationError) -> str:
    """The first thing that pydantic found wrong with the options of a detector, on one line."""
    from cellfree_sim.scenario.extensions import DETECTORS
    from cellfree_sim.scenario.suggest import did_you_mean, listed, on_one_line

    first = min(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
    option = ".".join(str(step) for step in first["loc"])
    if first["type"] == "extra_forbidden":
        known = [key for key in DETECTORS.type_of(name).model_fields if key != "name"]
        hint = did_you_mean(option, known)
        return f"detector '{name}': unknown option {option!r}; allowed: {listed(known) or 'none'}{hint}"
    found, allowed = on_one_line(repr(first["input"])), first["msg"].removeprefix("Input should be ")
    return f"detector '{name}': {option}: found {found}; allowed: {on_one_line(allowed, 200)}"


def _kind(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")
