"""A run that exists only in this file, with the face of one that is watched: each look takes it a step further."""

from __future__ import annotations

import math
import threading
from typing import Any

from cellfree_sim.errors import UserError
from cellfree_sim.results.runs import RunStatus

NOW = 1_800_000_000.0


class FakeRun:
    """Three stations on a square of 100 m that learn, and do as they are told.

    Attributes:
        facts: overrides of what `status` says, such as `{"status": "done"}`.
        asked: orders, as they came.
    """

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        self.asked: list[dict[str, Any]] = []
        self.step = 0
        self.paused = False
        self.hold: threading.Event | None = None  # an injection waits for it
        self.events: list[dict[str, Any]] = []
        self.stations = {"mbs": (50.0, 50.0), "sbs-0": (25.0, 25.0), "sbs-1": (75.0, 25.0), "sbs-2": (50.0, 80.0)}
        self._lock = threading.Lock()

    def status(self) -> RunStatus:
        with self._lock:
            self.step += 0 if self.paused else 5
            return RunStatus(**{**self._state(), **self.facts})

    def inject(
        self,
        position_m: Any,
        *,
        name: str | None = None,
        azimuth_deg: float | None = None,
        transfer: str = "nearest",
        after: str = "fine-tune",
    ) -> dict[str, Any]:
        self.asked.append({"inject": list(position_m), "name": name, "azimuth": azimuth_deg, "how": [transfer, after]})
        if self.hold is not None:
            assert self.hold.wait(20)
        if tuple(position_m) in self.stations.values():
            raise UserError("a station stands there already")
        with self._lock:
            station = name or f"sbs-{len(self.stations) - 1}"
            self.stations[station] = tuple(position_m)
            donor = None if transfer == "none" else "sbs-1"
            self.events.append({"event": "inject_sbs", "at_step": self.step, "station": station, "donor": donor})
            return {
                "station": station,
                "position": list(position_m),
                "donor": donor,
                "at_step": self.step,
                "transfer_bytes": 2_500_000,
                "sum_rate_before": 3.2,
                "sum_rate_after": 3.4,
            }

    def remove(self, station: str) -> dict[str, Any]:
        self.asked.append({"remove": station})
        with self._lock:
            if station not in self.stations:
                raise UserError(f"there is no station '{station}'")
            del self.stations[station]
            record = {"station": station, "at_step": self.step, "sum_rate_before": 3.4, "sum_rate_after": 2.9}
            self.events.append({"event": "remove_sbs", **record})
            return record

    def pause(self) -> None:
        self.asked.append({"pause": True})
        self.paused = True

    def resume(self) -> None:
        self.asked.append({"resume": True})
        self.paused = False

    def stop(self) -> None:
        self.asked.append({"stop": True})
        self.facts["status"] = "interrupted"

    def _state(self) -> dict[str, Any]:
        small = [name for name in self.stations if name != "mbs"]
        steps = list(range(5, self.step + 1, 5))[-240:]
        learned = [1 - math.exp(-step / 300) for step in steps]
        return {
            "run": "fake-20260101T120000Z",
            "status": "paused" if self.paused else "running",
            "engine": "ray",
            "folder": "/runs/fake-20260101T120000Z",
            "phase": "training",
            "step": self.step,
            "steps": 5000,
            "sum_rate": 2 + 2 * learned[-1],
            "bytes": 1_234_567 * self.step,
            "simulated_s": 0.0321 * self.step,
            "told_at": NOW,
            "area_m": [100.0, 100.0],
            "users": {"count": 40, "positions_m": [[(37 * i) % 97 + 1.5, (53 * i) % 97 + 1.5] for i in range(40)]},
            "by_kind": {"channel_report": 900_000 * self.step, "policy_output": 334_567 * self.step},
            "events": tuple(self.events),
            "stations": tuple(
                {
                    "name": name,
                    "status": "active",
                    "node": "lab-1",
                    "device": "cpu",
                    "pid": 100 + index,
                    "kind": "mbs" if name == "mbs" else "sbs",
                    "x_m": place[0],
                    "y_m": place[1],
                    "step": self.step,
                    "sum_rate": None if name == "mbs" else 1.1 + 0.1 * index,
                    "load": 0.3 + 0.15 * index,
                }
                for index, (name, place) in enumerate(self.stations.items())
            ),
            "links": tuple(
                {
                    "a": "mbs",
                    "b": name,
                    "capacity_bps": 1e10,
                    "up": True,
                    "bytes": 400_000 * self.step,
                    "bytes_per_s": 10.0 ** (4 + index),
                    "queue_s": 1.5e-5 * index,
                    "utilisation": 0.02 * index,
                }
                for index, name in enumerate(small)
            ),
            "curves": {
                "training": {"step": steps, "joint_loss": [2 - 5 * each for each in learned]},
                "validation": {
                    "step": steps[::4],
                    "sum_rate": [2 + 2 * each for each in learned[::4]],
                    "min_rate_satisfied": [0.4 + 0.6 * each for each in learned[::4]],
                },
                "uplink": {},
            },
        }
