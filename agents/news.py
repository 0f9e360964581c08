"""How a run is doing, for who asks meanwhile: `cellfree status`, and other processes over the cluster."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
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
        self._services: dict[str, dict[str, Any]] = {}  # symbols, errors; latency_s, None where it is not known
        self._lock = threading.Lock()  # an uplink tells from a thread of its own

    def round(self, row: Mapping[str, Any], step: int, steps: int) -> None:
        """A round has closed: told about once a second, and whenever something was measured."""
        with self._lock:
            if row["phase"] != "training":
                self._known["sum_rate"] = row["sum_rate"]
            self._known |= {"step": step, "steps": steps, "bytes": row["bytes"]}
            self._tell(at_once=row["phase"] != "training")

    def bursts(self, rows: Sequence[Mapping[str, Any]], total: int) -> dict[str, Any]:
        """Bursts of an uplink are over; how it is doing: `burst`, `bursts`, and `services`, each with `ser`."""
        with self._lock:
            for row in rows:
                own = self._services.setdefault(str(row["service"]), {"symbols": 0, "errors": 0, "latency_s": None})
                own["symbols"] += int(row["symbols"])
                own["errors"] += int(row["symbol_errors"])
                latency_s = float(row["latency_s"])
                own["latency_s"] = latency_s if math.isfinite(latency_s) else None
            services = [
                {
                    "name": name,
                    "ser": own["errors"] / own["symbols"] if own["symbols"] else None,
                    "latency_ms": None if own["latency_s"] is None else 1e3 * own["latency_s"],
                }
                for name, own in self._services.items()
            ]
            done = max((int(row["burst"]) + 1 for row in rows), default=self._known.get("burst", 0))
            progress = {"burst": done, "bursts": total, "services": services}
            self._known |= progress
            self._tell(at_once=done == total)
            return progress

    def served(self) -> dict[str, dict[str, Any]]:
        """What services did in all bursts that are over, in types that JSON has."""
        with self._lock:
            return {name: dict(own) for name, own in self._services.items()}

    def serve_again(self, served: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on from what `served` gave."""
        with self._lock:
            self._services = {name: dict(own) for name, own in served.items()}

    def _tell(self, *, at_once: bool) -> None:
        now = time.monotonic()
        if now - self._told_at < EVERY_S and not at_once:
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
