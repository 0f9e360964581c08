"""``run.json``: while a run lives, where it lives, so that another process finds it and no other takes its place.

The file is readable by its owner only (mode 0600): who can read it can reach the cluster of the run.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import psutil

from cellfree_sim.errors import RunFolderError

if TYPE_CHECKING:
    from pathlib import Path

NAME = "run.json"


@dataclass(frozen=True)
class RunFile:
    """Where a run lives.

    Attributes:
        pid, started_s, host: the process that drives it, when that process began (a number that a later process of the
            same pid does not have), and its machine.
        engine: "ray" or "inline".
        address, namespace: of its Ray cluster; empty without Ray.
        token_path: file with the token of that cluster; empty where it asks for none.
        starting: its engine is coming up: where it can be reached is not known yet.
    """

    pid: int
    started_s: float
    host: str
    engine: str
    address: str = ""
    namespace: str = ""
    token_path: str = ""
    starting: bool = False

    @classmethod
    def of_this_process(cls, engine: str, address: str = "", namespace: str = "", token_path: str = "") -> RunFile:
        """The run file of a run that this process drives."""
        began_s = psutil.Process().create_time()
        return cls(os.getpid(), began_s, socket.gethostname(), engine, address, namespace, token_path)

    def write(self, folder: Path) -> None:
        """Leave it in a run folder, readable by its owner only."""
        temporary = folder / f".{NAME}.writing"
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=2)
        temporary.replace(folder / NAME)

    @staticmethod
    def remove(folder: Path) -> None:
        """The run is over."""
        with suppress(FileNotFoundError):
            (folder / NAME).unlink()

    @classmethod
    def read(cls, folder: Path) -> RunFile | None:
        """The run file in a folder; None where there is none.

        Raises:
            RunFolderError: it is not readable, or not a run file.
        """
        path = folder / NAME
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise RunFolderError(f"{path}: is no run file: {' '.join(str(error).split())}") from error

    def alive(self) -> bool:
        """Whether the process that drives the run is there, as far as can be told from this machine."""
        if self.host != socket.gethostname():
            return True
        try:
            process = psutil.Process(self.pid)
            began_s: float = process.create_time()
            # one that has ended stays on the list of processes until its parent asks; in containers it may never do so
            return abs(began_s - self.started_s) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
