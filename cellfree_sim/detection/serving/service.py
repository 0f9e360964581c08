"""A detector as a service: arrays in, log-probabilities out; it counts its work, and can be replaced while it serves.

What stations and MBS ask of their services is the protocol `Services`. `LocalServices` answers in the process that
asks; on Ray, the same `DetectionService` runs in a process of its own (`agents.edge_service`). Both give the same bits.

Shape letters: S slots, R receive antennas, N users, M messages of a user.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cellfree_sim.detection.serving.sizes import resized, sizes_of
from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario.suggest import listed, on_one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.detection.detector import Detector, DetectorOptions
    from cellfree_sim.detection.learned.trained import TrainedDetector
    from cellfree_sim.uplink.problem import Problem

PROBE_SLOTS = 16  # whose operations are counted
MANY_USERS = 4096  # from which on one of them says it well enough
PROBE_SNR_DB = 10.0  # of those slots: what a tree search takes depends on it
KEPT_SHAPES = 256  # numbers of antennas and users for which a detector is kept ready


class Services(Protocol):
    """The detection services at one place, by name."""

    def detect(
        self, service: str, y: NDArray[np.complex64], h: NDArray[np.complex64], noise_variance: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Log-probabilities float32 [S, N, M] of what was received: y [S, R], h [S, R, N], noise_variance [S].

        Other families have other shapes, as their problems say; an h without entries says that nothing is known of it.

        Raises:
            DetectorError: the request is not what the service's detector can serve; the service stays up.
        """
        ...

    def flops(self, service: str, slots: int, antennas: int, users: int) -> float:
        """Operations that the service's detector takes for so many slots, antennas and users; the same everywhere."""
        ...

    def swap(self, service: str, detector: DetectorOptions) -> None:
        """Let the service detect with another detector from the next request on.

        Raises:
            DetectorError: it cannot serve what the service is for; the one before stays.
        """
        ...

    def add(self, model: str, detector: DetectorOptions, problem: Problem) -> None:
        """Let a service serve one more model, ``<service>@<burst>``, beside those that it has.

        Raises:
            DetectorError: the detector cannot serve the problem.
        """
        ...


class DetectionService:
    """One detector with its device, for requests of any number of slots, antennas and users of one constellation.

    Args:
        name: of the service, for messages.
        options: the detector.
        problem: what is sent; requests may have other numbers of antennas and users.
        device: where torch computes.

    Raises:
        DetectorError: the detector cannot serve `problem`.

    >>> from cellfree_sim.detection import create_detector
    >>> from cellfree_sim.uplink import MimoProblem
    >>> problem = MimoProblem(n_rx=4, n_tx=2, constellation="qpsk")
    >>> service = DetectionService("edge", create_detector("lmmse", problem).options, problem)
    >>> y, h, noise = np.ones((3, 4), np.complex64), np.ones((3, 4, 2), np.complex64), np.ones(3, np.float32)
    >>> service.detect(y, h, noise).shape
    (3, 2, 4)
    >>> service.detect(y, h[:2], noise)
    Traceback (most recent call last):
    ...
    cellfree_sim.errors.DetectorError: service 'edge': detector 'lmmse': found y [3, 4], h [2, 4, 2], \
noise_variance [3]; expected y [S, R], h [S, R, N], noise_variance [S]
    """

    def __init__(self, name: str, options: DetectorOptions, problem: Problem, *, device: str = "cpu") -> None:
        self.name = name
        self.device = device
        self._problem = problem
        self._ready = self._made(options)

    @property
    def options(self) -> DetectorOptions:
        """The detector that it detects with now."""
        return self._ready.options

    @property
    def problem(self) -> Problem:
        """What it is made for."""
        return self._problem

    def detect(
        self,
        y: NDArray[np.complex64],
        h: NDArray[np.complex64],
        noise_variance: NDArray[np.float32] | float,
    ) -> NDArray[np.float32]:
        """See `Services.detect`; one number is the noise variance of all slots."""
        import torch

        arrays: dict[str, Any] = {"y": y, "h": h}
        if not isinstance(noise_variance, (int, float)):
            arrays["noise_variance"] = noise_variance
        for key, value in arrays.items():
            if not isinstance(value, np.ndarray):
                raise self._error(f"{key}: found {type(value).__name__}; expected a numpy array")
        ready = self._ready  # one and the same, even if another takes its place meanwhile
        try:
            tensors = {key: _tensor(value).to(self.device) for key, value in arrays.items()}
            if self._problem.family == "mmtc" and not h.size:  # nothing is known of the gains
                tensors["h"] = None
            found = ready.detector(*sizes_of(self._problem, y, h))(**{"noise_variance": noise_variance, **tensors})
            logits: NDArray[np.float32] = found.logits.to("cpu", torch.float32).numpy()
        except DetectorError as error:
            raise self._error(str(error)) from None
        except (RuntimeError, TypeError, ValueError, ArithmeticError, MemoryError) as error:  # torch's linear algebra,
            raise self._error(f"detector '{ready.options.name}' failed: {_one_line(error)}") from error  # and memory
        if np.isnan(logits.sum()):  # log-probabilities may be -inf, never +inf
            raise self._error(f"detector '{ready.options.name}' gave what is not a number; its input may be degenerate")
        return logits

    def flops(self, slots: int, antennas: int, users: int) -> float:
        """Operations for so many slots of independent channels, from those that a few of them take.

        They are counted on the CPU, at a fixed SNR, so that they depend on nothing else: see `detection.flops`.
        """
        try:
            return slots * self._ready.flops_per_slot(antennas, users)
        except DetectorError as error:
            raise self._error(str(error)) from None

    def swap(self, options: DetectorOptions) -> None:
        """See `Services.swap`: the new one is made first, meanwhile the old one serves."""
        self._ready = self._made(options)

    def _made(self, options: DetectorOptions) -> _Ready:
        try:
            ready = _Ready(options, self._problem)
            ready.detector(*sizes_of(self._problem))
        except DetectorError as error:
            raise self._error(str(error)) from None
        return ready

    def _error(self, text: str) -> DetectorError:
        return DetectorError(f"service '{self.name}': {text}")


