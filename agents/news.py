"""How a run is doing, for who asks meanwhile: `cellfree status` and `watch`, and other processes over the cluster.

    run ──► round, bursts, phase, …   what is known, under a lock
    thread ─ every 0.4 s, where something changed ─► progress.json, and the controller of a run on Ray

The thread also shows that the run lives while nothing can be said of it: during a long round, or a test.
"""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import CellfreeError, RunFolderError
from cellfree_sim.results.curves import Curves
from cellfree_sim.results.files import json_safe, write_atomically
from cellfree_sim.results.runs import PROGRESS
from cellfree_sim.results.served import Served
from cellfree_sim.results.traffic import Traffic

if TYPE_CHECKING:
    from agents.operations import Operations
    from cellfree_sim.backhaul.ledger import Books
    from cellfree_sim.engine import Engine
    from cellfree_sim.network import Network
    from cellfree_sim.results.run_folder import RunFolder
    from cellfree_sim.scenario.schema import Scenario

EVERY_S = 0.4
SIGN_OF_LIFE_EVERY_S = 2.0
EVENTS_TOLD = 20
USERS_TOLD = 500


class News:
    """Leaves what is known of a run in its folder (progress.json) and with its engine.

    Args:
        scenario, folder, engine, operations: of the run.
        books: what its backhaul carried, as of the last commit.
        status: how the run is: "running", "paused", or how it ended.
    """

    def __init__(
        self,
        scenario: Scenario,
        folder: RunFolder,
        engine: Engine,
        operations: Operations,
        books: Books,
        status: Callable[[], str],
    ) -> None:
        self._folder = folder
        self._engine = engine
        self._operations = operations
        self._status = status
        self._books = books
        self._known: dict[str, Any] = {"steps": scenario.steps} if scenario.steps else {}
        if scenario.uplink is not None:
            self._known |= {"burst": 0, "bursts": scenario.uplink.bursts}
        self._fixed = _places(scenario, operations.network)
        self._services = Served(scenario)
        self._traffic = Traffic()
        self._traffic.settle(books)
        self._curves = Curves(len(scenario.uplink.snr_db) if scenario.uplink is not None else 1)
        self._steps: dict[str, int] = {}
        self._rates: dict[str, float] = {}
        self._lock = threading.RLock()  # an uplink tells from a thread of its own
        self._telling = threading.Lock()  # what is told last is what is newest
        self._changed = True
        self._told_s = -math.inf
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_telling, name="news", daemon=True)

    def begin(self) -> None:
        """Tell from now on."""
        self._thread.start()

    def close(self) -> None:
        """Tell how it ended, and no more after that. Safe to call twice."""
        if self._over.is_set():
            return
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
            with suppress(RunFolderError):  # a disk that is full has been told of
                self.tell()

    def phase(self, name: str, detail: str = "") -> None:
        """The run enters a phase, in words for people."""
        with self._lock:
            self._known |= {"phase": name, "detail": detail}
            self._known.pop("channels", None)
            self._changed = True

    def channels(self, station: str, done: int, total: int) -> None:
        """A station has made `done` of its `total` channel realisations."""
        with self._lock:
            self._known.setdefault("channels", {})[station] = [done, total]
            self._changed = True

    def changed(self) -> None:
        """Something is different: the network, or whether the run is paused."""
        with self._lock:
            self._changed = True

    def settle(self) -> None:
        """What was counted so far is in the books."""
        with self._lock:
            self._traffic.settle(self._books)
            self._changed = True

    def round(self, row: Mapping[str, Any], step: int) -> None:
        """A round has closed."""
        with self._lock:
            if row["phase"] != "training":
                self._known["sum_rate"] = row["sum_rate"]
                self._rates = dict(row["served_rates"])
            self._known["step"] = step
            self._steps |= dict.fromkeys((self._operations.network.mbs, *self._operations.network.stations), step)
            self._curves.round(row)
            if "activity" in row:
                self._traffic.take("downlink", row["activity"])
            self._changed = True

    def bursts(self, rows: Sequence[Mapping[str, Any]], total: int) -> dict[str, Any]:
        """Bursts of an uplink are over; how it is doing: `burst`, `bursts`, and `services`, each with `ser`."""
        with self._lock:
            for row in rows:
                self._services.take(row)
                self._curves.burst(row)
                if "activity" in row:
                    self._traffic.take("uplink", row["activity"])
            done = max((int(row["burst"]) + 1 for row in rows), default=self._known.get("burst", 0))
            self._known |= {"burst": done, "bursts": total}
            self._changed = True
            return {"burst": done, "bursts": total, "services": self._services.told()}

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold, in types that JSON has."""
        with self._lock:
            known = {key: self._known.get(key) for key in ("step", "sum_rate", "burst")}
            own = {"known": known, "steps": dict(self._steps), "rates": dict(self._rates)}
            return {**own, "services": self._services.state(), "curves": self._curves.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; the books are as they were then."""
        with self._lock:
            self._known |= {key: value for key, value in state["known"].items() if value is not None}
            self._steps, self._rates = dict(state["steps"]), dict(state["rates"])
            self._services.load_state(state["services"])
            self._curves.load_state(state["curves"])
        self.settle()

    def stations(self, network: Network | None = None) -> list[dict[str, Any]]:
        """All stations with what they are to the network (as it is now, by default) and where they run."""
        network = network or self._operations.network
        return [
            {**each, "status": "active" if each["name"] == network.mbs else network.status(each["name"])}
            for each in self._engine.describe()["stations"]
            if each["name"] in network.graph
        ]

    def tell(self) -> None:
        """Tell how it is now."""
        with self._telling:
            with self._lock:
                self._changed = False
                self._told_s = time.monotonic()
                told = self._all()
            path = self._folder.path
            write_atomically(path / PROGRESS, json.dumps(told, allow_nan=False), durable=False)
            where = {"run": path.name, "folder": str(path.resolve()), "host": socket.gethostname()}
            self._engine.tell({**told, **where})

    def _keep_telling(self) -> None:
        while not self._over.wait(EVERY_S):
            if self._changed or time.monotonic() - self._told_s > SIGN_OF_LIFE_EVERY_S:
                with suppress(CellfreeError):  # a full disk or a dead controller is for the run to notice
                    self.tell()

    def _all(self) -> dict[str, Any]:
        """See `RunStatus`."""
        network = self._operations.network  # once: meanwhile it may become another one
        self._traffic.look(time.monotonic())
        by_kind = self._traffic.by_kind()
        told = {
            **self._known,
            "status": self._status(),
            "told_at": time.time(),
            "simulated_s": self._traffic.simulated_s,
            "bytes": sum(by_kind.values()),
            "by_kind": by_kind,
            "stations": [self._with_work(each, network) for each in self.stations(network)],
            "services": self._services.told(),
            "links": self._traffic.links(network),
            "curves": self._curves.points(),
            "events": self._operations.events[-EVENTS_TOLD:],
        }
        return {**json_safe(told), **self._fixed}

    def _with_work(self, station: dict[str, Any], network: Network) -> dict[str, Any]:
        name = station["name"]
        x_m, y_m, _ = network.position(name)
        work = {"step": self._steps.get(name), "sum_rate": self._rates.get(name), "load": self._traffic.load(name)}
        return {**station, "kind": "mbs" if name == network.mbs else "sbs", "x_m": x_m, "y_m": y_m, **work}


def _places(scenario: Scenario, network: Network) -> dict[str, Any]:
    """Where the run takes place; of many users some, evenly chosen."""
    users = [name for name, kind in network.graph.nodes(data="kind") if kind == "user"]
    shown = users[:: max(1, -(-len(users) // USERS_TOLD))]
    positions = [[float(metres) for metres in network.position(name)[:2]] for name in shown]
    return {
        "area_m": [float(metres) for metres in scenario.network.area_m],
        "users": {"count": len(users), "positions_m": positions},
    }
