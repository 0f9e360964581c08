"""A burst of one service as the MBS follows it, from the first report to the last answer, and the row it becomes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cellfree_sim.detection.serving.reports import NO_ERRORS, Errors, Report

if TYPE_CHECKING:
    from cellfree_sim.scenario.uplink import Service


@dataclass(eq=False)
class Case:
    """One burst of one service.

    Attributes:
        burst, service: which.
        waiting: how many stations have not reported yet.
        reports: of the stations, by index in the roster.
        frames: what stations sent and the MBS has received: frame and simulated time of arrival.
        handled: whether the MBS has done with the frames what the service does with them.
        asked: whether that was a request, which a service of the MBS has not answered yet.
        detector: name of the one at the MBS; empty where none detected there.
        queue_s, compute_s, flops: what passed at the MBS.
        sent_s: when the MBS sent its answers; NaN where it has none.
        results: answers that stations have not received yet.
        last_result_s: when the last answer so far arrived.
        errors, undecided, refused: what the MBS decided, users that it could not decide, requests that it refused.
        bytes: of frames of this case, both ways.
    """

    burst: int
    service: int
    waiting: int
    reports: dict[int, Report] = field(default_factory=dict)
    frames: dict[int, tuple[bytes, float]] = field(default_factory=dict)
    handled: bool = False
    asked: bool = False
    detector: str = ""
    queue_s: float = 0.0
    compute_s: float = 0.0
    flops: float = 0.0
    sent_s: float = math.nan
    results: int = 0
    last_result_s: float = math.nan
    errors: Errors = NO_ERRORS
    undecided: int = 0
    refused: int = 0
    bytes: int = 0

    @property
    def ready_s(self) -> float | None:
        """When the last station had its say: its frame arrived, or it refused; None before that."""
        sent = [station for station, report in self.reports.items() if report.outcome == "sent"]
        if self.waiting or len(self.frames) < len(sent):
            return None
        own = [report.at_s for report in self.reports.values() if report.outcome != "sent"]
        return max([arrival_s for _, arrival_s in self.frames.values()] + own, default=0.0)

    @property
    def done(self) -> bool:
        """Whether nothing more will come of it."""
        return self.handled and not self.asked and self.results == 0

    def row(self, service: Service, started_s: float) -> dict[str, Any]:
        """Its part of a row (see `Fusion.drain_rows`)."""
        busy = [report for report in self.reports.values() if report.outcome != "idle"]
        central = service.cooperation == "centralized"
        names = [report.detector for report in self.reports.values() if report.detector]
        refused = [report for report in busy if report.outcome == "refused"]
        errors, undecided, flops = self.errors, self.undecided, self.flops
        for report in self.reports.values():
            errors, undecided, flops = errors + report.errors, undecided + report.undecided, flops + report.flops
        return {
            "detector": self.detector or (names[0] if names else ""),
            **errors._asdict(),
            "undecided": undecided,
            "requests": int(bool(busy)) if central else len(busy),
            "refused": max(self.refused, int(0 < len(busy) == len(refused))) if central else len(refused),
            "bytes": self.bytes,
            "flops": flops,
            **self._times(service, started_s),
        }

    def _times(self, service: Service, started_s: float) -> dict[str, float]:
        """Latency of the last decision, and what it is made of."""
        if service.cooperation == "local":
            decided = [report for report in self.reports.values() if report.outcome == "decided"]
            if not decided:
                return _times(started_s)
            last = max(decided, key=lambda report: report.at_s)
            return _times(started_s, last.at_s, last.queue_s, last.compute_s)
        if math.isnan(self.sent_s):
            return _times(started_s)
        queue_s, compute_s = self.queue_s, self.compute_s
        if service.cooperation == "soft_fusion":
            slowest = self.reports[max(self.reports, key=self._had_its_say_s)]
            queue_s, compute_s = queue_s + slowest.queue_s, compute_s + slowest.compute_s
        return _times(started_s, self.last_result_s, queue_s, compute_s)

    def _had_its_say_s(self, station: int) -> float:
        frame = self.frames.get(station)
        return self.reports[station].at_s if frame is None else frame[1]

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return vars(self) | {
            "reports": {station: report.packed() for station, report in self.reports.items()},
            "frames": {station: list(frame) for station, frame in self.frames.items()},
            "errors": list(self.errors),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Case:
        """The case that `state` was taken from."""
        reports = {int(station): Report.unpacked(report) for station, report in state["reports"].items()}
        frames = {int(station): (bytes(frame), float(at_s)) for station, (frame, at_s) in state["frames"].items()}
        return cls(**{**state, "reports": reports, "frames": frames, "errors": Errors(*state["errors"])})


def _times(
    started_s: float, decided_s: float = math.nan, queue_s: float = math.nan, compute_s: float = math.nan
) -> dict[str, float]:
    """The times of a row; what is neither waiting for a batch nor computing is the backhaul."""
    latency_s = decided_s - started_s
    backhaul_s = max(latency_s - queue_s - compute_s, 0.0) if not math.isnan(latency_s) else math.nan
    return {
        "started_s": started_s,
        "decided_s": decided_s,
        "latency_s": latency_s,
        "queue_s": queue_s,
        "compute_s": compute_s,
        "backhaul_s": backhaul_s,
    }
