"""Trained detectors as files: the weights of a network, and what they were trained on.

A file is one line of text, a digest, and one msgpack map:

    b"cellfree-detector 1\\n" · digest of the rest (32 bytes) · {detector, options, training, weights, …}

Weights of more than `SMALL` numbers are kept in float16, others, and learned codebooks, in float32. Reading a file of
unknown origin can fail, but it cannot run code.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from cellfree_sim.backhaul.arrays import unpack_array
from cellfree_sim.backhaul.sealed import packed_array
from cellfree_sim.detection.learned.curricula import Curriculum, curriculum_class, curriculum_of, training_class
from cellfree_sim.errors import DetectorError
from cellfree_sim.results.files import write_atomically
from cellfree_sim.scenario.extensions import CODEBOOKS, detectors_of
from cellfree_sim.scenario.suggest import on_one_line
from cellfree_sim.uplink.trained_files import CODEBOOK, SEAL, SUFFIX, find_trained, one_of, shipped_detectors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from cellfree_sim.detection.learned.base import Learned
    from cellfree_sim.registry import Registry
    from cellfree_sim.scenario.training import DetectorTraining
    from cellfree_sim.uplink.problem import Problem

_log = logging.getLogger(__name__)

__all__ = [
    "CURVE",
    "SUFFIX",
    "TrainedDetector",
    "chosen",
    "find_trained",
    "load",
    "read_trained",
    "save_trained",
    "shipped_detectors",
]

CURVE = ("iteration", "loss", "ser")
SMALL = 10_000
MAX_BYTES = 512 * 2**20
_LARGEST_HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class TrainedDetector:
    """What training has made.

    Attributes:
        detector: name in the registry.
        options: those that shape its network.
        training: what it was trained on, and how.
        weights: arrays of the state of the network, by name.
        name, scenario, seed: of the scenario that trained it, the second as YAML with every default.
        iterations: those that were done.
        versions: of this project, and of what it was trained with.
        curve: iterations, and the mean loss and SER since the point before, on slots not seen before.
    """

    detector: str
    options: dict[str, Any]
    training: DetectorTraining
    weights: dict[str, NDArray[Any]]
    name: str
    scenario: str
    seed: int
    iterations: int
    versions: dict[str, str]
    curve: dict[str, list[float]]

    @property
    def parameters(self) -> int:
        """Numbers in its weights."""
        return sum(array.size for array in self.weights.values())

    def to_bytes(self) -> bytes:
        """The file."""
        body = {field.name: getattr(self, field.name) for field in fields(self)}
        body["family"], body["training"] = self.family, self.training.model_dump(mode="json")
        body["weights"] = {name: _packed(name, array, self.parameters) for name, array in self.weights.items()}
        return SEAL.closed(body)

    @property
    def family(self) -> str:
        """The family of problems that it is for."""
        return self.training.family

    @property
    def curriculum(self) -> Curriculum[Any, Any]:
        """What its training means: which problems it fits."""
        return curriculum_of(self.training, self.weights)

    def misfit(self, problem: Problem) -> str | None:
        """Why it was not made for `problem`, as 'found …; allowed: …' on one line, or None."""
        if problem.family != self.family:
            return f"found a problem of the family {problem.family}; allowed: {self.family}"
        return self.curriculum.misfit(problem)


def read_trained(path: Path) -> TrainedDetector:
    """The trained detector in a file.

    Raises:
        DetectorError: it cannot be read, is damaged, or is something else.
    """
    try:
        about = path.stat()
        if about.st_size > MAX_BYTES:
            raise DetectorError(f"found '{path.name}' of {about.st_size} bytes; allowed: at most {MAX_BYTES}")
        return _read(path, about.st_mtime_ns, about.st_size)
    except OSError as error:
        raise DetectorError(f"found '{path.name}', which cannot be read: {error.strerror or error}") from None


def save_trained(trained: TrainedDetector, path: Path) -> None:
    """Write a trained detector to a file; one that is there is replaced.

    Raises:
        RunFolderError: it cannot be written.
    """
    write_atomically(path, trained.to_bytes())


def chosen(options: Learned, problem: Problem) -> TrainedDetector:
    """The trained detector that `options` ask for: their checkpoint, or the shipped one that fits `problem` best.

    Raises:
        DetectorError: there is none, or it is another detector's.
    """
    if options.checkpoint is not None:
        where = f"detector '{options.name}': checkpoint: "
        try:
            trained = read_trained(find_trained(options.checkpoint))
        except DetectorError as error:
            raise DetectorError(f"{where}{error}") from None
        if not _is_of(trained, options, problem):
            found = f"found '{on_one_line(options.checkpoint, 200)}', trained as '{on_one_line(trained.detector)}'"
            raise DetectorError(f"{where}{found}; allowed: one trained as '{options.name}'")
        return trained
    of_this_kind = {
        name: trained
        for name, path in shipped_detectors().items()
        if _is_of(trained := read_trained(path), options, problem) and _other_option(options, trained) is None
    }
    fitting = [trained for trained in of_this_kind.values() if trained.curriculum.serves(problem)]
    if fitting:
        return min(fitting, key=lambda trained: trained.curriculum.distance(problem))
    wanted = curriculum_class(problem.family).in_words(problem)
    raise DetectorError(
        f"detector '{options.name}': checkpoint: found none that was trained for {wanted}; allowed: a file "
        f"made by 'cellfree train SCENARIO', or {one_of(of_this_kind)}"
    )


def load(options: Learned, problem: Problem) -> tuple[Learned, nn.Module]:
    """The options of a trained network, and the network with its weights, on the CPU.

    Options of the network that are not given are those that it was trained with. A checkpoint that was named and
    trained for something else is loaded wherever it can be, with a warning.

    Raises:
        DetectorError: there is no such checkpoint, or it is that of another detector or network, or it cannot serve a
            problem of this constellation and size.
    """
    import torch

    trained = chosen(options, problem)
    where = f"detector '{options.name}': "
    other = _other_option(options, trained)
    if other is not None:
        raise DetectorError(f"{where}{other}")
    name = on_one_line(options.checkpoint or trained.name, 200)
    try:
        whole = type(options).model_validate({**options.model_dump(include=set(options.of_use)), **trained.options})
        unusable = trained.curriculum.unusable(problem)
        if unusable is not None:
            key, found, expected = unusable
            raise DetectorError(f"{where}found {key} {found}; allowed: {expected}, as '{name}' was trained")
        network = whole.network(problem)
        whole.restore(network, {name: torch.from_numpy(array.copy()) for name, array in trained.weights.items()})
    except (RuntimeError, ValidationError) as error:
        reason = on_one_line(str(error), 200)
        raise DetectorError(
            f"{where}checkpoint: found weights of another network than its options say: {reason}"
        ) from None
    misfit = trained.misfit(problem)
    if options.checkpoint is not None and misfit is not None:
        _warn_once(f"{where}checkpoint '{name}' was trained for something else: {misfit}")
    return whole, network


@lru_cache(maxsize=1024)
def _warn_once(text: str) -> None:
    _log.warning(text)


def _other_option(options: Learned, trained: TrainedDetector) -> str | None:
    """What was asked for and is not what a network was trained with, on one line."""
    given = options.architecture()
    for key in sorted(options.model_fields_set & set(given)):
        if key in trained.options and given[key] != trained.options[key]:
            name = on_one_line(options.checkpoint or trained.name, 200)
            found, allowed = on_one_line(repr(given[key])), on_one_line(repr(trained.options[key]))
            return f"{key}: found {found}; allowed: {allowed}, as '{name}' was trained"
    return None


def _is_of(trained: TrainedDetector, options: Learned, problem: Problem) -> bool:
    """Whether it is a detector of this name, for this family of problems: names may recur."""
    return (trained.family, trained.detector) == (problem.family, options.name)


def _packed(name: str, array: NDArray[Any], parameters: int) -> Any:
    half = (
        parameters > SMALL
        and name != CODEBOOK
        and array.dtype == np.float32
        and bool((np.abs(array) <= _LARGEST_HALF).all())
    )
    return packed_array(name, array, "float16" if half else "float32")


@lru_cache(maxsize=32)
def _read(path: Path, changed_ns: int, size: int) -> TrainedDetector:
    return SEAL.opened(path, _from_body)


def _from_body(body: dict[str, Any]) -> TrainedDetector:
    """What `to_bytes` wrote; any of several exceptions where it did not write this."""
    family = str(body.get("family", "mimo"))
    for registry, key in ((detectors_of(family), "detector"), (CODEBOOKS, "codebook")):
        _check_known(registry, body["training"].get(key))
    trained = TrainedDetector(
        detector=str(body["detector"]),
        options={str(key): value for key, value in body["options"].items()},
        training=training_class(family).model_validate(body["training"]),
        weights={str(name): unpack_array(name, value)[0] for name, value in body["weights"].items()},
        name=str(body["name"]),
        scenario=str(body["scenario"]),
        seed=int(body["seed"]),
        iterations=int(body["iterations"]),
        versions={str(key): str(value) for key, value in body["versions"].items()},
        curve={str(key): [float(one) for one in values] for key, values in body["curve"].items()},
    )
    if trained.training.detector.name != trained.detector:
        raise ValueError("it was trained as another detector than it says")
    for name, array in trained.weights.items():
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            raise ValueError(f"{name} has numbers that are not finite")
    if not trained.weights:
        raise ValueError("it holds no weights")
    points = list(zip(*trained.curve.values(), strict=True))
    if set(trained.curve) != set(CURVE) or not all(math.isfinite(number) for point in points for number in point):
        raise ValueError("it holds no training curve")
    return trained


def _check_known(registry: Registry[Any], chosen: Any) -> None:
    """NotImportedError where a file names code that this process has not imported: reading it imports nothing."""
    name = chosen.get("name") if isinstance(chosen, dict) else None
    if isinstance(name, str) and name not in registry.names():
        registry.type_of(name)
