"""Checkpoints: the states of all stations at one round boundary, whole or not there.

``checkpoints/step-00000150/`` holds one file per station and a manifest with the SHA-256 of each. The folder is written
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
_PART_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


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

    def save(self, step: int, parts: Mapping[str, bytes], notes: Mapping[str, Any] | None = None) -> Path:
        """Store the states of all stations after `step` steps, then forget what is older than the newest `keep`.

        Raises:
            RunFolderError: the disk is full or not writable; earlier checkpoints are unchanged.
        """
        for name in parts:
            if not _PART_NAME.fullmatch(name):
                raise ValueError(f"'{name}' cannot name a part of a checkpoint")
        target = self.folder / f"step-{step:08d}"
        building = self.folder / f".{target.name}.{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            for name, data in parts.items():
                with (building / f"{name}.state").open("wb") as file:
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
        found = [(folder.name.removeprefix("step-"), folder) for folder in self.folder.glob("step-*")]
        return sorted(((int(step), folder) for step, folder in found if step.isdecimal()), reverse=True)


def _read(folder: Path) -> tuple[int, dict[str, bytes], dict[str, Any]]:
    manifest = read_json(folder / MANIFEST)
    try:
        parts = {}
        for name, entry in manifest["parts"].items():
            if not _PART_NAME.fullmatch(name):
                raise RunFolderError(f"{folder}: is damaged: '{name}' is no name of a part")
            parts[name] = (folder / f"{name}.state").read_bytes()
            if hashlib.sha256(parts[name]).hexdigest() != entry["sha256"]:
                raise RunFolderError(f"{folder}: is damaged: {name}.state does not match its checksum")
        return int(manifest["step"]), parts, dict(manifest["notes"])
    except (KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{folder}: is damaged: its {MANIFEST} is missing or incomplete") from error
    except OSError as error:
        raise RunFolderError(f"{folder}: is damaged: {error.filename}: {error.strerror or error}") from error
