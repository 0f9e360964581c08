"""Channel realisations kept on disk, addressed by what they were made from.

The folder is ``$CELLFREE_CACHE_DIR``, or ``cellfree-sim/channels`` in the user's cache folder (``$XDG_CACHE_HOME`` or
``~/.cache`` on Linux, ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on Windows). An entry is a NumPy ``.npy`` file
followed by the BLAKE2b digest of it; its name is the digest of everything that decides its content. Entries are written
aside and renamed, so that readers and other writers never see half of one; a damaged entry is made anew. A folder that
cannot be read or written means no cache and one line in the log, never an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cellfree_sim.channel.base import ChannelModel, ChannelRequest, Channels

_log = logging.getLogger(__name__)
_FORMAT = "1"
_DIGEST_BYTES = 32


def folder() -> Path:
    """Where the entries are; it need not exist. Raises `RuntimeError` where the user has no home folder."""
    chosen = os.environ.get("CELLFREE_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "cellfree-sim" / "channels"


def key_of(model: ChannelModel, request: ChannelRequest) -> str:
    """Address of the realisations: a digest of the model, its options and versions, and of the request.

    The station's name and the split count through the seed. The noise, and all that acts after the channel, do not
    count.
    """
    users = request.users
    drops = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for array in (users.positions_m, users.indoor, users.indoor_depth):
        drops.update(np.ascontiguousarray(array).tobytes())
    content = {
        "format": _FORMAT,
        "model": model.model_dump(mode="json"),
        "provenance": model.provenance(),
        "shape": request.shape,
        "site_m": request.site_m,
        "antennas": request.antennas.model_dump(mode="json"),
        "radio": request.radio.model_dump(mode="json", include={"carrier_frequency_hz", "bandwidth_hz"}),
        "drops": drops.hexdigest(),
        "seed": request.seed,
    }
    source = type(model).source
    if source is not None:  # a model from outside the package: its code counts as well
        content["extension"] = source.sha256
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=20).hexdigest()


def load(key: str, shape: tuple[int, ...]) -> Channels | None:
    """The entry `key`, or None where there is none of this shape or it is damaged."""
    try:
        content = _path(key).read_bytes()
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError) as error:
        _log.warning("channel cache not read: %s", error)
        return None
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if _digest(body) != digest:
        _log.warning("channel cache entry %s is damaged; made anew", key)
        return None
    channels: Channels = np.load(io.BytesIO(body), allow_pickle=False)
    return channels if channels.shape == shape and channels.dtype == np.complex64 else None


def store(key: str, channels: Channels) -> None:
    """Keep `channels` as the entry `key`, whole or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, channels, allow_pickle=False)
    aside: Path | None = None
    try:
        target = _path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f"{key}.", suffix=".tmp", delete=False) as file:
            aside = Path(file.name)
            file.write(buffer.getbuffer())
            file.write(_digest(buffer.getbuffer()))
        aside.replace(target)
    except (OSError, RuntimeError) as error:
        _log.warning("channel cache not written: %s", error)
        if aside is not None:
            with contextlib.suppress(OSError):
                aside.unlink()


def _path(key: str) -> Path:
    return folder() / key[:2] / f"{key}.npy"


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
