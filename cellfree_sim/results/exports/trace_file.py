"""A trace in the Trace Event Format of Chrome, which Perfetto reads too, written as it comes.

Times are simulated seconds; in the file they are microseconds with three decimals, so that readers which count in
nanoseconds lose nothing.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from cellfree_sim.errors import RunFolderError
from cellfree_sim.results.files import json_safe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

NS_PER_S = 1_000_000_000


def to_ns(time_s: float) -> int:
    """Simulated time in whole nanoseconds."""
    return round(time_s * NS_PER_S)


class TraceFile:
    """The file at `path`, compressed where its name ends with ``.gz``; whole when left without an error, or not there.

    Args:
        path: where it goes; a file that is there is replaced.
        about: what is said of the whole trace.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path = path
        self.events = 0
        self._about = about
        self._process_ids: dict[str, int] = {}
        self._tracks: set[tuple[int, int]] = set()

    def __enter__(self) -> TraceFile:
        try:
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        except OSError as error:
            raise RunFolderError(f"{self.path}: cannot be written: {error.strerror or error}") from error
        self._temporary = Path(name)
        raw: IO[bytes] = os.fdopen(handle, "wb")
        self._files = [raw]
        if self.path.name.endswith(".gz"):
            packed = gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0, compresslevel=6)
            self._files = [cast(IO[bytes], packed), raw]
        self._text = io.TextIOWrapper(self._files[0], encoding="utf-8")
        head = json.dumps({"displayTimeUnit": "ms", "otherData": json_safe(self._about)})
        self._text.write(f'{head[:-1]}, "traceEvents": [\n')
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._text.write("\n]}\n")
            self._text.close()
            for file in self._files:
                file.close()
            if kind is None:
                self._temporary.chmod(0o644)
                self._temporary.replace(self.path)
        except OSError as failed:
            raise RunFolderError(f"{self.path}: cannot be written: {failed.strerror or failed}") from failed
        finally:
            with suppress(OSError):
                self._temporary.unlink()

    def process(self, name: str, label: str = "") -> int:
        """The number of the process called `name`, which is shown as `label`; they are numbered as they come."""
        if name not in self._process_ids:
            number = self._process_ids[name] = len(self._process_ids) + 1
            self._name("process_name", number, 0, {"name": label or name})
            self._name("process_sort_index", number, 0, {"sort_index": number})
        return self._process_ids[name]

    def track(self, process: int, number: int, name: str) -> tuple[int, int]:
        """A track of a process, as the pair that events want."""
        if (process, number) not in self._tracks:
            self._tracks.add((process, number))
            self._name("thread_name", process, number, {"name": name})
            self._name("thread_sort_index", process, number, {"sort_index": number})
        return process, number

    def slice(
        self,
        track: tuple[int, int],
        name: str,
        category: str,
        begin_ns: int,
        end_ns: int,
        args: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Something that lasts; slices of a track are apart from each other, or one lies within the other."""
        timed = {"ph": "X", "ts": begin_ns / 1000, "dur": (end_ns - begin_ns) / 1000}
        self._event(name, category, track, timed, args, more)

    def flow(self, track: tuple[int, int], name: str, number: int, at_ns: int, *, begins: bool) -> None:
        """An end of arrow `number`, at the slice of this track that was written just before."""
        way = {"ph": "s", "id": number} if begins else {"ph": "f", "bp": "e", "id": number}
        self._event(name, "frame", track, way | {"ts": at_ns / 1000}, None, {})

    def instant(self, track: tuple[int, int], name: str, category: str, at_ns: int, args: Mapping[str, Any]) -> None:
        """Something that happens at a moment."""
        self._event(name, category, track, {"ph": "i", "s": "t", "ts": at_ns / 1000}, args, {})

    def counter(self, process: int, name: str, at_ns: int, value: float) -> None:
        """A curve has this value from now on."""
        self._event(name, "counter", (process, 0), {"ph": "C", "ts": at_ns / 1000}, {"value": value}, {})

    def _name(self, what: str, process: int, track: int, args: Mapping[str, Any]) -> None:
        self._event(what, "__metadata", (process, track), {"ph": "M", "ts": 0}, args, {})

    def _event(
        self,
        name: str,
        category: str,
        track: tuple[int, int],
        timed: Mapping[str, Any],
        args: Mapping[str, Any] | None,
        more: Mapping[str, Any],
    ) -> None:
        event = {"name": name, "cat": category, **timed, "pid": track[0], "tid": track[1], **more}
        if args:
            event["args"] = args
        text = json.dumps(event, allow_nan=False, separators=(",", ":"))
        try:
            self._text.write(f",\n{text}" if self.events else text)
        except OSError as error:
            raise RunFolderError(f"{self.path}: cannot be written: {error.strerror or error}") from error
        self.events += 1
