"""How a run is doing, for who asks meanwhile: `cellfree status`, and other processes over the cluster."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cellfree_sim.results.files import write_json
from cellfree_sim.results.runs import PROGRESS

if TYPE_CHECKING:
    from agents.operations import Operations
    from cellfree_sim.engine import Engine
    from cellfree_sim.results.run_folder import RunFolder

EVERY_S = 1.0
EVENTS_TOLD = 20


class News:
    """Leaves what is known of a run in its folder (progress.json) and with its engine."""

    def __init__(self, folder: RunFolder, engine: Engine, operations: Operations, status: Callable[[], str]) -> None:
        self._folder = folder
        self._engine = engine
        self._operations = operations
        self._status = status
        self._known: dict[str, Any] = {}
        self._told_at = -EVERY_S

    def round(self, row: Mapping[str, Any], step: int, steps: int) -> None:
        """A round has closed: told about once a second, and whenever something was measured."""
        if row["phase"] != "training":
            self._known["sum_rate"] = row["sum_rate"]
        self._known |= {"step": step, "steps": steps, "bytes": row["bytes"]}
        now = time.monotonic()
        if now - self._told_at < EVERY_S and row["phase"] == "training":
            return
        self._told_at = now
        self._known |= {"stations": self.stations(), "events": self._operations.events[-EVENTS_TOLD:]}
        write_json(self._folder.path / PROGRESS, self._known)
        path = self._folder.path
        where = {"run": path.name, "folder": str(path.resolve()), "host": socket.gethostname()}
        self._engine.tell({**self._known, **where, "status": self._status()})

    def stations(self) -> list[dict[str, Any]]:
        """All stations with what they are to the network and where they run."""
        network = self._operations.network
        return [
            {**each, "status": "active" if each["name"] == network.mbs else network.status(each["name"])}
            for each in self._engine.describe()["stations"]
            if each["name"] in network.graph
        ]
