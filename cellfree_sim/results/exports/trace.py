"""A run as a trace for Perfetto (https://ui.perfetto.dev) or chrome://tracing, on simulated time.

    process "network"      rounds │ validation and test │ what happened        counters: joint loss, sum rate
    process per station    computes │ receives │ sends │ sends (2) …           a lane for each frame under way at once
    process per service    bursts, with waiting, computing and backhaul within

A frame is a slice of its sender, from when it was sent to when it arrived, with its waiting in queues within; a mark at
its receiver, when it arrived; and an arrow between the two. A frame that was lost has no arrow, and its slice lasts
until its sender notices. Frames that measure (validation, test) take no simulated time.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cellfree_sim.results import tables
from cellfree_sim.results.analysis import RunData, setting, stations_of
from cellfree_sim.results.exports.selection import Selection
from cellfree_sim.results.exports.trace_file import TraceFile, to_ns
from cellfree_sim.results.exports.trace_plan import NO_TIME, Plan, frame_times, spread
from cellfree_sim.results.files import json_safe
from cellfree_sim.results.report_events import WHAT
from cellfree_sim.scenario.parts import MBS_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

NETWORK = "network"
ROUNDS, MEASUREMENTS, EVENTS = 1, 2, 3  # tracks of the network
COMPUTES, RECEIVES, MEASURES, SENDS = 1, 2, 3, 10  # of a station
PARTS = ("queue_s", "compute_s", "backhaul_s")  # of the latency of a service


class Traced(NamedTuple):
    """What was written: where, and how many frames, events of the format and stations it has."""

    path: Path
    frames: int
    events: int
    stations: int


def write_trace(run: RunData, path: Path | None = None, selection: Selection | None = None) -> Traced:
    """Write the trace of a run, as JSON in the Trace Event Format, compressed where the name ends with ``.gz``.

    Args:
        run: done, or not.
        path: where to; ``trace.json.gz`` in the run folder by default.
        selection: a part of the run; all of it by default.

    Raises:
        RunFolderError: the run folder is damaged, or the file cannot be written.
    """
    path = path or run.folder / "trace.json.gz"
    selection = selection or Selection()
    resend_after_s = float(setting(run.scenario, "backhaul", "resend_after_s") or 0.0)
    plan = Plan(_frames(run), selection, resend_after_s)
    about = {"run": run.folder.name, "scenario": run.name, "seed": run.summary.get("seed"), "clock": "simulated time"}
    with TraceFile(path, about) as file:
        _network(file, run, selection)
        for name in _in_order(run, plan.stations):
            file.process(name, _label(run, name))
        _computing(file, run, plan, selection)
        frames = _draw_frames(file, run, plan, selection, resend_after_s)
        _services(file, run, selection)
    return Traced(path, frames, file.events, len(plan.stations))


def _frames(run: RunData) -> Iterator[pd.DataFrame]:
    return tables.read_batches(run.folder / "backhaul.parquet", tables.BACKHAUL)


def _in_order(run: RunData, met: list[str]) -> list[str]:
    """Stations in the order of the network, then whatever else sends and receives."""
    known = [node["id"] for node in run.nodes if node.get("kind") != "user"]
    return [*known, *(name for name in met if name not in known)]


def _label(run: RunData, name: str) -> str:
    node = run.topology.nodes.get(name, {})
    return f"{name} at ({node['x_m']:.4g}, {node['y_m']:.4g}) m" if "x_m" in node and "y_m" in node else name


def _network(file: TraceFile, run: RunData, selection: Selection) -> None:
    """Rounds, curves, measurements, and what happened."""
    network = file.process(NETWORK, f"network {run.name}")
    rounds, measured, happened = (
        file.track(network, number, name)
        for number, name in ((ROUNDS, "rounds"), (MEASUREMENTS, "validation and test"), (EVENTS, "what happened"))
    )
    free_ns = 0
    for row in tables.records(selection.rounds(run.metrics)):
        end_ns = to_ns(_known(row["simulated_s"]))
        args = json_safe({key: value for key, value in row.items() if key != "phase"})
        if row["phase"] == "training":
            lasted_ns = to_ns(sum(_known(row[part]) for part in ("compute_s", "queue_s", "transfer_s")))
            begin_ns = min(max(end_ns - lasted_ns, free_ns), end_ns)
            free_ns = end_ns
            file.slice(rounds, f"round {row['step']}", "round", begin_ns, end_ns, args)
            _count(file, network, "joint loss", end_ns, row["joint_loss"])
        else:
            file.instant(measured, f"{row['phase']} after round {row['step']}", "measurement", end_ns, args)
            _count(file, network, "sum rate (bit/s/Hz)", end_ns, row["sum_rate"])
    for event, at_ns in _events(run, selection):
        file.instant(happened, _headline(event), "event", at_ns, json_safe(event))


def _events(run: RunData, selection: Selection) -> Iterator[tuple[Mapping[str, Any], int]]:
    """The events of the selection, each with its simulated time: that of its round, or of its burst."""
    closed = run.metrics[run.metrics["phase"] == "training"]
    steps, ends_s = closed["step"].to_numpy(), closed["simulated_s"].to_numpy()
    interval_s = setting(run.scenario, "uplink", "interval_s")
    for event in run.events:
        if "at_burst" in event:
            burst = int(event["at_burst"])
            if interval_s is not None and selection.has_burst(burst):
                yield event, to_ns(burst * interval_s)
        elif selection.has_step(int(event["at_step"])):
            passed = int(np.searchsorted(steps, int(event["at_step"]), side="right"))
            yield event, to_ns(ends_s[passed - 1]) if passed else 0


def _headline(event: Mapping[str, Any]) -> str:
    """An event in a few words."""
    what = WHAT.get(event["event"], event["event"]) + (" (refused)" if "refused" in event else "")
    who = [str(event["service"])] if "service" in event else []
    who += ["–".join(event["link"])] if "link" in event else stations_of(event)
    return f"{', '.join(who)}: {what}" if who else what


def _computing(file: TraceFile, run: RunData, plan: Plan, selection: Selection) -> None:
    """When stations computed: as their frames tell, and where the MBS trains without any, as the rounds do."""
    for station, step, begin_ns, end_ns in plan.computing():
        track = file.track(file.process(station), COMPUTES, "computes")
        file.slice(track, f"computes for round {step}", "compute", begin_ns, end_ns, {"step": step})
    told = plan.steps_of_frames()
    mbs = file.process(MBS_NAME)
    for row in tables.records(selection.rounds(run.metrics)):
        alone_s = _known(row["compute_s"]) if row["phase"] == "training" and row["step"] not in told else 0.0
        if alone_s > 0:
            end_ns, track = to_ns(row["simulated_s"]), file.track(mbs, COMPUTES, "computes")
            begin_ns = max(end_ns - to_ns(alone_s), 0)
            file.slice(track, f"computes round {row['step']}", "compute", begin_ns, end_ns, {"step": row["step"]})


def _draw_frames(file: TraceFile, run: RunData, plan: Plan, selection: Selection, resend_after_s: float) -> int:
    """All frames of the selection; returns how many."""
    drawn = 0
    first = 0  # number of the table's first row, among all
    for table in _frames(run):
        chosen = selection.frames(table) & selection.of_kind(table)
        rows = table[chosen]
        numbers = first + np.flatnonzero(chosen)
        first += len(table)
        times = frame_times(rows, resend_after_s)
        lanes = plan.lanes[drawn : drawn + len(rows)].tolist()
        drawn += len(rows)
        shown = zip(tables.records(rows), numbers.tolist(), lanes, *(each.tolist() for each in times), strict=True)
        for row, number, lane, sent_ns, ends_ns in shown:
            _draw_frame(file, row, number, lane, sent_ns, ends_ns)
    return drawn


def _draw_frame(file: TraceFile, row: Mapping[str, Any], number: int, lane: int, sent_ns: int, ends_ns: int) -> None:
    """Frame `number` of the table, from when it was sent to when it arrived."""
    kind, arrived = str(row["kind"]), row["status"] == "delivered"
    name = kind if arrived else f"{'LOST' if row['status'] == 'dropped' else 'unmatched'} {kind}"
    category = f"frame,{row['phase']}" + ("" if arrived else ",lost")
    number_of_track = MEASURES if lane == NO_TIME else SENDS + lane
    called = "measures, in no time" if lane == NO_TIME else "sends" + (f" ({lane + 1})" if lane else "")
    sender = file.track(file.process(row["sender"]), number_of_track, called)
    args = {key: value for key, value in row.items() if key not in ("sent_s", "arrival_s") and value == value}
    colour = {} if arrived else {"cname": "terrible"}
    file.slice(sender, name, category, sent_ns, ends_ns, {"frame": number, **args}, **colour)
    if arrived:
        file.flow(sender, kind, number, sent_ns, begins=True)
    waits_until_ns = min(sent_ns + to_ns(_known(row["queue_s"])), ends_ns)
    if waits_until_ns > sent_ns:
        file.slice(sender, "waits in queues", "queue", sent_ns, waits_until_ns)
    if arrived:
        receiver = file.track(file.process(row["receiver"]), RECEIVES, "receives")
        args = {"frame": number, "from": row["sender"], "bytes": row["bytes"]}
        file.slice(receiver, kind, category, ends_ns, ends_ns, args)
        file.flow(receiver, kind, number, ends_ns, begins=False)


def _services(file: TraceFile, run: RunData, selection: Selection) -> None:
    """The bursts of each edge service, from the end of a burst on the air to its last decision."""
    rows = selection.of_bursts(run.uplink)
    for service, own in rows.groupby("service", sort=False):
        told = own.iloc[0]
        process = file.process(f"service {service}", f"service {service}: {told['detector']}, {told['cooperation']}")
        ends_s = own["decided_s"].fillna(own["started_s"])
        lanes = spread(own["started_s"].tolist(), ends_s.tolist())
        for row, lane in zip(tables.records(own), lanes, strict=True):
            track = file.track(
                process, lane + 2, "undecided" if lane == NO_TIME else f"bursts{f' ({lane + 1})' * (lane > 0)}"
            )
            _burst(file, track, row)


def _burst(file: TraceFile, track: tuple[int, int], row: Mapping[str, Any]) -> None:
    """A burst, and within it what its latency is made of; where detection is central, it begins with the backhaul."""
    begin_ns = to_ns(row["started_s"])
    end_ns = begin_ns if math.isnan(row["decided_s"]) else to_ns(row["decided_s"])
    args = json_safe({key: value for key, value in row.items() if key not in ("started_s", "decided_s")})
    file.slice(track, f"burst {row['burst']}", "service", begin_ns, end_ns, args)
    parts = PARTS if row["cooperation"] != "centralized" else (PARTS[-1], *PARTS[:-1])
    for part in parts:
        until_ns = min(begin_ns + to_ns(_known(row[part])), end_ns)
        if until_ns > begin_ns:
            file.slice(track, part.removesuffix("_s"), "service", begin_ns, until_ns)
        begin_ns = until_ns


def _count(file: TraceFile, process: int, name: str, at_ns: int, value: float) -> None:
    if math.isfinite(value):
        file.counter(process, name, at_ns, value)


def _known(value: float) -> float:
    """0 where it is not known."""
    return value if math.isfinite(value) else 0.0
