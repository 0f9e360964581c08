"""Files of arrays and plain values, sealed by a digest: arrays are encoded as in frames, and reading runs no code.

A file is one line of text, a SHA-256 digest of the rest, and one msgpack map:

    b"cellfree-detector 1\\n" · digest (32 bytes) · {…}
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgpack

from cellfree_sim.backhaul.arrays import ARRAY_CODE, pack_array
from cellfree_sim.errors import FrameError, UserError
from cellfree_sim.registry import NotImportedError
from cellfree_sim.scenario.suggest import on_one_line

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

T = TypeVar("T")
_DIGEST_BYTES = 32


@dataclass(frozen=True)
class Seal:
    """A kind of file.

    Attributes:
        kind: first word of the file, as in ``cellfree-detector``.
        version: of its format; another one is refused.
        noun: what it is, for errors: "trained detector".
        error: what is raised.
    """

    kind: str
    version: int
    noun: str
    error: type[UserError]

    def closed(self, body: dict[str, Any]) -> bytes:
        """The file that holds `body`.

        >>> seal = Seal("cellfree-example", 1, "example", UserError)
        >>> seal.closed({"a": 1})[:19]
        b'cellfree-example 1\\n'
        """
        packed: bytes = msgpack.packb(body)
        return f"{self.kind} {self.version}\n".encode() + hashlib.sha256(packed).digest() + packed

    def opened(self, path: Path, read: Callable[[dict[str, Any]], T]) -> T:
        """What `read` makes of the body of a file.

        Raises:
            OSError: the file cannot be read.
            UserError: as `error`: it is something else, damaged, of another format, or `read` cannot use it.
        """
        data = path.read_bytes()
        line, _, rest = data[:64].partition(b"\n")
        kind, _, version = line.decode("ascii", "replace").partition(" ")
        if kind != self.kind or not rest:
            raise self.error(f"found '{path.name}', which is no {self.noun}")
        if version != str(self.version):
            raise self.error(f"found '{path.name}' of format {on_one_line(version)}; allowed: format {self.version}")
        start = len(line) + 1
        digest, body = data[start : start + _DIGEST_BYTES], data[start + _DIGEST_BYTES :]
        if hashlib.sha256(body).digest() != digest:
            raise self.error(f"found '{path.name}', which is damaged: its content does not match its checksum")
        try:
            return read(msgpack.unpackb(body))
        except NotImportedError as error:
            raise self.error(f"found '{path.name}', which {error}") from None
        except (
            *(ValueError, TypeError, KeyError, AttributeError, OverflowError),
            *(RecursionError, FrameError, msgpack.UnpackException),
        ) as error:
            reason = on_one_line(str(error), 120)
            raise self.error(f"found '{path.name}', which is no {self.noun}: {reason}") from None


def packed_array(name: str, array: NDArray[Any], precision: Literal["float32", "float16"] = "float32") -> Any:
    """An array as it stands in the body of a file; `unpack_array` reads it."""
    head, raw = pack_array(name, array, precision)
    return msgpack.ExtType(ARRAY_CODE, head[6:] + raw.tobytes())
