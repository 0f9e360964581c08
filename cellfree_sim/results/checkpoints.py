"""Checkpoints: the states of all stations at one round boundary, whole or not there.

``checkpoints/step-00000150/`` holds one file per station and a manifest with the SHA-256 of each; where a run has an
uplink, the name goes on with the bursts that are over, ``-burst-00000100``. The folder is written
under another name and renamed when everything is on the disk, so a process that dies while saving damages nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import RunFolderError
from cellfree_sim.results.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MANIFEST = "manifest.json"
_PART_NAME = re.compile(r"(uplink/)?[A-Za-z0-9][A-Za-z0-9._-]{0,62}")  # uplink/sbs-0 is kept as uplink~sbs-0.state
_FOLDER_NAME = re.compile(r"step-(\d+)(?:-burst-(\d+))?")


@dataclass(frozen=True)
class Checkpoint:
    """States at one step.

    Attributes:
        step: training steps done.
        parts: opaque bytes of each station.
        notes: what the saver wanted to know again, JSON types.
        skipped: newer checkpoints that could not be read, each with the reason, newest first.
    """

    step: int
    parts: dict[str, bytes]
    notes: dict[str, Any] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()


class Checkpoints:
    """The checkpoints in one folder, of which the newest `keep` stay.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     saved = Checkpoints(Path(folder) / "checkpoints")
    ...     _ = saved.save(150, {"mbs": b"", "sbs-0": b"weights"})
    ...     saved.latest().parts["sbs-0"]
    b'weights'
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def save(
        self, step: int, parts: Mapping[str, bytes], notes: Mapping[str, Any] | None = None, *, bursts: int = 0
    ) -> Path:
        """Store the states of all stations after so many steps and bursts, then forget all but the newest `keep`.

        Raises:
            RunFolderError: the disk is full or not writable; earlier checkpoints are unchanged.
        """
        for name in parts:
            if not _PART_NAME.fullmatch(name):
                raise ValueError(f"'{name}' cannot name a part of a checkpoint")
        target = self.folder / (f"step-{step:08d}" + (f"-burst-{bursts:08d}" if bursts else ""))
        building = self.folder / f".{target.name}.{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            for name, data in parts.items():
                with (building / _file_name(name)).open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            digests = {name: {"sha256": hashlib.sha256(data).hexdigest()} for name, data in parts.items()}
            write_json(building / MANIFEST, {"step": step, "parts": digests, "notes": dict(notes or {})})
            superseded = building.with_suffix(".superseded")
            if target.exists():  # the same step again, after a resume: equal by construction, or damaged
                target.replace(superseded)
            building.replace(target)
            shutil.rmtree(superseded, ignore_errors=True)
        except OSError as error:
            shutil.rmtree(building, ignore_errors=True)
            raise RunFolderError(f"{target}: cannot be written: {error.strerror or error}") from error
        for _, old in self._steps()[self.keep :]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, with the damaged ones that were passed over; None where there is none.

        Raises:
            RunFolderError: there are checkpoints, and all are damaged.
        """
        skipped: list[str] = []
        for _, folder in self._steps():
            try:
                step, parts, notes = _read(folder)
            except RunFolderError as error:
                skipped.append(str(error))
                continue
            return Checkpoint(step, parts, notes, tuple(skipped))
        if skipped:
            raise RunFolderError(f"{self.folder}: no checkpoint is whole: {'; '.join(skipped)}")
        return None

    def _steps(self) -> list[tuple[int, Path]]:
        """Steps and folders, newest first."""
        found = [(_FOLDER_NAME.fullmatch(folder.name), folder) for folder in self.folder.glob("step-*")]
        moments = [((int(name[1]), int(name[2] or 0)), folder) for name, folder in found if name]
        return [(step, folder) for (step, _), folder in sorted(moments, reverse=True)]


def _file_name(part: str) -> str:
    return f"{part.replace('/', '~')}.state"


def _read(folder: Path) -> tuple[int, dict[str, bytes], dict[str, Any]]:
    manifest = read_json(folder / MANIFEST)
    try:
        parts = {}
        for name, entry in manifest["parts"].items():
            if not _PART_NAME.fullmatch(name):
                raise RunFolderError(f"{folder}: is damaged: '{name}' is no name of a part")
            parts[name] = (folder / _file_name(name)).read_bytes()
            if hashlib.sha256(parts[name]).hexdigest() != entry["sha256"]:
                raise RunFolderError(f"{folder}: is damaged: {name}.state does not match its checksum")
        return int(manifest["step"]), parts, dict(manifest["notes"])
    except (KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{folder}: is damaged: its {MANIFEST} is missing or incomplete") from error
    except OSError as error:
        raise RunFolderError(f"{folder}: is damaged: {error.filename}: {error.strerror or error}") from error
