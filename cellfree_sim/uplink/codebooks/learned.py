"""Codebooks that are learned: how they are made while they are trained, and where they are read from afterwards.

Training is the matter of `cellfree_sim.detection.learned`: a trained file holds the codebook beside the receiver that
learned with it, and any receiver that fits can take the codebook alone.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from cellfree_sim.backhaul.arrays import unpack_array
from cellfree_sim.errors import CodebookError, DetectorError
from cellfree_sim.scenario.extensions import CODEBOOKS
from cellfree_sim.scenario.suggest import listed, on_one_line
from cellfree_sim.uplink.codebook import Codebook, CodebookOptions
from cellfree_sim.uplink.trained_files import CODEBOOK, SEAL, find_trained, shipped_detectors


class TrainedCode(NamedTuple):
    """The codebook of a trained file: `design` are the options that it was trained as."""

    book: Codebook
    design: dict[str, Any]
    activity: tuple[float, ...] | None


class LearnedCode(CodebookOptions):
    """A codebook that training makes, and trained files hold.

    In a problem it is the one of `file`, or else the only shipped one that fits; in `uplink.training` it is learned.
    """

    learned: ClassVar[bool] = True
    """What tells it from codebooks that are computed."""

    file: str | None = Field(None, description="a trained file, or the name of a shipped one; by default one that fits")

    @property
    def from_file(self) -> bool:
        """See `CodebookOptions.from_file`."""
        return self.file is not None

    def shape(self) -> dict[str, Any]:
        """The options that say what is learned."""
        return self.model_dump(mode="json", exclude={"name", "file"})

    def design(
        self, users: int, resources: int, rates: tuple[int, ...], activity: tuple[float, ...] | None
    ) -> Codebook:
        """See `CodebookOptions.design`."""
        if self.file is not None:
            return self._named(self.file)
        counts = tuple(2**rate for rate in rates)
        found = {}
        for name, path in shipped_detectors().items():
            code = trained_code(path)
            if code is None or code.design != {"name": self.name, **self.shape()}:
                continue
            if (code.book.users, code.book.resources, code.book.counts) == (users, resources, counts):
                found[name] = code
        fitting = {name: code for name, code in found.items() if code.activity == activity} or found
        if len(fitting) == 1:
            return next(iter(fitting.values())).book
        what = f"codebook '{self.name}': file: found {len(fitting)} for {users} users on {resources} resources"
        allowed = f"one of {listed(list(fitting))}" if fitting else "a file made by 'cellfree train SCENARIO'"
        raise CodebookError(f"{what}; allowed: {allowed}")

    def _named(self, file: str) -> Codebook:
        try:
            code = trained_code(find_trained(file))
        except (DetectorError, OSError) as error:
            raise CodebookError(f"codebook '{self.name}': file: {error}") from None
        if code is None:
            found = f"found '{on_one_line(file, 200)}', in which there is no codebook"
            raise CodebookError(f"codebook '{self.name}': file: {found}; allowed: a file trained for noma")
        return code.book


@CODEBOOKS.register
class Trained(LearnedCode):
    """The codebook of a trained file, however it was made."""

    learned: ClassVar[bool] = False
    name: Literal["trained"] = "trained"
    file: str = Field(min_length=1, description="a trained file, or the name of a shipped one")


@CODEBOOKS.register
class Quantised(LearnedCode):
    """Signatures of a finite alphabet, learned by a quantised network together with a receiver (QNN)."""

    name: Literal["qnn"] = "qnn"
    levels: int | None = Field(2, ge=1, le=1000, description="Q: parts of a sample are -Q to Q; null: any real numbers")


@CODEBOOKS.register
class MapTrained(LearnedCode):
    """Any codewords, learned through a receiver: at best through the exact posterior (the detector map-trained)."""

    name: Literal["map-trained"] = "map-trained"


class _Encoded(LearnedCode):
    width: int = Field(32, ge=1, le=4096, description="of a hidden layer")
    layers: int = Field(4, ge=1, le=100, description="hidden layers of each user's encoder")


@CODEBOOKS.register
class MulVaeCode(_Encoded):
    """What the encoders of Mul-VAE make of each message (Ma, Wu, Jian, Gao and Shen, 2022)."""

    name: Literal["mul-vae"] = "mul-vae"


@CODEBOOKS.register
class EndToEndCode(_Encoded):
    """What the encoders of an autoencoder make of each message."""

    name: Literal["e2e"] = "e2e"


def trained_code(path: Path) -> TrainedCode | None:
    """The codebook in a trained file; None where there is none.

    Raises:
        DetectorError: it is damaged, or something else.
        OSError: it cannot be read.
    """
    about = path.stat()
    return _read(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=64)
def _read(path: Path, changed_ns: int, size: int) -> TrainedCode | None:
    return SEAL.opened(path, _from_body)


def _from_body(body: dict[str, Any]) -> TrainedCode | None:
    if body.get("family") != "noma" or CODEBOOK not in body["weights"]:
        return None
    training = body["training"]
    users, rates, activity = training["users"], training["rates"], training["activity"]
    parts = unpack_array(CODEBOOK, body["weights"][CODEBOOK])[0]
    counts = [2**rate for rate in (rates if isinstance(rates, list) else [rates] * users)]
    if isinstance(activity, (int, float)):
        activity = [activity] * users
    design = {key: value for key, value in training["codebook"].items() if key != "file"}
    book = Codebook(parts[..., 0] + 1j * parts[..., 1], counts, str(body["name"]))
    return TrainedCode(book, design, None if activity is None else tuple(float(p) for p in activity))
