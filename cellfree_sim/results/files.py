"""Files that appear whole or not at all, and values that JSON can hold."""

from __future__ import annotations

import json
import math
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import RunFolderError

if TYPE_CHECKING:
    from collections.abc import Mapping


def write_atomically(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Put `content` at `path` by writing a neighbour and renaming it: a reader sees the old or the new, never half.

    With `durable` it waits for the disk, so that this holds after a power failure, too.

    Raises:
        RunFolderError: the folder is missing, not writable, or the disk is full; or `path` is a folder, a device or a
            pipe. What stood there is unchanged.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary: str | None = None
    try:
        if path.exists() and not path.is_file():
            raise RunFolderError(f"{path}: cannot be written: it is no regular file")
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            with suppress(OSError):
                Path(temporary).unlink()
        raise RunFolderError(f"{path}: cannot be written: {error.strerror or error}") from error


def json_safe(value: Any) -> Any:
    """`value` in types that every JSON reader takes: NumPy scalars and arrays become numbers and lists, NaN and
    infinities become null, mapping keys become text.

    >>> import numpy as np
    >>> json_safe({"rate": np.float32(0.5), "lost": float("nan"), 3: (np.int64(1), True)})
    {'rate': 0.5, 'lost': None, '3': [1, True]}
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(json_safe(item) for item in value)
    return str(value)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, atomically, with `json_safe` values."""
    write_atomically(path, json.dumps(json_safe(content), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; an empty one where there is no such file.

    Raises:
        RunFolderError: the file is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{path}: is damaged, JSON expected: {error}") from error
    if not isinstance(content, dict):
        raise RunFolderError(f"{path}: is damaged, a JSON object expected, found {type(content).__name__}")
    return content
