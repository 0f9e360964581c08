"""Codebooks: what each user sends for each of its messages, as a value that can be checked, kept and compared.

Shape letters: N users, M messages of the user that has most, K resources.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
import zlib
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.backhaul.arrays import unpack_array
from cellfree_sim.backhaul.sealed import Seal, packed_array
from cellfree_sim.errors import CodebookError
from cellfree_sim.registry import Named
from cellfree_sim.scenario.suggest import on_one_line
from cellfree_sim.uplink.constellations import qam_points
from cellfree_sim.uplink.signatures import weighted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SUFFIX = ".codebook"
MAX_RATE = 8
SAME = 1e-6
"""Codewords nearer to each other than this part of a user's amplitude are the same."""
EQUAL = 1e-3
"""By so much may the energies of two users differ."""
_SEAL = Seal("cellfree-codebook", 1, "codebook", CodebookError)
_UNREADABLE = (ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged .npz may raise."""
_QAM = {2: "qpsk", 4: "qam16", 6: "qam64", 8: "qam256"}


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Codebook:
    """The codewords of all users: checked to have equal energy, and no two alike of one user.

    Attributes:
        codewords: complex64 [N, M, K], read-only; zeros where a user has fewer than M messages.
        counts: messages of each user.
        name: how it was made, for reports.

    >>> book = Codebook([[[1, 1], [-1, -1]], [[1, -1], [-1, 1]]], name="orthogonal")
    >>> book.counts, book.energy, book.cross_correlation()
    ((2, 2), 2.0, 0.0)
    >>> Codebook([[[1, 1], [1, 1]]])
    Traceback (most recent call last):
    ...
    cellfree_sim.errors.CodebookError: codebook: found the same codeword for messages 0 and 1 of user 0; \
allowed: one codeword for each message
    """

    codewords: NDArray[np.complex64]
    counts: tuple[int, ...]
    name: str

    def __init__(self, codewords: Any, counts: Sequence[int] | None = None, name: str = "") -> None:
        words = np.array(codewords, dtype=np.complex64) + np.complex64(0)  # no negative zeros: equal is equal
        if words.ndim != 3 or 0 in words.shape:
            raise CodebookError(f"codebook: found codewords {list(words.shape)}; expected [users, messages, resources]")
        counts = tuple(int(count) for count in (counts or [words.shape[1]] * len(words)))
        if len(counts) != len(words) or not all(2 <= count <= words.shape[1] for count in counts):
            found = f"found {on_one_line(str(list(counts)))} messages of {len(words)} users"
            raise CodebookError(f"codebook: {found}; allowed: 2 to {words.shape[1]} for each")
        for user, count in enumerate(counts):
            words[user, count:] = 0
        words.flags.writeable = False
        object.__setattr__(self, "codewords", words)
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "name", name)
        self._check()

    @classmethod
    def spread(cls, signatures: NDArray[Any], rates: Sequence[int], name: str = "") -> Codebook:
        """Codewords s_n x_n of signatures [N, K] and symbols of mean power 1 (see `symbols`)."""
        count = 2 ** max(rates)
        words = np.zeros((len(signatures), count, signatures.shape[1]), dtype=np.complex64)
        for user, rate in enumerate(rates):
            words[user, : 2**rate] = np.outer(symbols(rate), signatures[user])
        return cls(words, [2**rate for rate in rates], name)

    @property
    def users(self) -> int:
        """N."""
        return len(self.counts)

    @property
    def resources(self) -> int:
        """K."""
        return int(self.codewords.shape[2])

    @property
    def energies(self) -> NDArray[np.float64]:
        """Mean energy of a codeword of each user, E||c_n||^2, float64 [N]."""
        energy = (np.abs(self.codewords.astype(np.complex128)) ** 2).sum(axis=(1, 2))
        return np.asarray(energy / np.array(self.counts))

    @property
    def energy(self) -> float:
        """Mean energy of a codeword, the same for all users."""
        return float(self.energies.mean().round(6))

    def scaled(self, energy: float) -> Codebook:
        """The same with codewords of another mean energy, each user exactly; itself where they have it."""
        if np.allclose(self.energies, energy, rtol=1e-6, atol=0):
            return self
        factor = np.sqrt(energy / self.energies)[:, None, None]
        return Codebook(self.codewords * factor, self.counts, self.name)

    @cached_property
    def digest(self) -> str:
        """Of codewords and counts: equal for equal codebooks."""
        return hashlib.sha256(self.codewords.tobytes() + repr(self.counts).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Codebook) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        users, count, resources = self.codewords.shape
        return f"Codebook({self.name or 'codewords'}: {users} users, {count} messages, {resources} resources)"

    def spreading(self) -> tuple[NDArray[np.complex64], NDArray[np.complex64]] | None:
        """Signatures [N, K] of unit norm and symbols [N, M] whose products the codewords are; None if they are not."""
        signatures, points = [], []
        for user, count in enumerate(self.counts):
            words = self.codewords[user].astype(np.complex128)
            left, values, right = np.linalg.svd(words, full_matrices=False)
            if len(values) > 1 and values[1] > 1e-4 * values[0]:
                return None
            turn = left[:count, 0].conj()[0] / abs(left[0, 0]) if abs(left[0, 0]) > 0 else 1.0
            signatures.append(right[0] / turn)
            points.append(left[:, 0] * values[0] * turn)
        return np.array(signatures, np.complex64), np.array(points, np.complex64)

    def overlaps(self) -> NDArray[np.float64]:
        """tr(C_i C_j) of all pairs of users [N, N], C_n the covariance E c c^H of a user over its energy.

        Between two signatures it is |s_i^H s_j|^2.
        """
        words = self.codewords.astype(np.complex128)
        covariance = np.einsum("nmk,nml->nkl", words, words.conj())
        covariance /= np.einsum("nkk->n", covariance)[:, None, None]
        return np.asarray(np.einsum("ikl,jlk->ij", covariance, covariance).real)

    def cross_correlation(self, activity: Sequence[float] | None = None) -> float:
        """Interference between users: `overlaps` of all pairs, weighted by how often both are active (None: always)."""
        return weighted(self.overlaps(), activity)

    def body(self) -> dict[str, Any]:
        """As it stands in a file or a message: plain values, the codewords packed."""
        parts = np.stack([self.codewords.real, self.codewords.imag]).astype(np.float32)
        return {"codewords": packed_array("codewords", parts), "counts": list(self.counts), "name": self.name}

    @classmethod
    def from_body(cls, body: dict[str, Any]) -> Codebook:
        """What `body` made."""
        parts, _ = unpack_array("codewords", body["codewords"])
        return cls(parts[0] + 1j * parts[1], [int(count) for count in body["counts"]], str(body["name"]))

    def to_bytes(self) -> bytes:
        """The file of this codebook; see `load`."""
        return _SEAL.closed(self.body())

    def save(self, path: str | Path) -> Path:
        """Write it to a file: sealed by a digest, or NumPy's own format where the name ends in .npz."""
        target = Path(path)
        if target.suffix == ".npz":
            np.savez(target, codewords=self.codewords, counts=np.array(self.counts), name=np.array(self.name))
        else:
            target.write_bytes(self.to_bytes())
        return target

    @classmethod
    def load(cls, path: str | Path) -> Codebook:
        """Read what `save` wrote, or any .npz with `codewords` [N, M, K] (and `counts`); no code in it is run.

        Raises:
            CodebookError: there is no such file, or it is no codebook.
        """
        source = Path(path)
        try:
            return _from_npz(source) if source.suffix == ".npz" else _SEAL.opened(source, cls.from_body)
        except OSError as error:
            reason = error.strerror or "no codebook"
            raise CodebookError(f"codebook: cannot read {on_one_line(str(path), 200)}: {reason}") from None

    def _check(self) -> None:
        words = self.codewords
        if not np.isfinite(words).all():
            raise CodebookError("codebook: found a value that is not finite; expected finite numbers")
        energies = self.energies
        for user, count in enumerate(self.counts):
            if energies[user] < 1e-12:
                raise CodebookError(f"codebook: found only zeros for user {user}; allowed: a user that can be heard")
            apart = np.abs(words[user, :count, None] - words[user, None, :count]).max(axis=-1)
            alike = np.argwhere(np.triu(apart < SAME * math.sqrt(energies[user]), 1))
            if len(alike):
                found = f"found the same codeword for messages {alike[0][0]} and {alike[0][1]} of user {user}"
                raise CodebookError(f"codebook: {found}; allowed: one codeword for each message")
        low, high = energies.min(), energies.max()
        if high > low * (1 + EQUAL):
            found = f"found energies from {low:.4g} to {high:.4g}"
            raise CodebookError(
                f"codebook: {found}; allowed: the same for all users (`received_power_db` makes others)"
            )


def _from_npz(path: Path) -> Codebook:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as content:
            words = content["codewords"]
            counts = content["counts"].tolist() if "counts" in content else None
            name = str(content["name"]) if "name" in content else path.stem
        return Codebook(words, counts, name)
    except _UNREADABLE as error:
        if isinstance(error, CodebookError):
            raise
        reason = on_one_line(str(error).strip() or type(error).__name__, 120)
        raise CodebookError(f"found '{path.name}', which is no codebook: {reason}") from None


def symbols(rate: int) -> NDArray[np.complex128]:
    """The points of a user of so many bits, of mean power 1: BPSK, QPSK, 8-PSK, 16-, 64- or 256-QAM, Gray labels.

    >>> symbols(1).round(3).tolist()
    [(1+0j), (-1+0j)]
    """
    if rate == 1:
        return np.array([1.0, -1.0], dtype=np.complex128)
    if rate == 3:
        gray = np.array([0, 1, 3, 2, 7, 6, 4, 5])  # place on the circle of the bits 000, 001, …
        return np.asarray(np.exp(2j * np.pi * gray / 8))
    if rate not in _QAM:
        raise CodebookError(f"rates: found {rate}; allowed for spreading: 1, 2, 3, 4, 6 or 8 bits")
    return qam_points(_QAM[rate]).astype(np.complex128)


class CodebookOptions(Named):
    """Options of a way to make codebooks. Registered in `CODEBOOKS`."""

    @property
    def from_file(self) -> bool:
        """Whether it reads a file that its user names, so that equal options may give another codebook later."""
        return False

    @abstractmethod
    def design(
        self, users: int, resources: int, rates: tuple[int, ...], activity: tuple[float, ...] | None
    ) -> Codebook:
        """The codebook of so many users on so many resources, `rates` bits each, of any energy.

        `activity` is how often each user sends (None: always). Equal arguments give equal codebooks, unless they come
        from a file. Raises `CodebookError` where there is none.
        """