class LocalServices:
    """Services in this process: one `DetectionService` for each of `detectors`, by name; see `Services`.

    Args:
        detectors: what each service detects with, by name of the service.
        problem: what is sent to all of them, or to each by its name; see `DetectionService`.
        device: where torch computes.
    """

    def __init__(
        self,
        detectors: Mapping[str, DetectorOptions],
        problem: Problem | Mapping[str, Problem],
        *,
        device: str = "cpu",
    ) -> None:
        self._device = device
        self._services = {
            name: DetectionService(
                name, options, problem[name] if isinstance(problem, Mapping) else problem, device=device
            )
            for name, options in detectors.items()
        }

    def detect(
        self, service: str, y: NDArray[np.complex64], h: NDArray[np.complex64], noise_variance: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """See `Services.detect`."""
        return self._named(service).detect(y, h, noise_variance)

    def flops(self, service: str, slots: int, antennas: int, users: int) -> float:
        """See `Services.flops`."""
        return self._named(service).flops(slots, antennas, users)

    def swap(self, service: str, detector: DetectorOptions) -> None:
        """See `Services.swap`."""
        self._named(service).swap(detector)

    def add(self, model: str, detector: DetectorOptions, problem: Problem) -> None:
        """See `Services.add`; whoever asks for what is there already changes nothing."""
        found = self._services.get(model)
        if found is None or (found.options, found.problem) != (detector, problem):
            self._services[model] = DetectionService(model, detector, problem, device=self._device)

    def _named(self, service: str) -> DetectionService:
        try:
            return self._services[service]
        except KeyError:
            raise DetectorError(f"service: found '{service}'; allowed: {listed(list(self._services))}") from None


class _Ready:
    """A detector for every number of antennas and users, made when first needed.

    A learned one has the same weights for all of them: those that fit what the service is for.
    """

    def __init__(self, options: DetectorOptions, problem: Problem) -> None:
        self.options = options
        self._pinned = _with_checkpoint(options, problem)
        self._problem = problem
        self._detectors: OrderedDict[tuple[int, int], Detector] = OrderedDict()
        self._flops: dict[tuple[int, int], float] = {}

    def detector(self, antennas: int, users: int) -> Detector:
        """The one for so many of both."""
        from cellfree_sim.detection.detector import Detector
        from cellfree_sim.errors import UserError

        shape = antennas, users
        detector = self._detectors.pop(shape, None)
        if detector is None:
            try:
                detector = Detector(self._pinned, resized(self._problem, antennas, users))
            except DetectorError:
                raise
            except UserError as error:  # more than a problem can have, or none at all
                raise DetectorError(f"h: found {antennas} antennas and {users} users; {error}") from None
        self._detectors[shape] = detector
        if len(self._detectors) > KEPT_SHAPES:
            self._detectors.popitem(last=False)
        return detector

    def flops_per_slot(self, antennas: int, users: int) -> float:
        """Operations for a slot, counted once."""
        import torch

        from cellfree_sim.detection.flops import count_operations

        shape = antennas, users
        if shape not in self._flops:
            detector = self.detector(antennas, users)
            generator = torch.Generator().manual_seed(0)
            count = PROBE_SLOTS if users <= MANY_USERS else 1
            slots = detector.problem.sample(count, PROBE_SNR_DB, generator=generator)
            operations = count_operations(lambda: detector(slots.y, slots.h_known, slots.noise_variance))
            self._flops[shape] = operations / count
        return self._flops[shape]


def _with_checkpoint(options: DetectorOptions, problem: Problem) -> DetectorOptions:
    """The options with the file of the shipped weights that fit `problem` best, where they ask for such."""
    if not getattr(options, "learned", False) or getattr(options, "checkpoint", None) is not None:
        return options
    from cellfree_sim.detection.learned.trained import chosen, read_trained, shipped_detectors

    best = chosen(options, problem)  # type: ignore[arg-type]
    path = next(path for path in shipped_detectors().values() if _same(read_trained(path), best))
    return options.model_copy(update={"checkpoint": str(path)})


def _same(one: TrainedDetector, other: TrainedDetector) -> bool:
    """Whether both are of one training: the same one, unless it was read twice at once."""
    return one is other or (one.scenario, one.seed, one.curve) == (other.scenario, other.seed, other.curve)


def _tensor(array: NDArray[Any]) -> Any:
    """The array as a tensor that shares its memory, which is only read: what Ray hands over may not be written to."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _one_line(error: BaseException) -> str:
    return on_one_line(str(error).strip().partition("\n")[0] or type(error).__name__, 200)
